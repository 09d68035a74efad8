//! Resolves the `imageReference` of a VM or scale set to source, generation, architecture, security.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::answer::Refusal;
use super::super::catalogue;
use super::super::machines::Source;
use super::super::world::{CloudState, Resource, list, text};
use super::{DEFINITION, IMAGE, VERSION};

/// A resolved image.
#[derive(Clone, Debug)]
pub struct Facts {
    pub source: Source,
    pub generation: String,
    pub architecture: String,
    /// The `SecurityType` of its definition, or an empty text.
    pub security: String,
    /// The disk controllers of its definition, or an empty text.
    pub controllers: String,
    pub generalized: bool,
    /// The version that `latest` resolved to.
    pub exact: String,
    pub plan: Option<Value>,
}

/// Resolves the image for a VM in `location`.
pub fn of(cloud: &CloudState, reference: &Value, location: &str) -> Result<Facts, Refusal> {
    let id = text(reference, "/id");
    if id.is_empty() {
        return marketplace(reference);
    }
    let Some(image) = cloud.find(id).filter(|image| image.hidden == 0) else {
        let text = format!(
            "The platform image '{id}' is not available. Verify that all fields in the storage profile are correct."
        );
        let code = if id.contains("/galleries/") {
            "GalleryImageNotFound"
        } else {
            "ImageNotFound"
        };
        return Err(Refusal::new(404, code, text));
    };
    match image.kind.name {
        IMAGE => managed(image, location),
        VERSION => version(cloud, image, location),
        DEFINITION => {
            let latest = latest(cloud, image, location).ok_or_else(|| {
                let text = format!("The gallery image {id} has no version in {location}.");
                Refusal::new(404, "GalleryImageNotFound", text)
            })?;
            version(cloud, latest, location)
        }
        _ => Err(Refusal::parameter(
            "imageReference.id",
            format!("{id} is no image."),
        )),
    }
}

fn marketplace(reference: &Value) -> Result<Facts, Refusal> {
    let part = |name: &str| text(reference, &format!("/{name}")).to_owned();
    let (publisher, offer, sku) = (part("publisher"), part("offer"), part("sku"));
    let unknown = || {
        let text = format!(
            "The platform image '{publisher}:{offer}:{sku}:{}' is not available. Verify that all fields in the storage profile are correct.",
            part("version")
        );
        Refusal::new(404, "PlatformImageNotFound", text)
    };
    let product = catalogue::product(&publisher, &offer, &sku).ok_or_else(unknown)?;
    let wanted = part("version");
    let exact = if wanted == "latest" {
        product.latest()
    } else {
        let mut versions = product.versions.iter();
        versions
            .find(|known| **known == wanted)
            .copied()
            .ok_or_else(unknown)?
    };
    Ok(Facts {
        source: Source::Marketplace {
            publisher,
            offer,
            sku,
            version: exact.to_owned(),
        },
        generation: product.generation.to_owned(),
        architecture: product.architecture.to_owned(),
        security: product.security.to_owned(),
        controllers: product.controllers.to_owned(),
        generalized: true,
        exact: exact.to_owned(),
        plan: product.plan(),
    })
}

fn managed(image: &Resource, location: &str) -> Result<Facts, Refusal> {
    ready(image)?;
    if !image.location().eq_ignore_ascii_case(location) {
        let text = format!(
            "Image '{}' is in another location than {location}.",
            image.id
        );
        return Err(Refusal::parameter("imageReference.id", text));
    }
    Ok(facts(
        image,
        image.property("/hyperVGeneration"),
        "x64",
        "",
        image.inner["generalized"] != false,
    ))
}

fn version(cloud: &CloudState, version: &Resource, location: &str) -> Result<Facts, Refusal> {
    ready(version)?;
    if !replicated(version, location) {
        let text = format!(
            "The gallery image {} is not available in {location} region. Please contact image owner to replicate to this region, or change your requested region.",
            version.id
        );
        return Err(Refusal::new(404, "GalleryImageNotFound", text));
    }
    let definition = cloud
        .find(super::super::resources::parent_of(&version.id))
        .expect("a version has a definition");
    let architecture = match definition.property("/architecture") {
        "" => "x64",
        named => named,
    };
    let facts = facts(
        version,
        generation(definition),
        architecture,
        security_feature(definition),
        definition.property("/osState") == "Generalized",
    );
    Ok(Facts {
        exact: version.name().to_owned(),
        controllers: feature(definition, "DiskControllerTypes").to_owned(),
        ..facts
    })
}

fn facts(
    image: &Resource,
    generation: &str,
    architecture: &str,
    security: &str,
    generalized: bool,
) -> Facts {
    let generation = if generation.is_empty() {
        "V1"
    } else {
        generation
    };
    Facts {
        source: Source::Captured {
            id: image.id.to_lowercase(),
            file: image.inner["file"].as_str().map(PathBuf::from),
        },
        generation: generation.to_owned(),
        architecture: architecture.to_owned(),
        security: security.to_owned(),
        controllers: String::new(),
        generalized,
        exact: String::new(),
        plan: image
            .inner
            .get("plan")
            .filter(|plan| plan.is_object())
            .cloned(),
    }
}

fn ready(image: &Resource) -> Result<(), Refusal> {
    if image.provisioned() || image.state == "Updating" {
        return Ok(());
    }
    let text = format!(
        "The image {} is not in Succeeded state but {}.",
        image.id, image.state
    );
    Err(Refusal::new(409, "OperationNotAllowed", text))
}

/// Returns the generation of a definition; the default is the first.
pub fn generation(definition: &Resource) -> &str {
    match definition.property("/hyperVGeneration") {
        "" => "V1",
        named => named,
    }
}

/// Returns the feature `SecurityType` of a definition.
pub fn security_feature(definition: &Resource) -> &str {
    feature(definition, "SecurityType")
}

fn feature<'a>(definition: &'a Resource, name: &str) -> &'a str {
    list(&definition.body, "/properties/features")
        .iter()
        .find(|feature| text(feature, "/name") == name)
        .map_or("", |feature| text(feature, "/value"))
}

/// Returns whether a version is replicated to a region.
pub fn replicated(version: &Resource, location: &str) -> bool {
    regions(version)
        .iter()
        .any(|region| region == &location.to_lowercase())
}

/// Returns the regions of a version in lower case without spaces.
pub fn regions(version: &Resource) -> Vec<String> {
    let named = list(&version.body, "/properties/publishingProfile/targetRegions");
    let plain = |name: &str| name.replace(' ', "").to_lowercase();
    if named.is_empty() {
        return vec![plain(version.location())];
    }
    named
        .iter()
        .map(|region| plain(text(region, "/name")))
        .collect()
}

/// Returns the highest version that is not excluded from latest.
fn latest<'a>(
    cloud: &'a CloudState,
    definition: &Resource,
    location: &str,
) -> Option<&'a Resource> {
    let numbers = |version: &Resource| -> Vec<u64> {
        version
            .name()
            .split('.')
            .map(|part| part.parse().unwrap_or(0))
            .collect()
    };
    cloud
        .below(&definition.id)
        .iter()
        .map(|id| &cloud.resources[id])
        .filter(|version| version.provisioned() && replicated(version, location))
        .filter(|version| {
            version.body["properties"]["publishingProfile"]["excludeFromLatest"] != json!(true)
        })
        .max_by_key(|version| numbers(version))
}
