//! From a machine to images: stopped, generalized, captured, read back.
//!
//! An action whose answer was lost is not repeated blindly: what the machine says of itself decides.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::body::{self, VersionSource};
use super::names::{self, MANIFEST_TAG};
use super::preflight::architecture;
use super::{Azure, AzureError, AzureVm, Firmware, Relaxed};
use crate::azure::{ArmClient, ArmError, Class, ResourceId};
use crate::builder::{Artifact, BuilderError, CapturedImage, CapturedKind};
use crate::definition::Security;
use crate::digest::Digest;
use crate::event::Events;
use crate::lock::VmGeneration;
use crate::teardown::{Teardown, Undo};

/// How long a machine may take to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(1800);
/// How long a managed image may take.
const IMAGE_DEADLINE: Duration = Duration::from_secs(3600);
/// How long a gallery version may take: it is copied to all its regions.
const VERSION_DEADLINE: Duration = Duration::from_secs(4 * 3600);

/// Captures the machine as everything that the output names.
pub(super) async fn capture(
    azure: &Azure,
    mut machine: AzureVm,
    teardown: &mut Teardown,
    events: &Events,
) -> Result<Artifact, BuilderError> {
    machine.made().await?;
    let (arm, job) = (&azure.arm, &azure.job);
    let run = machine.run.clone();
    let id = &machine.names.machine;
    let generation = stop(arm, id).await?;
    let location = &job.machine.location;
    let mut images = Vec::new();
    let mut source = VersionSource::Machine(id);
    let kept = job.managed_image(arm.subscription());
    let needs_image = azure.needs_image.load(Relaxed);
    if job.output.managed_image || needs_image {
        let (to, tags) = match job.output.managed_image {
            true => (&kept, names::tags(&job.machine.tags, &run, None)),
            false => {
                let tags = names::tags(&job.machine.tags, &run, Some(&job.expires));
                (&machine.names.passing_image, tags)
            }
        };
        let zones = job.output.zone_resilient && job.output.managed_image;
        let wanted = body::managed_image(location, &tags, id, generation, zones);
        note(teardown, to, body::COMPUTE, &run)?;
        events.note(format!("managed image {}", to.name()));
        let image = make(arm, to, body::COMPUTE, &wanted, &run, IMAGE_DEADLINE).await?;
        if job.output.managed_image {
            images.push(managed(job, to, &image)?);
        }
        source = VersionSource::Image(to);
    }
    let version = job.gallery_version(arm.subscription());
    if let (Some(gallery), Some(to)) = (&job.output.gallery, version) {
        let tags = names::tags(&job.machine.tags, &run, None);
        let wanted = body::version(location, &tags, gallery, &source);
        note(teardown, &to, body::GALLERY, &run)?;
        events.note(format!("gallery version {}", to.name()));
        let made = make(arm, &to, body::GALLERY, &wanted, &run, VERSION_DEADLINE).await?;
        images.push(gallery_version(azure, generation, &to, &made)?);
    }
    Ok(Artifact::Azure(images))
}

