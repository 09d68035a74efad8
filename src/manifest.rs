//! The record of a build: its inputs, its steps and its outputs.
//! A manifest is written once and never changed. Later facts, such as tests and revocations, are
//! events about its digest.
//! It contains no secrets, floats or nulls. Unknown fields are ignored, unless `must_understand`
//! lists them.

pub mod debian;
pub mod diff;
mod evidence;
mod facts;
mod moment;
mod packages;
mod reference;
mod rollout;
mod sbom;
mod show;
pub(crate) mod succession;
mod version;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::canonical::shape;
use crate::digest::Digest;
use crate::sign::{SignError, Statement, Subject};

pub use evidence::{AuditFact, TEST_SCHEMA, TestRecord};
pub use facts::{
    Base, BuilderFact, CHECKS_ROLE, CheckFact, CloudFact, DefinitionFact, Descriptor, FileFact,
    Host, Input, LayerFact, Os, Output, ReleaseFact, Repro, ResumedFact, StepFact, Tool,
};
pub use moment::Moment;
pub use packages::{Package, Packages, packages_bytes, parse_packages};
pub use reference::{InvalidReference, Reference, is_name};
pub use rollout::{
    CanaryFact, ClusterFact, EpochFact, ROLLOUT_SCHEMA, RolloutImage, RolloutOutcome,
    RolloutRecord, RolloutStep, SnapshotFact, StepResult, is_cluster_id,
};
pub use sbom::{SBOM_MEDIA_TYPE, sbom};
pub use version::{ImageVersion, InvalidVersion};

/// The predicate type of manifests.
pub const SCHEMA: &str = "https://vault-bake.dev/image-manifest/v1";

/// The largest manifest, in bytes. Larger parts are objects of their own.
pub(crate) const MAX_BYTES: usize = 256 * 1024;

/// The names in `must_understand` that this version supports. None was needed so far.
const UNDERSTOOD: &[&str] = &[];

/// The paths in a manifest that must be objects.
const OBJECTS: &[&str] = &[
    "base",
    "builder",
    "builder.host",
    "builder.tool",
    "checks.*",
    "inputs.*",
    "layers.*",
    "os",
    "outputs.*",
    "outputs.*.cloud",
    "outputs.*.file",
    "packages",
    "releases.*",
    "repro",
    "resumed",
    "sbom",
    "source",
    "steps.*",
];

/// The record of one build. The fields are sorted by name, as in canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The base that the build started from.
    pub base: Base,
    /// The id of the build, a UUIDv7.
    pub build: String,
    /// The builder, and the tool and host that it ran on.
    pub builder: BuilderFact,
    /// The checks in the build VM.
    pub checks: Vec<CheckFact>,
    /// The time of capture.
    pub created_at: Moment,
    /// The name of the image.
    pub image: String,
    /// All inputs, by digest, sorted.
    #[serde(deserialize_with = "facts::sorted")]
    pub inputs: BTreeSet<Input>,
    /// The cache entries that the build reused, in their order. Absent if it started from the base.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerFact>,
    /// Features that a reader must support to use the manifest.
    pub must_understand: Vec<String>,
    /// The operating system in the image.
    pub os: Os,
    /// The outputs of the build.
    pub outputs: Vec<Output>,
    /// The packages in the image. The list is an object of its own.
    pub packages: Packages,
    /// The newest manifest of this image at the start of the build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// The installed releases of Vault, Consul and so on.
    pub releases: Vec<ReleaseFact>,
    /// The inputs that are not pinned.
    pub repro: Repro,
    /// The VM snapshot that the build resumed from. Absent if the build VM booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<ResumedFact>,
    /// The bill of materials, an object of its own. Absent in old manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<Descriptor>,
    /// The origin of the definition.
    pub source: DefinitionFact,
    /// The steps, in order.
    pub steps: Vec<StepFact>,
    /// The values of the variables. Sensitive ones are `{"secret": name}`.
    pub variables: BTreeMap<String, serde_json::Value>,
    /// The version of the image.
    pub version: ImageVersion,
}

/// Why bytes are not a valid manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not canonical JSON within the limits, or not a statement.
    #[error("cannot parse the manifest: {0}")]
    Statement(#[from] SignError),
    /// The subjects of the statement are not the outputs of the manifest.
    #[error("the subjects of the statement are not the outputs of the manifest")]
    Subjects,
    /// Canonical JSON, but not a manifest.
    #[error("the manifest does not match the schema {SCHEMA}: {0}")]
    Shape(serde_json::Error),
    /// The manifest has another schema.
    #[error("the manifest has the type `{0}`, expected `{SCHEMA}`")]
    Schema(String),
    /// The manifest requires a feature that this version does not support.
    #[error("the manifest requires the feature `{0}`, which this version does not support")]
    MustUnderstand(String),
    /// The value of a field is not valid.
    #[error("the manifest field `{field}` is `{value}`, expected {expected}")]
    Value {
        /// The name of the field.
        field: &'static str,
        /// The value of the field.
        value: String,
        /// The expected value.
        expected: &'static str,
    },
}

