//! Locks an image on Azure: replaces `latest` by a version, and records generation, architecture,
//! security type, disk controllers and purchase plan.

use futures::future::BoxFuture;
use serde_json::Value;

use super::definition::{AzureBase, AzureOutput, AzureSpec};
use super::locked_image::{ImageReference, LockedImage, PurchasePlan, VmGeneration};
use crate::azure::{ArmClient, ArmError};
use crate::definition::platform::{BaseError, BaseErrorKind};
use crate::event::Events;
use crate::release::Architecture;

/// API version of marketplace images and managed images.
const COMPUTE: &str = "2025-11-01";
/// API version of galleries.
const GALLERY: &str = "2024-03-03";

/// Looks up images. Implemented by [`ArmClient`], and by fakes in tests.
pub trait Images: Send + Sync {
    /// Looks up the base of `wanted`. Warns if its publisher is going to withdraw it.
    fn image<'a>(
        &'a self,
        wanted: &'a AzureSpec,
        events: &'a Events,
    ) -> BoxFuture<'a, Result<LockedImage, BaseError>>;
}

impl Images for ArmClient {
    fn image<'a>(
        &'a self,
        wanted: &'a AzureSpec,
        events: &'a Events,
    ) -> BoxFuture<'a, Result<LockedImage, BaseError>> {
        Box::pin(image(self, wanted, events))
    }
}

async fn image(
    arm: &ArmClient,
    wanted: &AzureSpec,
    events: &Events,
) -> Result<LockedImage, BaseError> {
    let location = &wanted.machine.location;
    let locked = match &wanted.base {
        AzureBase::Marketplace {
            publisher,
            offer,
            sku,
            version,
        } => {
            let parts = [publisher, offer, sku, version].map(String::as_str);
            marketplace(arm, location, parts, events).await
        }
        AzureBase::Gallery { id } => gallery(arm, id, location).await,
        AzureBase::ManagedImage { id } => managed(arm, id).await,
    }?;
    match unsupported_arch(&locked, &wanted.output) {
        None => Ok(locked),
        Some((reason, hint)) => Err(failed(&locked.image.to_string(), reason, Some(hint))),
    }
}

/// Returns why no image of a base can be captured as `output` asks, and the way out.
///
/// A managed image has x64 programs:
/// <https://learn.microsoft.com/azure/virtual-machines/capture-image-resource>.
pub(crate) fn unsupported_arch(
    base: &LockedImage,
    output: &AzureOutput,
) -> Option<(String, String)> {
    if base.arch == Architecture::X86_64 || !output.managed_image {
        return None;
    }
    let reason = format!(
        "its architecture is {}, which no managed image can have",
        base.arch
    );
    let hint = "Set `managed_image = false` in `[output.azure]`, and name an image definition with \
                the architecture Arm64 in `[output.azure.gallery]`.";
    Some((reason, hint.to_owned()))
}

fn failed(image: &str, reason: impl Into<String>, hint: Option<String>) -> BaseError {
    BaseError {
        kind: BaseErrorKind::Failed,
        message: format!("cannot lock image {image}: {}", reason.into()),
        hint,
    }
}

/// Returns the error that no subscription is configured.
pub(super) fn no_subscription() -> BaseError {
    BaseError {
        kind: BaseErrorKind::Failed,
        message: "cannot look up the base on Azure: no subscription is configured".to_owned(),
        hint: Some(
            "Set AZURE_SUBSCRIPTION_ID, or `subscription` in `[azure]` of vault-bake.toml. To lock the QEMU base only, add --builder qemu."
                .to_owned(),
        ),
    }
}

fn refused(image: &str, error: &ArmError) -> BaseError {
    failed(image, error.to_string(), error.hint())
}

