//! Actions, views and deletion of an existing virtual machine.

use serde_json::{Value, json};

use super::super::answer::{Answer, Refusal, Reply};
use super::super::call::Call;
use super::super::operations::Effect;
use super::super::resources::work;
use super::super::world::{CloudState, Resource, list, status, text};
use super::{NIC, remove};

pub fn act(cloud: &mut CloudState, call: &Call, action: &str) -> Answer {
    let vm = &cloud.resources[&call.id];
    let power = text(&vm.inner, "/power").to_owned();
    let generalized = vm.inner["generalized"] == true;
    match (call.method.as_str(), action.to_lowercase().as_str()) {
        ("GET", "instanceview") => Ok(Reply::of(200, instance_view(vm))),
        ("POST", "retrievebootdiagnosticsdata") => {
            if vm.body["properties"]["diagnosticsProfile"]["bootDiagnostics"]["enabled"] != true {
                let text = "Boot diagnostics is not enabled for this virtual machine.";
                return Err(Refusal::new(409, "BootDiagnosticsNotEnabled", text));
            }
            let signed = format!("{}/serial{}?sig=simulated", cloud.url, call.id);
            Ok(Reply::of(
                200,
                json!({ "consoleScreenshotBlobUri": format!("{signed}&screen=1"),
                "serialConsoleLogBlobUri": signed }),
            ))
        }
        ("POST", "generalize") => {
            if power == "running" || power == "starting" {
                let text = format!(
                    "The VM '{}' cannot be generalized: it is running. Stop or deallocate it first.",
                    vm.name()
                );
                return Err(Refusal::new(409, "OperationNotAllowed", text));
            }
            if let Some(vm) = cloud.find_mut(&call.id) {
                vm.inner["generalized"] = json!(true);
            }
            Ok(Reply::empty(200))
        }
        ("POST", "start") if generalized => {
            let text = format!(
                "Operation 'start' is not allowed on VM '{}' since the VM is generalized.",
                vm.name()
            );
            Err(Refusal::new(409, "OperationNotAllowed", text))
        }
        ("POST", name @ ("start" | "deallocate" | "poweroff")) => {
            let (id, starts) = (call.id.clone(), name == "start");
            let work = work(cloud, move |machines| {
                let done = if starts {
                    machines.start(&id)
                } else {
                    machines.stop(&id)
                };
                done.map(|()| Value::Null)
            });
            let effect = Effect::Action(name.to_owned());
            Ok(cloud.begin(call, effect, Reply::empty(202), Some(work)))
        }
        _ => {
            cloud.violation(format!("{} has no such method", call.name));
            Err(Refusal::new(405, "MethodNotAllowed", "no such method"))
        }
    }
}

/// Applies the effect of an action.
pub fn acted(cloud: &mut CloudState, id: &str, action: &str) {
    let Some(vm) = cloud.find_mut(id) else { return };
    let power = match action {
        "start" => "running",
        "deallocate" => "deallocated",
        _ => "stopped",
    };
    vm.inner["power"] = json!(power);
}

/// Deletes the parts of a VM by `deleteOption`, and detaches the others.
pub fn removed(cloud: &mut CloudState, id: &str) {
    let vm = cloud.resources[id].clone();
    cloud.config.machines.delete(id);
    cloud.resources.remove(id);
    let disk = vm
        .property("/storageProfile/osDisk/managedDisk/id")
        .to_owned();
    if vm.property("/storageProfile/osDisk/deleteOption") == "Delete" {
        remove(cloud, &disk.to_lowercase());
    } else if let Some(disk) = cloud.find_mut(&disk) {
        disk.inner["vm"] = Value::Null;
    }
    for nic in list(&vm.body, "/properties/networkProfile/networkInterfaces") {
        if text(nic, "/properties/deleteOption") == "Delete" {
            let addresses = kept_with(cloud, text(nic, "/id"));
            remove(cloud, &text(nic, "/id").to_lowercase());
            for address in addresses {
                remove(cloud, &address.to_lowercase());
            }
        }
    }
}

/// Returns the public addresses that are deleted with an interface.
fn kept_with(cloud: &CloudState, nic: &str) -> Vec<String> {
    let Some(nic) = cloud.find(nic).filter(|nic| nic.kind.name == NIC) else {
        return Vec::new();
    };
    list(&nic.body, "/properties/ipConfigurations")
        .iter()
        .map(|configuration| &configuration["properties"]["publicIPAddress"])
        .filter(|address| text(address, "/properties/deleteOption") == "Delete")
        .map(|address| text(address, "/id").to_owned())
        .collect()
}

fn instance_view(vm: &Resource) -> Value {
    let state = match vm.state.as_str() {
        "Succeeded" => "ProvisioningState/succeeded".to_owned(),
        "Failed" => "ProvisioningState/failed/OSProvisioningInternalError".to_owned(),
        other => format!("ProvisioningState/{}", other.to_lowercase()),
    };
    let mut statuses = vec![status(&state)];
    if vm.inner["generalized"] == true {
        statuses.push(status("OSState/generalized"));
    }
    statuses.push(status(&format!("PowerState/{}", text(&vm.inner, "/power"))));
    json!({ "computerName": vm.property("/osProfile/computerName"),
        "hyperVGeneration": vm.inner["generation"], "statuses": statuses })
}

pub fn view(cloud: &CloudState, vm: &Resource, version: &str, expand: &str, body: &mut Value) {
    let _ = cloud;
    let properties = &mut body["properties"];
    properties["vmId"] = vm.inner["vmId"].clone();
    // Answers omit write-only values.
    if let Some(profile) = properties["osProfile"].as_object_mut() {
        profile.remove("customData");
        profile.remove("adminPassword");
    }
    if let Some(exact) = vm.inner["exact"].as_str().filter(|exact| !exact.is_empty()) {
        properties["storageProfile"]["imageReference"]["exactVersion"] = json!(exact);
    }
    // The first version that returns `Standard` if no type was requested.
    if version >= "2025-11-01" {
        properties["securityProfile"]["securityType"] = vm.inner["security"].clone();
    }
    if expand == "instanceView" {
        properties["instanceView"] = instance_view(vm);
    }
}
