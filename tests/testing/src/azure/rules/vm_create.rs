//! Creation of a virtual machine: its checks, its disk and its start.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::answer::Refusal;
use super::super::call::Call;
use super::super::kinds::kind;
use super::super::machines::{Source, Spec};
use super::super::operations::Work;
use super::super::resources::work;
use super::super::world::{CloudState, Resource, list, now, text};
use super::capacity::{disk_controller, fits, security, sized};
use super::os_profile;
use super::source;
use super::{DISK, NIC, NOT_FOUND, VM, firewall, network, referred};

/// The disk size of all images, in GB.
pub const IMAGE_SIZE_GB: i64 = 30;
pub fn put(
    cloud: &mut CloudState,
    call: &Call,
    body: &mut Value,
    before: Option<&Resource>,
) -> Result<Value, Refusal> {
    if let Some(before) = before {
        unchanged(before, body)?;
        return Ok(json!({}));
    }
    let location = text(body, "/location").to_owned();
    let size = sized(cloud, body, &location, &call.id, 1)?;
    let reference = &body["properties"]["storageProfile"]["imageReference"];
    if !reference.is_object() {
        return Err(Refusal::parameter(
            "imageReference",
            "Required parameter 'imageReference' is missing (null).",
        ));
    }
    let facts = source::of(cloud, reference, &location)?;
    let security = security(cloud, &call.version, &facts, size, body)?;
    fits(&facts, size, body, &security)?;
    if let Some(controller) = disk_controller(&facts, size, body)? {
        body["properties"]["storageProfile"]["diskControllerType"] = json!(controller);
    }
    interfaces(cloud, call, body)?;
    os_profile::check(cloud, body, &facts)?;
    let disk = disk_of(cloud, call, body)?;
    let source = match &facts.source {
        Source::Marketplace {
            publisher,
            offer,
            sku,
            version,
        } => json!({ "publisher": publisher, "offer": offer, "sku": sku, "version": version }),
        Source::Captured { id, file } => json!({ "id": id, "file": file }),
    };
    Ok(
        json!({ "power": "starting", "generalized": false, "generation": facts.generation,
        "architecture": facts.architecture, "security": security, "disk": disk, "plan": facts.plan, "exact": facts.exact,
        "source": source, "vmId": cloud.uuid() }),
    )
}

fn interfaces(cloud: &CloudState, call: &Call, body: &Value) -> Result<(), Refusal> {
    let named = list(body, "/properties/networkProfile/networkInterfaces");
    if named.is_empty() {
        return Err(Refusal::parameter(
            "networkInterfaces",
            "Virtual machine must have at least one network interface.",
        ));
    }
    let primary = named
        .iter()
        .filter(|nic| nic["properties"]["primary"] == true)
        .count();
    if named.len() > 1 && primary != 1 {
        return Err(Refusal::parameter(
            "networkInterfaces",
            "Virtual machine must have one primary network interface.",
        ));
    }
    for nic in named {
        let id = text(nic, "/id");
        referred(cloud, call, id, NIC, NOT_FOUND)?;
        if let Some(user) = network::used(cloud, id, VM) {
            let text = format!(
                "Network Interface {id} is used by existing resource {user}. In order to delete or reuse the network interface, it must be dissociated from the resource."
            );
            return Err(Refusal::new(409, "NicInUse", text));
        }
    }
    Ok(())
}