async fn marketplace(
    arm: &ArmClient,
    location: &str,
    [publisher, offer, sku, version]: [&str; 4],
    events: &Events,
) -> Result<LockedImage, BaseError> {
    let name = format!("{publisher}:{offer}:{sku}:{version}");
    let path = format!(
        "/subscriptions/{}/providers/Microsoft.Compute/locations/{location}/publishers/{publisher}/artifacttypes/vmimage/offers/{offer}/skus/{sku}/versions",
        arm.subscription()
    );
    let version = match version {
        "latest" => {
            // The service sorts by letters, so that 10 comes before 9. This list has no `value`
            // around it.
            let all = arm
                .get(&path, COMPUTE)
                .await
                .map_err(|error| refused(&name, &error))?;
            let all = all.as_ref().and_then(Value::as_array);
            let names = all
                .into_iter()
                .flatten()
                .filter_map(|one| one["name"].as_str());
            let newest = names.max_by_key(|name| numbers(name));
            newest.map(ToOwned::to_owned)
        }
        exact => Some(exact.to_owned()),
    };
    let missing = || {
        failed(
            &name,
            format!("not found in {location}"),
            Some(format!(
                "List images with `az vm image list --all --publisher {publisher}`."
            )),
        )
    };
    let version = version.ok_or_else(missing)?;
    let found = arm.get(format!("{path}/{version}"), COMPUTE).await;
    let found = found
        .map_err(|error| refused(&name, &error))?
        .ok_or_else(missing)?;
    let properties = &found["properties"];
    if properties["disallowed"]["vmDiskType"].as_str() == Some("Unmanaged") {
        return Err(failed(
            &name,
            "it cannot start machines with managed disks",
            Some("Name another image.".to_owned()),
        ));
    }
    let state = properties["imageDeprecationStatus"]["imageState"].as_str();
    if matches!(state, Some("Deprecated")) {
        return Err(failed(
            &name,
            "its publisher has withdrawn it",
            Some("Name another version.".to_owned()),
        ));
    }
    let image = ImageReference::Marketplace {
        publisher: publisher.to_owned(),
        offer: offer.to_owned(),
        sku: sku.to_owned(),
        version,
    };
    if let Some(warning) = withdrawal(&image, properties) {
        events.warn(warning);
    }
    Ok(LockedImage {
        image,
        generation: generation(&properties["hyperVGeneration"]),
        arch: arch(&properties["architecture"]),
        security: feature(&properties["features"], "SecurityType"),
        disk_controllers: disk_controllers(&properties["features"]),
        plan: plan(&properties["plan"]),
    })
}

async fn gallery(arm: &ArmClient, id: &str, location: &str) -> Result<LockedImage, BaseError> {
    let (definition, version) = match id.split_once("/versions/") {
        Some((definition, version)) => (definition, Some(version.to_owned())),
        None => (id, None),
    };
    let found = arm.get(definition, GALLERY).await;
    let found = found.map_err(|error| refused(id, &error))?;
    let found = found.ok_or_else(|| failed(id, "no such image definition", None))?;
    let version = match version {
        Some(version) => version,
        None => newest_version(arm, definition, location).await?,
    };
    let properties = &found["properties"];
    if properties["osState"].as_str() == Some("Specialized") {
        return Err(failed(
            id,
            "it is specialized; expected a generalized image",
            None,
        ));
    }
    let id = format!("{definition}/versions/{version}");
    let found_version = arm
        .get(&id, GALLERY)
        .await
        .map_err(|error| refused(&id, &error))?;
    let found_version = found_version.ok_or_else(|| failed(&id, "no such version", None))?;
    let plan = plan(&properties["purchasePlan"]).or_else(|| plan_of_tags(&found_version["tags"]));
    Ok(LockedImage {
        image: ImageReference::Gallery { id },
        generation: generation(&properties["hyperVGeneration"]),
        arch: arch(&properties["architecture"]),
        security: feature(&properties["features"], "SecurityType"),
        disk_controllers: disk_controllers(&properties["features"]),
        plan,
    })
}

/// Returns the newest version that is complete, replicated to the region, and not excluded from
/// `latest`.
async fn newest_version(
    arm: &ArmClient,
    definition: &str,
    location: &str,
) -> Result<String, BaseError> {
    let all = arm
        .list(format!("{definition}/versions"), GALLERY, &[])
        .await;
    let all = all.map_err(|error| refused(definition, &error))?;
    let usable = |one: &&Value| {
        let properties = &one["properties"];
        let profile = &properties["publishingProfile"];
        let mut regions = profile["targetRegions"].as_array().into_iter().flatten();
        let normalized = |name: &str| name.replace(' ', "").to_ascii_lowercase();
        let is_in_region = regions.any(|region| {
            region["name"].as_str().map(normalized) == Some(normalized(location))
                && region["excludeFromLatest"].as_bool() != Some(true)
        });
        properties["provisioningState"].as_str() == Some("Succeeded")
            && profile["excludeFromLatest"].as_bool() != Some(true)
            && is_in_region
    };
    let names = all
        .iter()
        .filter(usable)
        .filter_map(|one| one["name"].as_str());
    let newest = names
        .max_by_key(|name| numbers(name))
        .map(ToOwned::to_owned);
    newest.ok_or_else(|| failed(definition, format!("no usable version in {location}"), None))
}

