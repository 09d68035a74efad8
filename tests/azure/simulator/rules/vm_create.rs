//! The creation of a virtual machine: everything that is refused before it, the disk that it brings, and its start.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::answer::Refusal;
use super::super::call::Call;
use super::super::catalogue::{self, Size};
use super::super::kinds::kind;
use super::super::machines::{Source, Spec};
use super::super::operations::Work;
use super::super::resources::work;
use super::super::world::{Resource, World, list, now, text};
use super::source::{self, Facts};
use super::{DISK, NIC, NOT_FOUND, VM, network, referred};

const LARGEST_CUSTOM_DATA_BYTES: usize = 65_535;
/// Of every image here, in GB.
pub const IMAGE_SIZE_GB: i64 = 30;
const KEPT_BACK: &[&str] = &[
    "administrator",
    "admin",
    "user",
    "user1",
    "test",
    "user2",
    "test1",
    "user3",
    "admin1",
    "1",
    "123",
    "a",
    "actuser",
    "adm",
    "admin2",
    "aspnet",
    "backup",
    "console",
    "david",
    "guest",
    "john",
    "owner",
    "root",
    "server",
    "sql",
    "support",
    "support_388945a0",
    "sys",
    "test2",
    "test3",
    "user4",
    "user5",
];

pub fn put(
    world: &mut World,
    call: &Call,
    body: &mut Value,
    before: Option<&Resource>,
) -> Result<Value, Refusal> {
    if let Some(before) = before {
        unchanged(before, body)?;
        return Ok(json!({}));
    }
    let location = text(body, "/location").to_owned();
    let size = sized(world, body, &location, &call.id, 1)?;
    let reference = &body["properties"]["storageProfile"]["imageReference"];
    if !reference.is_object() {
        return Err(Refusal::parameter(
            "imageReference",
            "Required parameter 'imageReference' is missing (null).",
        ));
    }
    let facts = source::of(world, reference, &location)?;
    fits(&facts, size, body)?;
    interfaces(world, call, body)?;
    operating_system(world, body, &facts)?;
    let disk = disk_of(world, call, body)?;
    let security = text(body, "/properties/securityProfile/securityType");
    let security = if security.is_empty() {
        "Standard"
    } else {
        security
    };
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
        "architecture": facts.architecture, "security": security, "disk": disk, "exact": facts.exact,
        "source": source, "vmId": world.uuid() }),
    )
}

/// The size is known, may be used, and there are cores left for `count` of it.
pub fn sized(
    world: &World,
    body: &Value,
    location: &str,
    id: &str,
    count: u64,
) -> Result<&'static Size, Refusal> {
    let name = [
        text(body, "/properties/hardwareProfile/vmSize"),
        text(body, "/sku/name"),
    ]
    .into_iter()
    .find(|name| !name.is_empty())
    .unwrap_or_default();
    let Some(size) = catalogue::size(name) else {
        return Err(Refusal::parameter(
            "vmSize",
            format!("The value {name} provided for the VM size is not valid."),
        ));
    };
    if world
        .config
        .restricted
        .iter()
        .any(|restricted| restricted == name)
    {
        let text = format!(
            "The requested VM size {name} is currently not available in location '{location}'. Please try another size or deploy to a different location or different zone. See https://aka.ms/azureskunotavailable for details."
        );
        return Err(Refusal::new(409, "SkuNotAvailable", text));
    }
    let zones = list(body, "/zones").iter().filter_map(Value::as_str);
    for zone in zones {
        if !["1", "2", "3"].contains(&zone) {
            let text = format!("The zone(s) '{zone}' for resource is not supported.");
            return Err(Refusal::new(400, "InvalidAvailabilityZone", text));
        }
    }
    let used = cores_used(world, location, id);
    let wanted = size.cores * count;
    if used + wanted > world.config.cores {
        let text = format!(
            "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. Additional details - Location: {location}, Current Limit: {}, Current Usage: {used}, Additional Required: {wanted}.",
            world.config.cores
        );
        return Err(Refusal::new(409, "OperationNotAllowed", text));
    }
    Ok(size)
}