/// Creates the OS disk, named by the request or by the service.
fn disk_of(cloud: &mut CloudState, call: &Call, body: &mut Value) -> Result<String, Refusal> {
    let wanted = body["properties"]["storageProfile"]["osDisk"].clone();
    if text(&wanted, "/createOption") != "FromImage" {
        return Err(Refusal::parameter(
            "osDisk.createOption",
            "An OS disk from an image has the createOption FromImage.",
        ));
    }
    let gigabytes = wanted["diskSizeGB"].as_i64().unwrap_or(IMAGE_SIZE_GB);
    if gigabytes < IMAGE_SIZE_GB {
        let text = format!(
            "The specified disk size {gigabytes} GB is smaller than the size of the corresponding disk in the VM image: {IMAGE_SIZE_GB} GB."
        );
        return Err(Refusal::new(409, "OperationNotAllowed", text));
    }
    let mut name = text(&wanted, "/name").to_owned();
    if name.is_empty() {
        name = format!("{}_OsDisk_1_{:032x}", call.own_name(), cloud.number());
    }
    let base = call.shown.split("/providers/").next().unwrap_or_default();
    let id = format!("{base}/providers/{DISK}/{name}");
    if cloud.find(&id).is_some() {
        let text = format!(
            "Disk {name} already exists in resource group. Only CreateOption.Attach is supported."
        );
        return Err(Refusal::new(409, "ConflictingUserInput", text));
    }
    let kind_of_storage = match text(&wanted, "/managedDisk/storageAccountType") {
        "" => "Standard_LRS",
        named => named,
    };
    let mut disk = json!({ "location": body["location"], "sku": { "name": kind_of_storage },
        "properties": { "osType": "Linux", "diskSizeGB": gigabytes, "creationData": { "createOption": "FromImage" } } });
    if let Some(tags) = body.get("tags") {
        disk["tags"] = tags.clone();
    }
    let resource = Resource {
        id: id.clone(),
        kind: kind(DISK).expect("a kind"),
        body: disk,
        state: "Succeeded".to_owned(),
        hidden: 0,
        inner: json!({ "machine": call.id, "vm": call.shown, "created": now() }),
        revision: 1,
    };
    cloud.resources.insert(id.to_lowercase(), resource);
    let profile = &mut body["properties"]["storageProfile"]["osDisk"];
    profile["name"] = json!(name);
    profile["diskSizeGB"] = json!(gigabytes);
    profile["osType"] = json!("Linux");
    profile["managedDisk"]["id"] = json!(id);
    profile["managedDisk"]["storageAccountType"] = json!(kind_of_storage);
    Ok(id)
}

/// Checks that the source of a VM does not change.
pub fn unchanged(before: &Resource, body: &Value) -> Result<(), Refusal> {
    for name in [
        "/storageProfile/imageReference",
        "/osProfile/adminUsername",
        "/osProfile/customData",
        "/osProfile/computerName",
    ] {
        let new = body["properties"].pointer(name);
        if new.is_some_and(|new| Some(new) != before.body["properties"].pointer(name)) {
            let text = format!(
                "Changing property '{}' is not allowed.",
                name.trim_start_matches('/').replace('/', ".")
            );
            return Err(Refusal::new(409, "PropertyChangeNotAllowed", text));
        }
    }
    Ok(())
}

/// Starts the VM.
pub fn start(cloud: &CloudState, call: &Call) -> Work {
    let vm = &cloud.resources[&call.id];
    let port = cloud.config.ssh_port;
    let interfaces = list(&vm.body, "/properties/networkProfile/networkInterfaces");
    let mut reached = interfaces
        .iter()
        .filter_map(|nic| firewall::ssh_address(cloud, text(nic, "/id"), port));
    let known = &vm.inner["source"];
    let part = |name: &str| known[name].as_str().unwrap_or_default().to_owned();
    let source = if known["id"].is_string() {
        Source::Captured {
            id: part("id"),
            file: known["file"].as_str().map(Into::into),
        }
    } else {
        Source::Marketplace {
            publisher: part("publisher"),
            offer: part("offer"),
            sku: part("sku"),
            version: part("version"),
        }
    };
    let profile = &vm.body["properties"]["osProfile"];
    let keys = list(profile, "/linuxConfiguration/ssh/publicKeys").iter();
    let spec = Spec {
        id: call.id.clone(),
        body: vm.body.clone(),
        source,
        custom_data: STANDARD
            .decode(text(profile, "/customData"))
            .unwrap_or_default(),
        user: text(profile, "/adminUsername").to_owned(),
        public_keys: keys.map(|key| text(key, "/keyData").to_owned()).collect(),
        ssh: reached.next(),
    };
    work(cloud, move |machines| {
        machines.create(&spec).map(|()| Value::Null)
    })
}
