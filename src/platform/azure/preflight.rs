//! Checks before a build whether it can succeed.
//!
//! Takes a machine, an output and a base; returns the gallery's source, or the first problem.
//! All checks run concurrently and only read.

mod disk_controller;
mod policies;
mod quota;
mod security;

use futures::future::try_join_all;
use serde_json::Value;
use tokio::try_join;

use super::body;
use super::{Azure, AzureError, GallerySource, Job};
use crate::azure::{ArmClient, ResourceId};
use crate::event::Events;
use crate::platform::azure::definition::{AzureMachine, DiskController, GalleryOutput, Security};
use crate::platform::azure::lock::{plan, unsupported_arch, withdrawal};
use crate::platform::azure::locked_image::{ImageReference, LockedImage, PurchasePlan};
use crate::release::Architecture;

/// Runs all checks.
pub(super) async fn check(
    azure: &Azure,
    base: &LockedImage,
    events: &Events,
) -> Result<GallerySource, AzureError> {
    let (arm, job) = (&azure.arm, &azure.job);
    // A lock does not depend on the output, which may have changed since.
    if let Some((why, hint)) = unsupported_arch(base, &job.output) {
        return Err(refused(&format!("base {}", base.image), why, hint));
    }
    let (needed, remaining, (), (), source, (), ()) = try_join!(
        check_size(arm, &job.machine, base),
        quota::read_remaining(arm, &job.machine.location),
        check_providers(arm),
        check_targets(arm, job),
        check_definition(arm, job, base),
        check_base(arm, job, &base.image, events),
        policies::check(arm, job, base, events),
    )?;
    quota::evaluate(&job.machine, &needed, &remaining)?;
    Ok(source)
}

fn refused(what: &str, why: impl Into<String>, hint: impl Into<String>) -> AzureError {
    AzureError::Preflight {
        what: what.to_owned(),
        why: why.into(),
        hint: Some(hint.into()),
    }
}

/// Checks that the resource providers are registered in the subscription.
async fn check_providers(arm: &ArmClient) -> Result<(), AzureError> {
    let check = async |name: &str| {
        let path = format!("/subscriptions/{}/providers/{name}", arm.subscription());
        let found = arm.get(path, body::RESOURCES).await?.unwrap_or_default();
        match found["registrationState"].as_str() {
            Some("Registered") => Ok(()),
            state => Err(refused(
                name,
                format!(
                    "the provider is {} in this subscription",
                    state.unwrap_or("unknown")
                ),
                format!("Run `az provider register --namespace {name}`."),
            )),
        }
    };
    try_join!(check("Microsoft.Compute"), check("Microsoft.Network")).map(|_| ())
}

/// Checks that the size is available to the subscription in the zone, and can run the base.
async fn check_size(
    arm: &ArmClient,
    machine: &AzureMachine,
    base: &LockedImage,
) -> Result<quota::Processors, AzureError> {
    let path = format!(
        "/subscriptions/{}/providers/Microsoft.Compute/skus",
        arm.subscription()
    );
    let filter = format!("location eq '{}'", machine.location);
    let all = arm.list(path, body::SKUS, &[("$filter", &filter)]).await?;
    let wanted = all.iter().find(|sku| {
        sku["resourceType"] == "virtualMachines"
            && sku["name"]
                .as_str()
                .is_some_and(|name| name.eq_ignore_ascii_case(&machine.vm_size))
    });
    let what = format!("size {} in {}", machine.vm_size, machine.location);
    let sku = wanted.ok_or_else(|| {
        let list = format!(
            "Run `az vm list-skus --location {}` to list the sizes.",
            machine.location
        );
        refused(&what, "no such size", list)
    })?;
    check_restrictions(&what, sku, machine.zone.as_deref())?;
    let capability = |name: &str| {
        let mut all = sku["capabilities"].as_array().into_iter().flatten();
        let found = all.find(|entry| entry["name"].as_str() == Some(name));
        found
            .and_then(|entry| entry["value"].as_str())
            .unwrap_or_default()
    };
    let generations = capability("HyperVGenerations");
    let generation = base.generation.as_str();
    if !generations.is_empty() && !generations.split(',').any(|one| one == generation) {
        let why = format!("it supports generation {generations}, the base has {generation}");
        return Err(refused(&what, why, OTHER_SIZE));
    }
    let arch = capability("CpuArchitectureType");
    if !arch.is_empty() && architecture(arch) != base.arch.as_str() {
        let why = format!("its processor is {arch}, the base needs {}", base.arch);
        return Err(refused(&what, why, OTHER_SIZE));
    }
    let controllers = capability("DiskControllerTypes");
    disk_controller::check_size(&what, controllers, machine.disk_controller, base)?;
    let lacks = |name: &str| capability(name).eq_ignore_ascii_case("false");
    if machine.disk_type.starts_with("Premium") && lacks("PremiumIO") {
        let why = format!("it does not support {} disks", machine.disk_type);
        let hint = "Set `disk_type`, or choose another `vm_size`.";
        return Err(refused(&what, why, hint));
    }
    if machine.spot && lacks("LowPriorityCapable") {
        let hint = "Choose another `vm_size`, or set `spot = false`.";
        return Err(refused(&what, "it is not available as a spot VM", hint));
    }
    let disabled = capability("TrustedLaunchDisabled").eq_ignore_ascii_case("true");
    security::check(&what, disabled, machine.security, base)?;
    Ok(quota::Processors {
        count: capability("vCPUs").parse().unwrap_or(1),
        family: sku["family"].as_str().unwrap_or_default().to_owned(),
    })
}

