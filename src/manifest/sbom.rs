//! Writes the bill of materials of an image: CycloneDX 1.6 in canonical JSON.
//! Takes a [`Manifest`] and its package list. Uses neither the manifest's digest nor its `sbom`.
//! Single files are not listed, so the document is marked as incomplete.

mod purl;

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::{Manifest, Package, ReleaseFact};
use crate::digest::{Digest, canonical_json};

/// The media type of the output of [`sbom`].
pub const SBOM_MEDIA_TYPE: &str = "application/vnd.cyclonedx+json; version=1.6";

/// The reference of the image within the document.
const IMAGE: &str = "image";

/// Returns the CycloneDX document of an image.
pub fn sbom(manifest: &Manifest, packages: &[Package]) -> Vec<u8> {
    let mut components = system_and_releases(manifest);
    // Keyed by purl, since references must be unique within the document.
    let packages: BTreeMap<String, Component> = packages
        .iter()
        .map(|one| package(manifest, one))
        .map(|component| (component.bom_ref.clone(), component))
        .collect();
    components.extend(packages.into_values());
    let mut depends_on: Vec<String> = components.iter().map(|one| one.bom_ref.clone()).collect();
    depends_on.sort();
    canonical_json(&Bom {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        // One build has one document. Stored manifests always have a UUID as the id of the build.
        serial_number: Uuid::parse_str(&manifest.build)
            .ok()
            .map(|id| id.urn().to_string()),
        version: 1,
        metadata: metadata(manifest),
        components,
        // Dependencies between packages are not recorded.
        dependencies: vec![Dependency {
            of: IMAGE,
            depends_on,
        }],
        compositions: vec![Composition {
            aggregate: "incomplete",
            assemblies: vec![IMAGE],
        }],
    })
}

fn metadata(manifest: &Manifest) -> Metadata {
    let tool = &manifest.builder.tool;
    let outputs = manifest.outputs.iter();
    let of_bytes = outputs.filter_map(|output| output.file.as_ref());
    Metadata {
        timestamp: manifest.created_at.to_string(),
        tools: Tools {
            components: vec![Component {
                version: tool.version.clone(),
                hashes: tool.binary_sha256.iter().map(Hash::from).collect(),
                ..Component::new("application", "vault-bake", "tool")
            }],
        },
        component: Component {
            version: manifest.version.to_string(),
            hashes: of_bytes.map(|file| (&file.digest).into()).collect(),
            properties: image_properties(manifest),
            // CycloneDX has no type for disk images; `container` is the closest. Scanners use a
            // component of the type `operating-system` as the distribution, and accept only one.
            ..Component::new("container", &manifest.image, IMAGE)
        },
    }
}

fn image_properties(manifest: &Manifest) -> Vec<Property> {
    let mut properties = vec![
        property("build", &manifest.build),
        property("packages", &manifest.packages.digest),
        property("plan", &manifest.source.plan_digest),
    ];
    if manifest.has_fixture() {
        properties.push(property("fixture", &true));
    }
    for output in &manifest.outputs {
        let target = format!("{}/{}", output.target, output.class);
        properties.push(property("output", &format!("{target} {}", output.id)));
    }
    properties
}

/// Returns the components that are not packages: the distribution, the kernel, the releases.
fn system_and_releases(manifest: &Manifest) -> Vec<Component> {
    let os = &manifest.os;
    let system = Component {
        version: os.version.clone(),
        ..Component::new("operating-system", &os.id, "os")
    };
    let kernel = Component {
        version: os.kernel.clone(),
        ..Component::new("platform", "linux", "kernel")
    };
    let releases: BTreeMap<String, Component> = manifest
        .releases
        .iter()
        .map(release)
        .map(|component| (component.bom_ref.clone(), component))
        .collect();
    [system, kernel]
        .into_iter()
        .chain(releases.into_values())
        .collect()
}

/// Returns the component of a release. Its hash is that of the binary in the image.
fn release(release: &ReleaseFact) -> Component {
    let purl = purl::generic(&release.product, &release.version, &release.sha256);
    let mut properties = vec![
        property("archive", &release.file),
        property("archive-sha256", &release.sha256),
        property("official", &release.official),
        property("signed-by", &release.primary_fingerprint),
    ];
    if release.fixture {
        properties.push(property("fixture", &true));
    }
    let distribution = release.url.as_ref().map(|url| Reference {
        kind: "distribution",
        url: url.clone(),
        hashes: vec![(&release.sha256).into()],
    });
    Component {
        version: release.version.clone(),
        purl: Some(purl.clone()),
        hashes: vec![(&release.binary_sha256).into()],
        external_references: distribution.into_iter().collect(),
        properties,
        ..Component::new("application", &release.product, &purl)
    }
}

fn package(manifest: &Manifest, package: &Package) -> Component {
    let purl = purl::package(&manifest.packages.manager, &manifest.os, package);
    Component {
        version: package.version.clone(),
        purl: Some(purl.clone()),
        ..Component::new("library", &package.name, &purl)
    }
}

fn property(name: &str, value: &impl ToString) -> Property {
    Property {
        name: format!("vault-bake:{name}"),
        value: value.to_string(),
    }
}

/// The used part of a CycloneDX document. The names are those of the standard.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bom {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial_number: Option<String>,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
    dependencies: Vec<Dependency>,
    compositions: Vec<Composition>,
}

#[derive(Serialize)]
struct Metadata {
    timestamp: String,
    tools: Tools,
    component: Component,
}

#[derive(Serialize)]
struct Tools {
    components: Vec<Component>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    bom_ref: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<Reference>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

impl Component {
    fn new(kind: &'static str, name: &str, bom_ref: &str) -> Self {
        Self {
            kind,
            bom_ref: bom_ref.to_owned(),
            name: name.to_owned(),
            version: String::new(),
            hashes: Vec::new(),
            purl: None,
            external_references: Vec::new(),
            properties: Vec::new(),
        }
    }
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

impl From<&Digest> for Hash {
    fn from(digest: &Digest) -> Self {
        Self {
            alg: "SHA-256",
            content: digest.hex(),
        }
    }
}

#[derive(Serialize)]
struct Reference {
    #[serde(rename = "type")]
    kind: &'static str,
    url: String,
    hashes: Vec<Hash>,
}

#[derive(Serialize)]
struct Property {
    name: String,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    of: &'static str,
    depends_on: Vec<String>,
}

#[derive(Serialize)]
struct Composition {
    aggregate: &'static str,
    assemblies: Vec<&'static str>,
}
