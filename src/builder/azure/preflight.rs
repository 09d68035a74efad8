//! What can be known before anything is made: every reason why a bake would fail at its end is better told at its beginning.
//!
//! In: a machine, an output, a base. Out: what the gallery demands, or the first reason why the bake cannot succeed. All
//! questions are asked at once, and all of them only read.

mod policies;
mod quota;

use futures::future::try_join_all;
use serde_json::Value;
use tokio::try_join;

use super::body;
use super::{Azure, AzureError, Job};
use crate::azure::{ArmClient, ResourceId};
use crate::definition::{AzureMachine, GalleryOutput, Security};
use crate::event::Events;
use crate::lock::{ImageReference, LockedImage, VmGeneration};

/// What is known after the look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// Whether the gallery takes managed images alone, and no machine.
    pub needs_image: bool,
}

/// Looks at everything at once.
pub(super) async fn check(
    azure: &Azure,
    base: &LockedImage,
    events: &Events,
) -> Result<Known, AzureError> {
    let (arm, job) = (&azure.arm, &azure.job);
    let (needed, left, (), (), needs_image, (), ()) = try_join!(
        size(arm, &job.machine, base),
        quota::left(arm, &job.machine.location),
        providers(arm),
        targets(arm, job),
        definition(arm, job, base),
        source(arm, job, &base.image),
        policies::check(arm, job, base, events),
    )?;
    quota::evaluate(&job.machine, &needed, &left)?;
    Ok(Known { needs_image })
}

fn refused(what: &str, why: impl Into<String>) -> AzureError {
    AzureError::Preflight {
        what: what.to_owned(),
        why: why.into(),
    }
}

/// The providers that are used have to be registered with the subscription.
async fn providers(arm: &ArmClient) -> Result<(), AzureError> {
    let one = async |name: &str| {
        let path = format!("/subscriptions/{}/providers/{name}", arm.subscription());
        let found = arm.get(path, body::RESOURCES).await?.unwrap_or_default();
        match found["registrationState"].as_str() {
            Some("Registered") => Ok(()),
            state => Err(refused(
                name,
                format!(
                    "the provider is {} with this subscription; register it: `az provider register --namespace {name}`",
                    state.unwrap_or("unknown")
                ),
            )),
        }
    };
    try_join!(one("Microsoft.Compute"), one("Microsoft.Network")).map(|_| ())
}

/// The size has to be there for this subscription, in the zone, and able to run the base.
async fn size(
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
        refused(
            &what,
            "there is none; `az vm list-skus --location …` lists what there is",
        )
    })?;
    restrictions(&what, sku, machine.zone.as_deref())?;
    let capability = |name: &str| {
        let mut all = sku["capabilities"].as_array().into_iter().flatten();
        let found = all.find(|one| one["name"].as_str() == Some(name));
        found
            .and_then(|one| one["value"].as_str())
            .unwrap_or_default()
    };
    let generations = capability("HyperVGenerations");
    let generation = base.generation.as_str();
    if !generations.is_empty() && !generations.split(',').any(|one| one == generation) {
        let why = format!("it runs generation {generations}, the base is {generation}");
        return Err(refused(&what, why));
    }
    let arch = capability("CpuArchitectureType");
    if !arch.is_empty() && architecture(arch) != base.arch {
        let why = format!("its processor is {arch}, the base is for {}", base.arch);
        return Err(refused(&what, why));
    }
    let no = |name: &str| capability(name).eq_ignore_ascii_case("false");
    if machine.disk_type.starts_with("Premium") && no("PremiumIO") {
        let why = format!("it takes no {} disk; set `disk_type`", machine.disk_type);
        return Err(refused(&what, why));
    }
    if machine.spot && no("LowPriorityCapable") {
        return Err(refused(&what, "it is not sold as spot"));
    }
    let trusted = machine.security == Security::TrustedLaunch;
    let disabled = capability("TrustedLaunchDisabled").eq_ignore_ascii_case("true");
    if trusted && (disabled || base.generation == VmGeneration::V1) {
        return Err(refused(
            &what,
            "no trusted launch with this size or base; it needs generation V2",
        ));
    }
    Ok(quota::Processors {
        count: capability("vCPUs").parse().unwrap_or(1),
        family: sku["family"].as_str().unwrap_or_default().to_owned(),
    })
}

/// Azure's word for a processor, in ours.
pub(super) fn architecture(word: &str) -> String {
    match word.to_ascii_lowercase().as_str() {
        "x64" => "x86_64".to_owned(),
        "arm64" => "aarch64".to_owned(),
        other => other.to_owned(),
    }
}