/// Cores of a location that are in use by others than `id`.
pub fn cores_used(world: &World, location: &str, id: &str) -> u64 {
    let machines = world
        .of_kind(VM)
        .filter(|vm| {
            vm.location().eq_ignore_ascii_case(location) && !vm.id.eq_ignore_ascii_case(id)
        })
        .filter_map(|vm| catalogue::size(vm.property("/hardwareProfile/vmSize")))
        .map(|size| size.cores);
    let sets = world
        .of_kind(super::SCALE_SET)
        .filter(|set| {
            set.location().eq_ignore_ascii_case(location) && !set.id.eq_ignore_ascii_case(id)
        })
        .filter_map(|set| {
            let size = catalogue::size(text(&set.body, "/sku/name"))?;
            Some(size.cores * set.body["sku"]["capacity"].as_u64().unwrap_or(0))
        });
    machines.chain(sets).sum()
}

/// Generation, architecture and security of an image go with the size and the security profile.
pub fn fits(facts: &Facts, size: &Size, body: &Value) -> Result<(), Refusal> {
    if size.architecture != facts.architecture {
        let text = format!(
            "Cannot create a VM of size '{}' because this VM size only supports a CPU Architecture of '{}', but an image or disk with CPU Architecture '{}' was given.",
            size.name, size.architecture, facts.architecture
        );
        return Err(Refusal::new(400, "BadRequest", text));
    }
    if !size
        .generations
        .split(',')
        .any(|generation| generation == facts.generation)
    {
        let text = format!(
            "The selected VM size '{}' cannot boot Hypervisor Generation '{}'.",
            size.name, facts.generation
        );
        return Err(Refusal::new(400, "BadRequest", text));
    }
    let security = [
        text(body, "/properties/securityProfile/securityType"),
        text(
            body,
            "/properties/virtualMachineProfile/securityProfile/securityType",
        ),
    ];
    let trusted = security.contains(&"TrustedLaunch");
    let able = facts.generation == "V2" && facts.security.starts_with("TrustedLaunch");
    if trusted && !able {
        return Err(Refusal::new(
            400,
            "BadRequest",
            "The image or its generation does not support Trusted Launch.",
        ));
    }
    if !trusted && facts.security == "TrustedLaunch" {
        return Err(Refusal::new(
            400,
            "BadRequest",
            "The provided gallery image only supports creation of VMs and VM Scale Sets with 'TrustedLaunch' security type.",
        ));
    }
    let plan = facts.plan.as_ref();
    if plan.is_some_and(|plan| *plan != body["plan"]) {
        let text = "Creating a virtual machine from Marketplace image requires Plan information in the request.";
        return Err(Refusal::new(400, "VMMarketplaceInvalidInput", text));
    }
    if text(body, "/properties/priority") != "Spot"
        && !text(body, "/properties/evictionPolicy").is_empty()
    {
        return Err(Refusal::parameter(
            "evictionPolicy",
            "Eviction policy can be set only on Azure Spot Virtual Machines.",
        ));
    }
    Ok(())
}

fn interfaces(world: &World, call: &Call, body: &Value) -> Result<(), Refusal> {
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
        referred(world, call, id, NIC, NOT_FOUND)?;
        if let Some(user) = network::used(world, id, VM) {
            let text = format!(
                "Network Interface {id} is used by existing resource {user}. In order to delete or reuse the network interface, it must be dissociated from the resource."
            );
            return Err(Refusal::new(409, "NicInUse", text));
        }
    }
    Ok(())
}

