//! Managed disks: OS disks of VMs, and empty disks.

use serde_json::{Value, json};

use super::super::answer::Refusal;
use super::super::call::Call;
use super::super::world::{CloudState, Resource, text};

pub fn put(_world: &CloudState, _call: &Call, body: &Value) -> Result<Value, Refusal> {
    if text(body, "/properties/creationData/createOption") != "Empty" {
        let text = "Only empty disks are made alone in this simulator.";
        return Err(Refusal::parameter("creationData.createOption", text));
    }
    Ok(json!({ "vm": null }))
}

pub fn deletable(cloud: &CloudState, id: &str) -> Result<(), Refusal> {
    let disk = &cloud.resources[id];
    let Some(vm) = disk.inner["vm"].as_str() else {
        return Ok(());
    };
    let text = format!("Disk {} is attached to VM {vm}.", disk.name());
    Err(Refusal::new(409, "OperationNotAllowed", text))
}

pub fn view(cloud: &CloudState, disk: &Resource, body: &mut Value) {
    if let Some(vm) = disk.inner["vm"].as_str() {
        body["managedBy"] = json!(vm);
        let stopped = cloud
            .find(vm)
            .is_some_and(|vm| vm.inner["power"] == "deallocated");
        let state = if stopped { "Reserved" } else { "Attached" };
        body["properties"]["diskState"] = json!(state);
    } else {
        body["properties"]["diskState"] = json!("Unattached");
    }
    body["properties"]["timeCreated"] = disk.inner["created"].clone();
}