fn note(
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

/// Stops and generalizes the machine: it never starts again. Returns how it booted.
async fn stop(arm: &ArmClient, id: &ResourceId) -> Result<VmGeneration, AzureError> {
    act(arm, id, "deallocate", "PowerState/deallocated").await?;
    act(arm, id, "generalize", "OSState/generalized").await?;
    let view = view(arm, id).await?;
    Ok(match view["hyperVGeneration"].as_str() {
        Some("V2") => VmGeneration::V2,
        _ => VmGeneration::V1,
    })
}

/// Does `action`; where nobody knows whether it happened, looks for `state`, and does it again where it did not.
async fn act(
    arm: &ArmClient,
    id: &ResourceId,
    action: &str,
    state: &str,
) -> Result<(), AzureError> {
    for _ in 0..MOST_TIMES {
        let done = match arm.post(id, action, body::COMPUTE, &[], None).await {
            Ok(started) => started.finish_in(STOP_DEADLINE).await.map(|_| ()),
            Err(error) => Err(error),
        };
        match done {
            Err(error) if error.class() == Class::Unknown => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(()),
        }
        let view = view(arm, id).await?;
        let mut states = view["statuses"].as_array().into_iter().flatten();
        if states.any(|one| one["code"].as_str() == Some(state)) {
            return Ok(());
        }
    }
    Err(AzureError::Unexpected {
        what: id.name().to_owned(),
        why: format!("nobody answers whether it did {action}"),
    })
}

/// An answer that is lost so often is no accident.
const MOST_TIMES: usize = 3;

async fn view(arm: &ArmClient, id: &ResourceId) -> Result<Value, AzureError> {
    let expand = [("$expand", "instanceView")];
    let found = arm.get_with(id, body::COMPUTE, &expand).await?;
    let mut found = found.ok_or_else(|| AzureError::Unexpected {
        what: id.name().to_owned(),
        why: "the machine is gone; a spot machine may be taken away at any time".to_owned(),
    })?;
    Ok(found["properties"]["instanceView"].take())
}

/// Makes an image. There is no conditional create for images, so one is looked for first, and afterwards it has to carry
/// our tag: two bakes of one version at the same moment cannot both believe that it is theirs.
async fn make(
    arm: &ArmClient,
    id: &ResourceId,
    api: &str,
    body: &Value,
    run: &str,
    deadline: Duration,
) -> Result<Value, AzureError> {
    let taken = |why: &str| AzureError::Unexpected {
        what: id.to_string(),
        why: why.to_owned(),
    };
    match arm.get(id, api).await? {
        Some(there) if !names::is_of(&there, run) => {
            return Err(taken(
                "it was made by somebody else meanwhile; images are never replaced",
            ));
        }
        _ => {}
    }
    let made = arm.put(id, api, body).await?.finish_in(deadline).await?;
    match names::is_of(&made, run) {
        true => Ok(made),
        false => Err(taken("it carries the tag of another bake")),
    }
}

fn managed(job: &super::Job, id: &ResourceId, image: &Value) -> Result<CapturedImage, AzureError> {
    let properties = &image["properties"];
    Ok(CapturedImage {
        id: id.to_string(),
        kind: CapturedKind::ManagedImage,
        location: location(image, job),
        firmware: firmware(properties["hyperVGeneration"].as_str()),
        // Managed images are for x64 alone: <https://learn.microsoft.com/azure/virtual-machines/capture-image-resource>.
        arch: "x86_64".to_owned(),
        disk_gib: properties["storageProfile"]["osDisk"]["diskSizeGB"]
            .as_u64()
            .unwrap_or_default(),
        created_at: created(image),
        unique_id: None,
        security: Security::Standard,
    })
}

fn gallery_version(
    azure: &Azure,
    generation: VmGeneration,
    id: &ResourceId,
    version: &Value,
) -> Result<CapturedImage, AzureError> {
    let properties = &version["properties"];
    Ok(CapturedImage {
        id: id.to_string(),
        kind: CapturedKind::GalleryVersion,
        location: location(version, &azure.job),
        firmware: firmware(Some(generation.as_str())),
        arch: properties["architecture"]
            .as_str()
            .map_or_else(|| "x86_64".to_owned(), architecture),
        disk_gib: properties["storageProfile"]["osDiskImage"]["sizeInGB"]
            .as_u64()
            .unwrap_or_default(),
        created_at: created(version),
        unique_id: None,
        security: azure.job.machine.security,
    })
}

fn location(image: &Value, job: &super::Job) -> String {
    let found = image["location"].as_str().unwrap_or(&job.machine.location);
    // Some answers have `West Europe` for `westeurope`.
    found.replace(' ', "").to_ascii_lowercase()
}

fn firmware(generation: Option<&str>) -> Firmware {
    match generation {
        Some("V2") => Firmware::Uefi,
        _ => Firmware::Bios,
    }
}

fn created(image: &Value) -> Option<Timestamp> {
    let places = [
        "/systemData/createdAt",
        "/properties/publishingProfile/publishedDate",
        "/properties/timeCreated",
    ];
    let found = places
        .iter()
        .find_map(|place| image.pointer(place)?.as_str()?.parse::<Timestamp>().ok())?;
    // Records have whole seconds.
    Timestamp::from_second(found.as_second()).ok()
}

/// Writes on each image which manifest it belongs to.
pub(super) async fn mark(
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

/// The last lines of the machine's serial console, as far as Azure has them. That there are none is no error: this is
/// asked for where something else failed.
pub(super) async fn console(arm: &ArmClient, id: &ResourceId) -> Vec<String> {
    let look = async {
        let query = [("sasUriExpirationTimeInMinutes", "10")];
        let started = arm
            .post(
                id,
                "retrieveBootDiagnosticsData",
                body::COMPUTE,
                &query,
                None,
            )
            .await?;
        let found = started.finish_in(Duration::from_secs(60)).await?;
        let url = found["serialConsoleLogBlobUri"]
            .as_str()
            .unwrap_or_default();
        Ok::<_, ArmError>(arm.fetch_text(url).await.unwrap_or_default())
    };
    let text = look.await.unwrap_or_default();
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).collect())
        .collect();
    lines[lines.len().saturating_sub(crate::process::LAST_LINES)..].to_vec()
}