fn restrictions(what: &str, sku: &Value, zone: Option<&str>) -> Result<(), AzureError> {
    for one in sku["restrictions"].as_array().into_iter().flatten() {
        let reason = one["reasonCode"].as_str().unwrap_or("restricted");
        let mut zones = one["restrictionInfo"]["zones"]
            .as_array()
            .into_iter()
            .flatten();
        match (one["type"].as_str(), zone) {
            (Some("Location"), _) => {
                return Err(refused(
                    what,
                    format!("not for this subscription ({reason})"),
                ));
            }
            (Some("Zone"), Some(zone)) if zones.any(|one| one == zone) => {
                return Err(refused(what, format!("not in zone {zone} ({reason})")));
            }
            _ => {}
        }
    }
    let Some(zone) = zone else { return Ok(()) };
    let mut places = sku["locationInfo"].as_array().into_iter().flatten();
    let there = places.any(|place| {
        let mut zones = place["zones"].as_array().into_iter().flatten();
        zones.any(|one| one == zone)
    });
    match there {
        true => Ok(()),
        false => Err(refused(what, format!("it is not sold in zone {zone}"))),
    }
}

/// What is to be made must not be there, and what it is made in must be.
async fn targets(arm: &ArmClient, job: &Job) -> Result<(), AzureError> {
    let mut groups = vec![job.output.resource_group.clone()];
    groups.extend(job.machine.resource_group.clone());
    groups.extend(
        job.output
            .gallery
            .iter()
            .map(|one| one.resource_group.clone()),
    );
    groups.dedup();
    let there = groups.iter().map(async |name| {
        let group = ResourceId::group(arm.subscription(), name);
        match arm.get(&group, body::RESOURCES).await? {
            Some(_) => Ok(()),
            None => Err(refused(
                &format!("resource group {name}"),
                "it does not exist; it has to, because it outlives bakes",
            )),
        }
    });
    let absent = job
        .targets(arm.subscription())
        .into_iter()
        .map(async |(id, api)| match arm.get(&id, api).await? {
            None => Ok(()),
            Some(_) => Err(refused(
                id.name(),
                format!("{id} exists already; images are never replaced: bake another version"),
            )),
        });
    try_join!(try_join_all(there), try_join_all(absent)).map(|_| ())
}

/// The gallery's definition has to take what will be captured. Says whether it takes managed images alone.
async fn definition(arm: &ArmClient, job: &Job, base: &LockedImage) -> Result<bool, AzureError> {
    let Some(gallery) = &job.output.gallery else {
        return Ok(false);
    };
    let id = job.definition(arm.subscription(), gallery);
    let what = format!("image definition {}/{}", gallery.name, gallery.definition);
    let found = arm.get(&id, body::GALLERY).await?.ok_or_else(|| {
        refused(
            &what,
            "it does not exist; make it first: it is shared by all versions",
        )
    })?;
    fits(&what, &found["properties"], job, base, gallery)
}

fn fits(
    what: &str,
    of: &Value,
    job: &Job,
    base: &LockedImage,
    gallery: &GalleryOutput,
) -> Result<bool, AzureError> {
    let text = |name: &str, default: &str| of[name].as_str().unwrap_or(default).to_owned();
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
        ("architecture", arch, base.arch.clone()),
    ];
    for (name, found, wanted) in demands {
        if !found.eq_ignore_ascii_case(&wanted) {
            return Err(refused(
                what,
                format!("its {name} is {found}, the image's will be {wanted}"),
            ));
        }
    }
    let mut features = of["features"].as_array().into_iter().flatten();
    let security = features.find(|one| one["name"] == "SecurityType");
    let security = security
        .and_then(|one| one["value"].as_str())
        .unwrap_or("Standard");
    let trusted = job.machine.security == Security::TrustedLaunch;
    // <https://learn.microsoft.com/azure/virtual-machines/trusted-launch>: what a version can be made of.
    match (security, trusted) {
        ("TrustedLaunch", true) | ("Standard" | "None", false) => Ok(false),
        ("TrustedLaunchSupported", false) => Ok(true),
        _ => Err(refused(
            what,
            format!(
                "its SecurityType is {security}, which a {} machine cannot be captured to; change `security`, or name another definition than {}",
                if trusted {
                    "trusted-launch"
                } else {
                    "standard"
                },
                gallery.definition
            ),
        )),
    }
}

/// The base has to be there still.
async fn source(arm: &ArmClient, job: &Job, image: &ImageReference) -> Result<(), AzureError> {
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
        Some(_) => Ok(()),
        None => Err(refused(
            &format!("base {image}"),
            format!(
                "it is not in {} any more; run `vault-bake lock` again",
                job.machine.location
            ),
        )),
    }
}
