//! Locks an image on Azure: replaces `latest` by a version, and records generation, architecture
//! and security type.

use serde_json::Value;

use super::{ImageReference, LockError, LockedImage, PurchasePlan, VmGeneration};
use crate::azure::{ArmClient, ArmError};
use crate::definition::{AzureBase, AzureSpec};

/// API version of marketplace images and managed images.
const COMPUTE: &str = "2025-11-01";
/// API version of galleries.
const GALLERY: &str = "2024-03-03";

/// Looks up the base of `wanted`.
pub(super) async fn image(arm: &ArmClient, wanted: &AzureSpec) -> Result<LockedImage, LockError> {
    let location = &wanted.machine.location;
    match &wanted.base {
        AzureBase::Marketplace {
            publisher,
            offer,
            sku,
            version,
        } => {
            let parts = [publisher, offer, sku, version].map(String::as_str);
            marketplace(arm, location, parts).await
        }
        AzureBase::Gallery { id } => gallery(arm, id, location).await,
        AzureBase::ManagedImage { id } => managed(arm, id).await,
    }
}

fn failed(image: &str, reason: impl Into<String>, hint: Option<String>) -> LockError {
    LockError::Image {
        image: image.to_owned(),
        reason: reason.into(),
        hint,
    }
}

fn refused(image: &str, error: &ArmError) -> LockError {
    failed(image, error.to_string(), error.hint())
}

async fn marketplace(
    arm: &ArmClient,
    location: &str,
    [publisher, offer, sku, version]: [&str; 4],
) -> Result<LockedImage, LockError> {
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
    let plan = &properties["plan"];
    let text = |name: &str| plan[name].as_str().map(ToOwned::to_owned);
    let plan = match (text("name"), text("product"), text("publisher")) {
        (Some(name), Some(product), Some(publisher)) => Some(PurchasePlan {
            name,
            product,
            publisher,
        }),
        _ => None,
    };
    Ok(LockedImage {
        image: ImageReference::Marketplace {
            publisher: publisher.to_owned(),
            offer: offer.to_owned(),
            sku: sku.to_owned(),
            version,
        },
        generation: generation(&properties["hyperVGeneration"]),
        arch: arch(&properties["architecture"]),
        security: security(&properties["features"]),
        plan,
    })
}

async fn gallery(arm: &ArmClient, id: &str, location: &str) -> Result<LockedImage, LockError> {
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
    found_version.ok_or_else(|| failed(&id, "no such version", None))?;
    Ok(LockedImage {
        image: ImageReference::Gallery { id },
        generation: generation(&properties["hyperVGeneration"]),
        arch: arch(&properties["architecture"]),
        security: security(&properties["features"]),
        plan: None,
    })
}

/// Returns the newest version that is complete, replicated to the region, and not excluded from
/// `latest`.
async fn newest_version(
    arm: &ArmClient,
    definition: &str,
    location: &str,
) -> Result<String, LockError> {
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

async fn managed(arm: &ArmClient, id: &str) -> Result<LockedImage, LockError> {
    let found = arm
        .get(id, COMPUTE)
        .await
        .map_err(|error| refused(id, &error))?;
    let found = found.ok_or_else(|| failed(id, "no such managed image", None))?;
    Ok(LockedImage {
        image: ImageReference::ManagedImage { id: id.to_owned() },
        generation: generation(&found["properties"]["hyperVGeneration"]),
        arch: "x86_64".to_owned(),
        security: None,
        plan: None,
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

fn arch(value: &Value) -> String {
    match value.as_str() {
        Some("Arm64") => "aarch64".to_owned(),
        _ => "x86_64".to_owned(),
    }
}

fn security(features: &Value) -> Option<String> {
    let mut all = features.as_array().into_iter().flatten();
    let found = all.find(|one| one["name"].as_str() == Some("SecurityType"))?;
    found["value"].as_str().map(ToOwned::to_owned)
}
