//! Limits of sizes, quotas and images, for VMs and scale sets.

use serde_json::Value;

use super::super::answer::Refusal;
use super::super::catalogue::{self, Size};
use super::super::world::{CloudState, list, text};
use super::VM;
use super::source::Facts;

/// Checks that the size is known and available, and that the quota has cores for `count` VMs.
pub fn sized(
    cloud: &CloudState,
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
    if cloud
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
    let used = cores_used(cloud, location, id);
    let wanted = size.cores * count;
    if used + wanted > cloud.config.cores {
        let text = format!(
            "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. Additional details - Location: {location}, Current Limit: {}, Current Usage: {used}, Additional Required: {wanted}.",
            cloud.config.cores
        );
        return Err(Refusal::new(409, "OperationNotAllowed", text));
    }
    Ok(size)
}

/// Returns whether size and image support Trusted Launch.
fn takes_trusted_launch(facts: &Facts, size: &Size) -> bool {
    let image = facts.generation == "V2" && facts.security.starts_with("TrustedLaunch");
    image && !size.trusted_launch_disabled()
}

/// Returns the requested security type, or Azure's default.
///
/// The default is Trusted Launch since [`TRUSTED_LAUNCH_DEFAULT`], if image and size support it.
pub fn security(
    cloud: &CloudState,
    version: &str,
    facts: &Facts,
    size: &Size,
    body: &Value,
) -> Result<String, Refusal> {
    let requested = text(body, "/properties/securityProfile/securityType");
    let features = &cloud.config.unregistered_features;
    if requested == "Standard" && features.iter().any(|one| one == "UseStandardSecurityType") {
        return Err(Refusal::parameter(
            "securityProfile.securityType",
            "The value of parameter securityProfile.securityType is invalid.",
        ));
    }
    let by_default = version >= TRUSTED_LAUNCH_DEFAULT && takes_trusted_launch(facts, size);
    Ok(match (requested, by_default) {
        ("", true) => "TrustedLaunch".to_owned(),
        ("", false) => "Standard".to_owned(),
        (requested, _) => requested.to_owned(),
    })
}

/// The first api-version with Trusted Launch as the default of generation 2:
/// <https://learn.microsoft.com/azure/virtual-machines/trusted-launch-faq>
const TRUSTED_LAUNCH_DEFAULT: &str = "2025-11-01";

/// Returns the cores of a location that others than `id` use.
pub fn cores_used(cloud: &CloudState, location: &str, id: &str) -> u64 {
    let machines = cloud
        .of_kind(VM)
        .filter(|vm| {
            vm.location().eq_ignore_ascii_case(location) && !vm.id.eq_ignore_ascii_case(id)
        })
        .filter_map(|vm| catalogue::size(vm.property("/hardwareProfile/vmSize")))
        .map(|size| size.cores);
    let sets = cloud
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

/// Returns the requested disk controller, or Azure's default: SCSI, unless the size has `NVMe` only.
///
/// Generation 1 has SCSI only and does not accept the property.
pub fn disk_controller(
    facts: &Facts,
    size: &Size,
    body: &Value,
) -> Result<Option<String>, Refusal> {
    let target = "storageProfile.diskControllerType";
    let requested = text(body, "/properties/storageProfile/diskControllerType");
    if facts.generation == "V1" {
        if requested.is_empty() {
            return Ok(None);
        }
        let text = "Disk Controller Type is only supported for VMs that are created from a Generation 2 Image or OS disk and VM Size that supports the same.";
        return Err(Refusal::parameter(target, text));
    }
    let has = |all: &str, one: &str| all.split(',').any(|name| name.trim() == one);
    if !requested.is_empty() && !has(size.controllers, requested) {
        let text = format!(
            "The VM size '{}' cannot boot with DiskControllerType '{requested}'. Please check that the disk controller type provided is one of the supported disk controller types for the VM size '{}'.",
            size.name, size.name
        );
        return Err(Refusal::parameter(target, text));
    }
    let of_image = match facts.controllers.as_str() {
        "" => "SCSI",
        named => named,
    };
    let fit = |one: &&str| {
        let wanted = requested.is_empty() || *one == requested;
        wanted && has(size.controllers, one) && has(of_image, one)
    };
    let Some(found) = ["SCSI", "NVMe"].into_iter().find(|one| fit(one)) else {
        let text = format!(
            "The VM size '{}' cannot boot with OS image or disk. Please check that disk controller types supported by the OS image or disk is one of the supported disk controller types for the VM size '{}'.",
            size.name, size.name
        );
        return Err(Refusal::parameter("vmSize", text));
    };
    Ok(Some(found.to_owned()))
}

/// Checks the image's generation, architecture and security against size and security profile.
pub fn fits(facts: &Facts, size: &Size, body: &Value, security: &str) -> Result<(), Refusal> {
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
    let trusted = security == "TrustedLaunch";
    if trusted && !takes_trusted_launch(facts, size) {
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