/// Converts Azure's name of an architecture to that of manifests.
fn architecture(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "x64" => "x86_64".to_owned(),
        "arm64" => "aarch64".to_owned(),
        other => other.to_owned(),
    }
}

const OTHER_SIZE: &str = "Choose another `vm_size`.";
const OTHER_ZONE: &str = "Choose another `vm_size` or `zone`.";

/// Checks that a size is available to the subscription and in the zone.
fn check_restrictions(what: &str, sku: &Value, zone: Option<&str>) -> Result<(), AzureError> {
    for restriction in sku["restrictions"].as_array().into_iter().flatten() {
        let reason = restriction["reasonCode"].as_str().unwrap_or("restricted");
        let mut zones = restriction["restrictionInfo"]["zones"]
            .as_array()
            .into_iter()
            .flatten();
        match (restriction["type"].as_str(), zone) {
            (Some("Location"), _) => {
                let why = format!("it is not available to this subscription ({reason})");
                return Err(refused(what, why, OTHER_SIZE));
            }
            (Some("Zone"), Some(zone)) if zones.any(|entry| entry == zone) => {
                let why = format!("it is not available in zone {zone} ({reason})");
                return Err(refused(what, why, OTHER_ZONE));
            }
            _ => {}
        }
    }
    let Some(zone) = zone else { return Ok(()) };
    let mut locations = sku["locationInfo"].as_array().into_iter().flatten();
    let available = locations.any(|location| {
        let mut zones = location["zones"].as_array().into_iter().flatten();
        zones.any(|entry| entry == zone)
    });
    if available {
        return Ok(());
    }
    let why = format!("it is not available in zone {zone}");
    Err(refused(what, why, OTHER_ZONE))
}

/// Checks that the resource groups exist and the images do not.
async fn check_targets(arm: &ArmClient, job: &Job) -> Result<(), AzureError> {
    let mut groups = vec![job.output.resource_group.clone()];
    groups.extend(job.machine.resource_group.clone());
    groups.extend(
        job.output
            .gallery
            .iter()
            .map(|gallery| gallery.resource_group.clone()),
    );
    groups.dedup();
    let existing = groups.iter().map(async |name| {
        let group = ResourceId::group(arm.subscription(), name);
        match arm.get(&group, body::RESOURCES).await? {
            Some(_) => Ok(()),
            None => Err(refused(
                &format!("resource group {name}"),
                "it does not exist",
                format!(
                    "Run `az group create --name {name} --location {}`.",
                    job.machine.location
                ),
            )),
        }
    });
    let absent = job
        .image_ids(arm.subscription())
        .into_iter()
        .map(async |(id, api)| match arm.get(&id, api).await? {
            None => Ok(()),
            Some(_) => Err(refused(
                id.name(),
                format!("{id} exists already"),
                "Build another version: vault-bake never replaces an image.",
            )),
        });
    try_join!(try_join_all(existing), try_join_all(absent)).map(|_| ())
}

/// Checks that the image definition accepts the image.
///
/// Returns the source that it accepts.
async fn check_definition(
    arm: &ArmClient,
    job: &Job,
    base: &LockedImage,
) -> Result<GallerySource, AzureError> {
    let Some(gallery) = &job.output.gallery else {
        return Ok(GallerySource::Machine);
    };
    let id = job.definition(arm.subscription(), gallery);
    let what = format!("image definition {}/{}", gallery.name, gallery.definition);
    let found = arm.get(&id, body::GALLERY).await?.ok_or_else(|| {
        refused(
            &what,
            "it does not exist",
            "Create it with `az sig image-definition create`; all versions share it.",
        )
    })?;
    check_definition_fits(&what, &found["properties"], job, base, gallery)
}

