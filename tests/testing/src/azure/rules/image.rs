//! Managed images of a generalized and stopped VM, or of its disk.

use serde_json::{Value, json};

use super::super::answer::Refusal;
use super::super::call::Call;
use super::super::operations::Work;
use super::super::resources::work;
use super::super::world::{CloudState, Resource, text};
use super::{DISK, NOT_FOUND, VM, referred};

pub fn put(
    cloud: &CloudState,
    call: &Call,
    body: &mut Value,
    before: Option<&Resource>,
) -> Result<Value, Refusal> {
    let from = text(body, "/properties/sourceVirtualMachine/id").to_owned();
    if let Some(before) = before {
        if before.property("/sourceVirtualMachine/id") != from {
            let text = "Changing property 'sourceVirtualMachine' is not allowed.";
            return Err(Refusal::new(409, "PropertyChangeNotAllowed", text));
        }
        return Ok(json!({}));
    }
    if from.is_empty() {
        return from_disk(cloud, call, body);
    }
    let vm = referred(cloud, call, &from, VM, NOT_FOUND)?;
    if vm.inner["security"] != "Standard" {
        let text = "Creation of managed images are not supported for virtual machine with TrustedLaunch security type.";
        return Err(Refusal::new(409, "OperationNotAllowed", text));
    }
    if vm.inner["architecture"] != "x64" {
        let text = "Managed images are not supported for virtual machines with Arm64 architecture.";
        return Err(Refusal::new(409, "OperationNotAllowed", text));
    }
    if vm.inner["generalized"] != true {
        let text = format!("Cannot create image from VM '{from}' that is not generalized.");
        return Err(Refusal::new(409, "OperationNotAllowed", text));
    }
    if vm.inner["power"] != "deallocated" && vm.inner["power"] != "stopped" {
        let text = format!("Cannot create image from VM '{from}' that is running.");
        return Err(Refusal::new(409, "OperationNotAllowed", text));
    }
    let plan = vm.inner["plan"].clone();
    let generation = text(&vm.inner, "/generation").to_owned();
    let wanted = text(body, "/properties/hyperVGeneration");
    // Azure's default is generation 1, even for a VM of generation 2.
    let requested = if wanted.is_empty() { "V1" } else { wanted };
    if requested != generation {
        let text = format!(
            "The source virtual machine is of Hypervisor Generation {generation}, not {requested}."
        );
        return Err(Refusal::parameter("hyperVGeneration", text));
    }
    let disk = vm.property("/storageProfile/osDisk/managedDisk/id");
    let storage = vm.property("/storageProfile/osDisk/managedDisk/storageAccountType");
    let size = &vm.body["properties"]["storageProfile"]["osDisk"]["diskSizeGB"];
    body["properties"]["hyperVGeneration"] = json!(generation);
    body["properties"]["storageProfile"]["osDisk"] = json!({ "osType": "Linux", "osState": "Generalized",
        "diskSizeGB": size, "managedDisk": { "id": disk }, "caching": "ReadWrite", "storageAccountType": storage });
    Ok(json!({ "machine": from.to_lowercase(), "generalized": true, "plan": plan }))
}

/// Checks an image from the disk of a stopped or deleted VM.
fn from_disk(cloud: &CloudState, call: &Call, body: &Value) -> Result<Value, Refusal> {
    let wanted = &body["properties"]["storageProfile"]["osDisk"];
    let id = text(wanted, "/managedDisk/id");
    if id.is_empty() {
        let text = "Required parameter 'sourceVirtualMachine' or 'storageProfile.osDisk' is missing (null).";
        return Err(Refusal::parameter("sourceVirtualMachine", text));
    }
    let disk = referred(cloud, call, id, DISK, NOT_FOUND)?;
    let running = disk.inner["vm"]
        .as_str()
        .and_then(|vm| cloud.find(vm))
        .is_some_and(|vm| !["deallocated", "stopped"].contains(&text(&vm.inner, "/power")));
    if running {
        let text = format!("Disk {} is attached to a VM that is running.", disk.name());
        return Err(Refusal::new(409, "OperationNotAllowed", text));
    }
    let generalized = text(wanted, "/osState") == "Generalized";
    Ok(json!({ "machine": disk.inner["machine"], "generalized": generalized }))
}

/// Captures the disk of the VM.
pub fn capture(cloud: &CloudState, call: &Call) -> Option<Work> {
    let machine = text(&cloud.resources[&call.id].inner, "/machine").to_owned();
    let image = call.id.clone();
    Some(work(cloud, move |machines| {
        let file = machines.capture(&machine, &image)?;
        Ok(json!({ "file": file }))
    }))
}