/// Who logs in, and what the machine is told at its first start.
fn operating_system(world: &World, body: &Value, facts: &Facts) -> Result<(), Refusal> {
    let profile = &body["properties"]["osProfile"];
    if !facts.generalized {
        if profile.is_object() {
            return Err(Refusal::parameter(
                "osProfile",
                "Parameter 'osProfile' is not allowed for a specialized image.",
            ));
        }
        return Ok(());
    }
    let computer = text(profile, "/computerName");
    if computer.is_empty()
        || computer.len() > 64
        || computer.ends_with(['.', '-'])
        || computer.contains('_')
    {
        return Err(Refusal::parameter(
            "computerName",
            "Linux host name cannot exceed 64 characters in length or contain certain characters, and it is required.",
        ));
    }
    let user = text(profile, "/adminUsername");
    let own = world.config.machines.own_user();
    let kept_back =
        KEPT_BACK.contains(&user.to_lowercase().as_str()) && own.as_deref() != Some(user);
    if user.is_empty() || user.len() > 64 || kept_back {
        return Err(Refusal::parameter(
            "adminUsername",
            "The Admin Username specified is not allowed.",
        ));
    }
    let without_password = profile["linuxConfiguration"]["disablePasswordAuthentication"] == true;
    let keys = list(profile, "/linuxConfiguration/ssh/publicKeys");
    if without_password && (keys.is_empty() || !text(profile, "/adminPassword").is_empty()) {
        return Err(Refusal::parameter(
            "linuxConfiguration",
            "Authentication using SSH needs a public key, and no password beside it.",
        ));
    }
    if !without_password && text(profile, "/adminPassword").is_empty() {
        return Err(Refusal::parameter(
            "adminPassword",
            "Required parameter 'adminPassword' is missing (null).",
        ));
    }
    for key in keys {
        if text(key, "/path") != format!("/home/{user}/.ssh/authorized_keys") {
            let text = format!(
                "Destination path for SSH public keys is currently limited to its default value /home/{user}/.ssh/authorized_keys due to a known issue in Linux provisioning agent."
            );
            return Err(Refusal::parameter(
                "linuxConfiguration.ssh.publicKeys.path",
                text,
            ));
        }
        let data = text(key, "/keyData");
        let mut words = data.split_whitespace();
        let known = matches!(words.next(), Some("ssh-rsa" | "ssh-ed25519"));
        if !known
            || words
                .next()
                .is_none_or(|blob| STANDARD.decode(blob).is_err())
        {
            return Err(Refusal::parameter(
                "linuxConfiguration.ssh.publicKeys.keyData",
                "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid.",
            ));
        }
    }
    let custom = text(profile, "/customData");
    match STANDARD.decode(custom) {
        Ok(data) if data.len() <= LARGEST_CUSTOM_DATA_BYTES => Ok(()),
        _ => Err(Refusal::parameter(
            "customData",
            "Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters.",
        )),
    }
}

/// The disk that the machine brings: named by the request, or by the service.
fn disk_of(world: &mut World, call: &Call, body: &mut Value) -> Result<String, Refusal> {
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
        name = format!("{}_OsDisk_1_{:032x}", call.own_name(), world.number());
    }
    let base = call.shown.split("/providers/").next().unwrap_or_default();
    let id = format!("{base}/providers/{DISK}/{name}");
    if world.find(&id).is_some() {
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
    world.resources.insert(id.to_lowercase(), resource);
    let profile = &mut body["properties"]["storageProfile"]["osDisk"];
    profile["name"] = json!(name);
    profile["diskSizeGB"] = json!(gigabytes);
    profile["osType"] = json!("Linux");
    profile["managedDisk"]["id"] = json!(id);
    profile["managedDisk"]["storageAccountType"] = json!(kind_of_storage);
    Ok(id)
}

/// What a machine was made from does not change.
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

/// Lets the machine be made.
pub fn start(world: &World, call: &Call) -> Work {
    let vm = &world.resources[&call.id];
    let port = world.config.ssh_port;
    let interfaces = list(&vm.body, "/properties/networkProfile/networkInterfaces");
    let mut reached = interfaces
        .iter()
        .filter_map(|nic| network::reached(world, text(nic, "/id"), port));
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
    work(world, move |machines| {
        machines.create(&spec).map(|()| Value::Null)
    })
}
