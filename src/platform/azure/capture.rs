//! Takes a build VM; stops and generalizes it, and returns the images captured from it.
//!
//! If the answer to an action is lost, the state of the VM decides whether it is repeated.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::body::{self, VersionSource};
use super::names::{self, MANIFEST_TAG};
use super::{Azure, AzureError, AzureVm, GALLERY_VERSION, GallerySource, MANAGED_IMAGE};
use crate::azure::{ArmClient, ErrorClass, ResourceId};
use crate::builder::{Artifact, BuilderError, CapturedImage};
use crate::definition::platform::{Firmware, word};
use crate::digest::Digest;
use crate::event::Events;
use crate::platform::azure::definition::Security;
use crate::platform::azure::locked_image::VmGeneration;
use crate::release::Architecture;
use crate::teardown::{Teardown, Undo};

/// The limit of stopping a VM.
const STOP_DEADLINE: Duration = Duration::from_secs(1800);
/// The limit of creating a managed image.
const IMAGE_DEADLINE: Duration = Duration::from_secs(3600);
/// The limit of creating a gallery version, which is copied to all its regions.
const VERSION_DEADLINE: Duration = Duration::from_secs(4 * 3600);

/// Captures the VM as all images that the output names.
pub(super) async fn capture(
    azure: &Azure,
    mut machine: AzureVm,
    teardown: &mut Teardown,
    events: &Events,
) -> Result<Artifact, BuilderError> {
    machine.wait_until_created().await?;
    let (arm, job) = (&azure.arm, &azure.job);
    let run = machine.run.clone();
    let id = &machine.names.machine;
    let generation = stop_and_generalize(arm, id).await?;
    let location = &job.machine.location;
    let plan = machine.plan.as_ref();
    let tags = |expires: Option<&str>| names::image_tags(&job.machine.tags, &run, expires, plan);
    let mut images = Vec::new();
    let mut source = VersionSource::Machine(id);
    let image_id = job.managed_image(arm.subscription());
    let needs_image = azure.gallery_source() == GallerySource::ManagedImage;
    if job.output.managed_image || needs_image {
        let (to, tags) = if job.output.managed_image {
            (&image_id, tags(None))
        } else {
            let expires = Some(job.expires.as_str());
            (&machine.names.temporary_image, tags(expires))
        };
        let zones = job.output.zone_resilient && job.output.managed_image;
        let request = body::managed_image(location, &tags, id, generation, zones);
        register_undo(teardown, to, body::COMPUTE, &run)?;
        events.note(format!("creating managed image {}", to.name()));
        let image = create_image(arm, to, body::COMPUTE, &request, &run, IMAGE_DEADLINE).await?;
        if job.output.managed_image {
            images.push(read_managed_image(job, to, &image)?);
        }
        source = VersionSource::Image(to);
    }
    let snapshot = &machine.names.snapshot;
    if azure.gallery_source() == GallerySource::Snapshot {
        let tags = names::tags(&job.machine.tags, &run, Some(&job.expires));
        let request = body::snapshot(location, &tags, &machine.names.disk, generation);
        register_undo(teardown, snapshot, body::DISKS, &run)?;
        events.note(format!("creating snapshot {}", snapshot.name()));
        create_image(arm, snapshot, body::DISKS, &request, &run, IMAGE_DEADLINE).await?;
        source = VersionSource::Snapshot(snapshot);
    }
    let version = job.gallery_version(arm.subscription());
    if let (Some(gallery), Some(to)) = (&job.output.gallery, version) {
        let request = body::version(location, &tags(None), gallery, &source);
        register_undo(teardown, &to, body::GALLERY, &run)?;
        events.note(format!("creating gallery version {}", to.name()));
        let version =
            create_image(arm, &to, body::GALLERY, &request, &run, VERSION_DEADLINE).await?;
        let arch = machine.arch;
        images.push(read_gallery_version(
            azure,
            (generation, arch),
            &to,
            &version,
        )?);
    }
    Ok(Artifact::Cloud(images))
}

fn register_undo(
    teardown: &mut Teardown,
    id: &ResourceId,
    api: &str,
    run: &str,
) -> Result<(), BuilderError> {
    Ok(teardown.register(Undo::Cloud {
        id: id.to_string(),
        api: api.to_owned(),
        run: Some(run.to_owned()),
    })?)
}

/// Stops and generalizes the VM, which can never start again. Returns its generation.
async fn stop_and_generalize(arm: &ArmClient, id: &ResourceId) -> Result<VmGeneration, AzureError> {
    run_action(arm, id, "deallocate", "PowerState/deallocated").await?;
    run_action(arm, id, "generalize", "OSState/generalized").await?;
    let view = instance_view(arm, id).await?;
    Ok(match view["hyperVGeneration"].as_str() {
        Some("V2") => VmGeneration::V2,
        _ => VmGeneration::V1,
    })
}