fn check_definition_fits(
    what: &str,
    definition: &Value,
    job: &Job,
    base: &LockedImage,
    gallery: &GalleryOutput,
) -> Result<GallerySource, AzureError> {
    let text = |name: &str, default: &str| definition[name].as_str().unwrap_or(default).to_owned();
    let generation = text("hyperVGeneration", "V1");
    let arch = architecture(&text("architecture", "x64"));
    let demands = [
        ("osType", text("osType", "Linux"), "Linux".to_owned()),
        (
            "osState",
            text("osState", "Generalized"),
            "Generalized".to_owned(),
        ),
        (
            "hyperVGeneration",
            generation,
            base.generation.as_str().to_owned(),
        ),
        ("architecture", arch, base.arch.to_string()),
    ];
    for (name, found, wanted) in demands {
        if !found.eq_ignore_ascii_case(&wanted) {
            return Err(refused(
                what,
                format!("its {name} is {found}, that of the image is {wanted}"),
                format!("Use another image definition than {}.", gallery.definition),
            ));
        }
    }
    let controller = job.machine.disk_controller;
    disk_controller::check_definition(what, &definition["features"], controller, gallery)?;
    check_plan(what, plan(&definition["purchasePlan"]).as_ref(), base)?;
    let mut features = definition["features"].as_array().into_iter().flatten();
    let security = features.find(|feature| feature["name"] == "SecurityType");
    let security = security
        .and_then(|feature| feature["value"].as_str())
        .unwrap_or("Standard");
    let trusted = job.machine.security == Security::TrustedLaunch;
    // The sources that each type accepts:
    // <https://learn.microsoft.com/azure/virtual-machines/trusted-launch>
    match (security, trusted) {
        ("TrustedLaunch", true) | ("Standard" | "None", false) => Ok(GallerySource::Machine),
        // No managed image can be made of such VMs.
        ("TrustedLaunchSupported", _)
            if trusted
                || controller == DiskController::Nvme
                || base.arch == Architecture::Aarch64 =>
        {
            Ok(GallerySource::Snapshot)
        }
        ("TrustedLaunchSupported", false) => Ok(GallerySource::ManagedImage),
        _ => Err(refused(
            what,
            format!(
                "its SecurityType {security} does not accept a {} VM",
                if trusted {
                    "trusted-launch"
                } else {
                    "standard"
                }
            ),
            format!(
                "Change `security`, or use another image definition than {}.",
                gallery.definition
            ),
        )),
    }
}

/// Checks that the image definition has the purchase plan of the base: it is how users of the image
/// get to know the plan that Azure requires of their VMs.
fn check_plan(
    what: &str,
    found: Option<&PurchasePlan>,
    base: &LockedImage,
) -> Result<(), AzureError> {
    let text =
        |plan: Option<&PurchasePlan>| plan.map_or_else(|| "none".to_owned(), ToString::to_string);
    let (found, wanted) = (text(found), text(base.plan.as_ref()));
    if found.eq_ignore_ascii_case(&wanted) {
        return Ok(());
    }
    let hint = match &base.plan {
        Some(plan) => format!(
            "Use an image definition created with `--plan-publisher {} --plan-product {} --plan-name {}`. A plan cannot be changed.",
            plan.publisher, plan.product, plan.name
        ),
        None => "Use an image definition without a purchase plan.".to_owned(),
    };
    Err(refused(
        what,
        format!("its purchase plan is {found}, that of the base is {wanted}"),
        hint,
    ))
}

/// Checks that the base still exists. Warns if its publisher is going to withdraw it.
async fn check_base(
    arm: &ArmClient,
    job: &Job,
    image: &ImageReference,
    events: &Events,
) -> Result<(), AzureError> {
    let (path, api) = match image {
        ImageReference::Marketplace {
            publisher,
            offer,
            sku,
            version,
        } => (
            format!(
                "/subscriptions/{}/providers/Microsoft.Compute/locations/{}/publishers/{publisher}/artifacttypes/vmimage/offers/{offer}/skus/{sku}/versions/{version}",
                arm.subscription(),
                job.machine.location
            ),
            body::COMPUTE,
        ),
        ImageReference::Gallery { id } => (id.clone(), body::GALLERY),
        ImageReference::ManagedImage { id } => (id.clone(), body::COMPUTE),
    };
    match arm.get(path, api).await? {
        Some(found) => {
            if let Some(warning) = withdrawal(image, &found["properties"]) {
                events.warn(warning);
            }
            Ok(())
        }
        None => Err(refused(
            &format!("base {image}"),
            format!("it no longer exists in {}", job.machine.location),
            "Run `vault-bake lock` again.",
        )),
    }
}
