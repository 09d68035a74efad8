//! Snapshots of the OS disks of VMs.

use serde_json::{Value, json};

use super::super::answer::Refusal;
use super::super::call::Call;
use super::super::world::{CloudState, Resource, text};
use super::{DISK, NOT_FOUND, referred};

pub fn put(
    cloud: &CloudState,
    call: &Call,
    body: &mut Value,
    before: Option<&Resource>,
) -> Result<Value, Refusal> {
    let data = &body["properties"]["creationData"];
    if let Some(before) = before {
        if before.body["properties"]["creationData"] != *data {
            let text = "Changing property 'creationData' is not allowed.";
            return Err(Refusal::new(409, "PropertyChangeNotAllowed", text));
        }
        return Ok(json!({}));
    }
    if text(data, "/createOption") != "Copy" {
        let text = "Snapshots are copies of disks only in this simulator.";
        return Err(Refusal::parameter("creationData.createOption", text));
    }
    let id = text(data, "/sourceResourceId").to_owned();
    let disk = referred(cloud, call, &id, DISK, NOT_FOUND)?;
    let Some(vm) = disk.inner["vm"].as_str().and_then(|vm| cloud.find(vm)) else {
        let text = "Only OS disks of VMs have snapshots in this simulator.";
        return Err(Refusal::parameter("creationData.sourceResourceId", text));
    };
    let generation = text(&vm.inner, "/generation");
    let requested = text(body, "/properties/hyperVGeneration");
    if !requested.is_empty() && requested != generation {
        let text = format!("The disk is of Hypervisor Generation {generation}, not {requested}.");
        return Err(Refusal::parameter("hyperVGeneration", text));
    }
    let inner = json!({ "machine": disk.inner["machine"], "generation": generation,
        "architecture": vm.inner["architecture"], "security": vm.inner["security"],
        "generalized": vm.inner["generalized"], "plan": vm.inner["plan"] });
    let properties = &mut body["properties"];
    properties["diskSizeGB"] = disk.body["properties"]["diskSizeGB"].clone();
    properties["hyperVGeneration"] = json!(generation);
    if vm.inner["security"] == "TrustedLaunch" {
        properties["securityProfile"] = json!({ "securityType": "TrustedLaunch" });
    }
    Ok(inner)
}

pub fn view(snapshot: &Resource, body: &mut Value) {
    body["properties"]["diskState"] = json!("Unattached");
    body["properties"]["timeCreated"] = snapshot.inner["created"].clone();
}