/// Runs `action`. If its outcome is unknown, repeats it unless the VM has the state `state`.
async fn run_action(
    arm: &ArmClient,
    id: &ResourceId,
    action: &str,
    state: &str,
) -> Result<(), AzureError> {
    for _ in 0..MAX_ATTEMPTS {
        let done = match arm.post(id, action, body::COMPUTE, &[], None).await {
            Ok(started) => started.finish_in(STOP_DEADLINE).await.map(|_| ()),
            Err(error) => Err(error),
        };
        match done {
            Err(error) if error.class() == ErrorClass::Unknown => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(()),
        }
        let view = instance_view(arm, id).await?;
        let mut states = view["statuses"].as_array().into_iter().flatten();
        if states.any(|entry| entry["code"].as_str() == Some(state)) {
            return Ok(());
        }
    }
    let why = format!("cannot tell whether {action} took effect");
    Err(AzureError::unexpected(id.name(), why))
}

/// The number of lost answers after which an action fails.
const MAX_ATTEMPTS: usize = 3;

async fn instance_view(arm: &ArmClient, id: &ResourceId) -> Result<Value, AzureError> {
    let expand = [("$expand", "instanceView")];
    let found = arm.get_with(id, body::COMPUTE, &expand).await?;
    let mut found = found.ok_or_else(|| {
        let why = "the VM no longer exists; Azure can evict a spot VM at any time";
        AzureError::unexpected(id.name(), why)
    })?;
    Ok(found["properties"]["instanceView"].take())
}

/// Creates an image and returns it.
///
/// Azure has no conditional create for images. An existing one is therefore refused before, and the
/// tag is checked after: of two concurrent builds of a version, at most one succeeds.
async fn create_image(
    arm: &ArmClient,
    id: &ResourceId,
    api: &str,
    body: &Value,
    run: &str,
    deadline: Duration,
) -> Result<Value, AzureError> {
    let taken = || AzureError::Unexpected {
        what: id.to_string(),
        why: "another build created it in the meantime".to_owned(),
        hint: Some("Build another version: vault-bake never replaces an image.".to_owned()),
    };
    if let Some(existing) = arm.get(id, api).await?
        && !names::has_run_tag(&existing, run)
    {
        return Err(taken());
    }
    let created = arm.put(id, api, body).await?.finish_in(deadline).await?;
    if names::has_run_tag(&created, run) {
        Ok(created)
    } else {
        Err(taken())
    }
}

fn read_managed_image(
    job: &super::Job,
    id: &ResourceId,
    image: &Value,
) -> Result<CapturedImage, AzureError> {
    let properties = &image["properties"];
    Ok(CapturedImage {
        id: id.to_string(),
        class: MANAGED_IMAGE,
        location: location(image, job),
        firmware: firmware(properties["hyperVGeneration"].as_str()),
        // Managed images support x64 only:
        // <https://learn.microsoft.com/azure/virtual-machines/capture-image-resource>
        arch: Architecture::X86_64.to_string(),
        disk_gib: properties["storageProfile"]["osDisk"]["diskSizeGB"]
            .as_u64()
            .unwrap_or_default(),
        created_at: creation_time(image),
        unique_id: None,
        security: word(&Security::Standard),
    })
}

fn read_gallery_version(
    azure: &Azure,
    (generation, arch): (VmGeneration, Architecture),
    id: &ResourceId,
    version: &Value,
) -> Result<CapturedImage, AzureError> {
    let properties = &version["properties"];
    Ok(CapturedImage {
        id: id.to_string(),
        class: GALLERY_VERSION,
        location: location(version, &azure.job),
        firmware: firmware(Some(generation.as_str())),
        arch: arch.to_string(),
        disk_gib: properties["storageProfile"]["osDiskImage"]["sizeInGB"]
            .as_u64()
            .unwrap_or_default(),
        created_at: creation_time(version),
        unique_id: None,
        security: word(&azure.job.machine.security),
    })
}

fn location(image: &Value, job: &super::Job) -> String {
    let found = image["location"].as_str().unwrap_or(&job.machine.location);
    // Some answers contain `West Europe` instead of `westeurope`.
    found.replace(' ', "").to_ascii_lowercase()
}

fn firmware(generation: Option<&str>) -> Firmware {
    match generation {
        Some("V2") => Firmware::Uefi,
        _ => Firmware::Bios,
    }
}

fn creation_time(image: &Value) -> Option<Timestamp> {
    let pointers = [
        "/systemData/createdAt",
        "/properties/publishingProfile/publishedDate",
        "/properties/timeCreated",
    ];
    let found = pointers
        .iter()
        .find_map(|pointer| image.pointer(pointer)?.as_str()?.parse::<Timestamp>().ok())?;
    // Manifests contain whole seconds.
    Timestamp::from_second(found.as_second()).ok()
}

/// Tags each image with the digest of its manifest.
pub(super) async fn tag_images(
    azure: &Azure,
    artifact: &Artifact,
    manifest: &Digest,
) -> Result<(), AzureError> {
    let body = json!({
        "operation": "Merge",
        "properties": { "tags": { MANIFEST_TAG: manifest.to_string() } },
    });
    for id in artifact.ids() {
        let path = format!("{id}/providers/Microsoft.Resources/tags/default");
        let started = azure.arm.patch(path, body::RESOURCES, &body).await?;
        started.finish_in(STOP_DEADLINE).await?;
    }
    Ok(())
}