impl ManifestError {
    /// Whether a newer version of vault-bake may be able to read the manifest.
    pub(crate) fn needs_newer_version(&self) -> bool {
        matches!(self, Self::Schema(_) | Self::MustUnderstand(_))
    }
}

impl Manifest {
    /// Returns the only stored form: an in-toto Statement about the outputs as canonical JSON. The
    /// manifest is its predicate.
    pub fn to_bytes(&self) -> Vec<u8> {
        Statement {
            subjects: self.subjects(),
            predicate_type: SCHEMA.to_owned(),
            predicate: self,
        }
        .to_bytes()
    }

    fn subjects(&self) -> Vec<Subject> {
        let subject = |output: &Output| Subject {
            name: output.id.clone(),
            digest: output.digest(),
        };
        self.outputs.iter().map(subject).collect()
    }

    /// Returns the SHA-256 of [`Self::to_bytes`], the name of this manifest. If a newer version
    /// wrote the manifest with more fields, its name is the digest that it was read by.
    pub fn digest(&self) -> Digest {
        Digest::hash_bytes(self.to_bytes())
    }

    /// Returns `image@version`.
    pub fn name(&self) -> String {
        format!("{}@{}", self.image, self.version)
    }

    /// Whether it contains a fixture release.
    pub(crate) fn has_fixture(&self) -> bool {
        self.releases.iter().any(|release| release.fixture)
    }

    /// Parses stored bytes. Rejects everything that [`Self::to_bytes`] cannot write: duplicate
    /// keys, floats, nulls, integers beyond 2^53 − 1, keys that are not ASCII, deep nesting, and
    /// any other form of the JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let known = |one: &Statement<Self>| {
            one.predicate_type == SCHEMA && one.predicate.unsupported_feature().is_none()
        };
        let (subjects, manifest) = match Statement::read(bytes, MAX_BYTES).filter(known) {
            Some(statement) => (statement.subjects, statement.predicate),
            None => Self::parse_slowly(bytes)?,
        };
        manifest.check_values()?;
        if subjects != manifest.subjects() {
            return Err(ManifestError::Subjects);
        }
        Ok(manifest)
    }

    /// The slow path, which reports the defect and ignores unknown fields.
    fn parse_slowly(bytes: &[u8]) -> Result<(Vec<Subject>, Self), ManifestError> {
        let statement = Statement::parse(bytes, MAX_BYTES)?;
        if statement.predicate_type != SCHEMA {
            return Err(ManifestError::Schema(statement.predicate_type));
        }
        let value = statement.predicate;
        let required = value["must_understand"].as_array();
        for feature in required.into_iter().flatten() {
            let name = feature.as_str().unwrap_or_default();
            if !UNDERSTOOD.contains(&name) {
                return Err(ManifestError::MustUnderstand(name.to_owned()));
            }
        }
        shape::check(&value, OBJECTS).map_err(ManifestError::Shape)?;
        let manifest = serde_json::from_value(value).map_err(ManifestError::Shape)?;
        Ok((statement.subjects, manifest))
    }

    /// Returns a required feature that this version does not support.
    fn unsupported_feature(&self) -> Option<&str> {
        let mut required = self.must_understand.iter().map(String::as_str);
        required.find(|name| !UNDERSTOOD.contains(name))
    }

    fn check_values(&self) -> Result<(), ManifestError> {
        let wrong = |field, value: &str, expected| {
            Err(ManifestError::Value {
                field,
                value: value.to_owned(),
                expected,
            })
        };
        if !is_name(&self.image) {
            return wrong("image", &self.image, reference::NAME_RULE);
        }
        let version = uuid::Uuid::parse_str(&self.build).map(|id| id.get_version_num());
        if version != Ok(7) {
            return wrong("build", &self.build, "a UUIDv7");
        }
        if self.outputs.is_empty() {
            return wrong("outputs", "[]", "at least one output");
        }
        for output in &self.outputs {
            let kind = (output.target == "local", output.evidence.as_str());
            match (kind, &output.file, &output.cloud) {
                ((true, "bytes"), Some(file), None) => {
                    if output.id != facts::local_id(file, &output.format) {
                        let expected =
                            "artifacts/sha256/<hex digits of the digest of the file>.<format>";
                        return wrong("outputs.id", &output.id, expected);
                    }
                }
                ((false, "id"), None, Some(_)) => {}
                _ => {
                    let expected = "`bytes` with a file, for the target `local`, or `id` with the facts of a cloud";
                    return wrong("outputs.evidence", &output.evidence, expected);
                }
            }
        }
        Ok(())
    }
}