async fn managed(arm: &ArmClient, id: &str) -> Result<LockedImage, BaseError> {
    let found = arm
        .get(id, COMPUTE)
        .await
        .map_err(|error| refused(id, &error))?;
    let found = found.ok_or_else(|| failed(id, "no such managed image", None))?;
    Ok(LockedImage {
        image: ImageReference::ManagedImage { id: id.to_owned() },
        generation: generation(&found["properties"]["hyperVGeneration"]),
        arch: Architecture::X86_64,
        security: None,
        disk_controllers: Vec::new(),
        plan: plan_of_tags(&found["tags"]),
    })
}

/// Splits a version into numbers, so that 10 comes after 9.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split('.')
        .map(|part| part.parse().unwrap_or_default())
        .collect()
}

fn generation(value: &Value) -> VmGeneration {
    match value.as_str() {
        Some("V2") => VmGeneration::V2,
        _ => VmGeneration::V1,
    }
}

fn arch(value: &Value) -> Architecture {
    match value.as_str() {
        Some("Arm64") => Architecture::Aarch64,
        _ => Architecture::X86_64,
    }
}

/// Returns the value of one feature of an image.
fn feature(features: &Value, name: &str) -> Option<String> {
    let mut all = features.as_array().into_iter().flatten();
    let found = all.find(|one| one["name"].as_str() == Some(name))?;
    found["value"].as_str().map(ToOwned::to_owned)
}

/// Returns the disk controllers that the features of an image name.
pub(crate) fn disk_controllers(features: &Value) -> Vec<String> {
    let named = feature(features, "DiskControllerTypes").unwrap_or_default();
    split_list(&named)
}

/// Splits a list of Azure, as in `SCSI, NVMe`.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    let parts = text.split(',').map(str::trim);
    let parts = parts.filter(|part| !part.is_empty());
    parts.map(ToOwned::to_owned).collect()
}

/// Returns a complete purchase plan of an image or image definition.
pub(crate) fn plan(plan: &Value) -> Option<PurchasePlan> {
    let text = |name: &str| plan[name].as_str().map(ToOwned::to_owned);
    Some(PurchasePlan {
        name: text("name")?,
        product: text("product")?,
        publisher: text("publisher")?,
    })
}

/// Tags with the name, product and publisher of the purchase plan. Managed images have no other
/// place for it; Packer sets the same tags:
/// <https://developer.hashicorp.com/packer/integrations/hashicorp/azure>.
pub(crate) const PLAN_TAGS: [&str; 3] = ["PlanName", "PlanProduct", "PlanPublisher"];

fn plan_of_tags(tags: &Value) -> Option<PurchasePlan> {
    let tag = |wanted: &str| {
        let mut all = tags.as_object().into_iter().flatten();
        let (_, value) = all.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        let value = value.as_str().filter(|value| !value.is_empty());
        value.map(ToOwned::to_owned)
    };
    let [name, product, publisher] = PLAN_TAGS.map(tag);
    Some(PurchasePlan {
        name: name?,
        product: product?,
        publisher: publisher?,
    })
}

/// Returns a warning if the publisher of an image is going to withdraw it.
pub(crate) fn withdrawal(image: &ImageReference, properties: &Value) -> Option<String> {
    let status = &properties["imageDeprecationStatus"];
    if status["imageState"].as_str() != Some("ScheduledForDeprecation") {
        return None;
    }
    let time = status["scheduledDeprecationTime"].as_str();
    let date = time.and_then(|time| time.split('T').next());
    let on = date.map_or_else(
        || "on an unknown date".to_owned(),
        |date| format!("on {date}"),
    );
    let instead = &status["alternativeOption"]["value"];
    let instead = instead.as_str().map_or_else(
        || "Name another base before then.".to_owned(),
        |other| format!("Its publisher recommends {other} instead."),
    );
    Some(format!("base {image} will be withdrawn {on}. {instead}"))
}
