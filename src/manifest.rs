//! The record of a bake: what went into an image, what was done, and what came out.
//!
//! In: facts from the stages, or stored bytes. Out: a [`Manifest`], its canonical bytes and the digest that names it.
//! A manifest is written once and never changed; what is learnt later (tests, revocations) is an event about its
//! digest. Deliberately holds no secret, no name of the machine that baked, and no float or null. Reads fields that
//! it does not know as absent, unless the manifest lists them in `must_understand`.

pub mod debian;
pub mod diff;
mod evidence;
mod facts;
mod moment;
mod packages;
mod reference;
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
pub use sbom::{SBOM_MEDIA_TYPE, sbom};
pub use version::{ImageVersion, InvalidVersion};

/// The predicate type of the statements that manifests are.
pub const SCHEMA: &str = "https://vault-bake.dev/image-manifest/v1";

/// No manifest is larger than this, in bytes; what is larger is an object of its own, named by digest.
pub const MAX_BYTES: usize = 256 * 1024;

/// Names of `must_understand` that this version understands. None was needed so far.
const UNDERSTOOD: &[&str] = &[];

/// Where a manifest holds objects.
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

/// The record of one bake. Fields stand in the order of their names, as in canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The id of the run that baked it, a UUIDv7.
    pub bake: String,
    /// What the bake started from.
    pub base: Base,
    /// Who baked.
    pub builder: BuilderFact,
    /// What was checked in the machine that was baked.
    pub checks: Vec<CheckFact>,
    /// When it was written, right after capture.
    pub created_at: Moment,
    /// The image's name.
    pub image: String,
    /// Everything that went in, by digest, sorted.
    #[serde(deserialize_with = "facts::sorted")]
    pub inputs: BTreeSet<Input>,
    /// The layers that it continued from, in the order in which they were made; absent where it began from the base.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerFact>,
    /// Features that a reader must know, or else refuse the manifest.
    pub must_understand: Vec<String>,
    /// The operating system in the image.
    pub os: Os,
    /// What came out.
    pub outputs: Vec<Output>,
    /// The packages in the image; the list is an object of its own.
    pub packages: Packages,
    /// The manifest of this image that was newest when this bake began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// What was installed of Vault, Consul and the like.
    pub releases: Vec<ReleaseFact>,
    /// What is not pinned.
    pub repro: Repro,
    /// The suspended machine that it went on from; absent where its machine booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<ResumedFact>,
    /// The bill of materials, an object of its own; absent in images of before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<Descriptor>,
    /// Where the definition came from.
    pub source: DefinitionFact,
    /// What was done, in order.
    pub steps: Vec<StepFact>,
    /// Variables' values; secret ones as `{"secret": name}`.
    pub variables: BTreeMap<String, serde_json::Value>,
    /// The image's version.
    pub version: ImageVersion,
}

/// Bytes that are no manifest of ours.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not canonical JSON within the limits, or not a statement.
    #[error("manifest: {0}")]
    Statement(#[from] SignError),
    /// A statement about other files than the manifest's own.
    #[error("manifest: the statement is about other files than those that came out")]
    Subjects,
    /// Canonical JSON, but not a manifest.
    #[error("manifest does not have the shape of {SCHEMA}: {0}")]
    Shape(serde_json::Error),
    /// Of another schema.
    #[error(
        "manifest is of the type `{0}`, expected `{SCHEMA}`; a newer vault-bake may know this one"
    )]
    Schema(String),
    /// It demands what this version does not know.
    #[error(
        "manifest demands that readers understand `{0}`, which this vault-bake does not; use a newer one"
    )]
    MustUnderstand(String),
    /// A value is not what its field may hold.
    #[error("manifest field `{field}` is `{value}`, expected {expected}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
}

impl Manifest {
    /// The only form that is stored: an in-toto Statement about the files that came out, as canonical JSON. The
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

    /// What names this manifest: the SHA-256 of [`Self::to_bytes`]. For a manifest that was read, the digest that it
    /// was read by is the name; the two differ where a newer version wrote fields that this one does not know.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_bytes())
    }

    /// `image@version`.
    pub fn name(&self) -> String {
        format!("{}@{}", self.image, self.version)
    }

    /// Whether any release in it is a stand-in and not the vendor's own.
    pub fn has_fixture(&self) -> bool {
        self.releases.iter().any(|release| release.fixture)
    }

    /// Reads stored bytes. Refuses everything that [`Self::to_bytes`] could not have written: duplicate keys, floats,
    /// nulls, integers beyond 2^53 − 1, keys that are not ASCII, deep nesting, other than canonical bytes; and what
    /// this version may not read.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let known = |one: &Statement<Self>| {
            one.predicate_type == SCHEMA && one.predicate.demands().is_none()
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

    /// The long way, which finds out what is wrong, and passes over what it does not know.
    fn parse_slowly(bytes: &[u8]) -> Result<(Vec<Subject>, Self), ManifestError> {
        let statement = Statement::parse(bytes, MAX_BYTES)?;
        if statement.predicate_type != SCHEMA {
            return Err(ManifestError::Schema(statement.predicate_type));
        }
        let value = statement.predicate;
        let demanded = value["must_understand"].as_array();
        for demand in demanded.into_iter().flatten() {
            let name = demand.as_str().unwrap_or_default();
            if !UNDERSTOOD.contains(&name) {
                return Err(ManifestError::MustUnderstand(name.to_owned()));
            }
        }
        shape::check(&value, OBJECTS).map_err(ManifestError::Shape)?;
        let manifest = serde_json::from_value(value).map_err(ManifestError::Shape)?;
        Ok((statement.subjects, manifest))
    }

    /// What it demands that readers understand, and this one does not.
    fn demands(&self) -> Option<&str> {
        let mut demanded = self.must_understand.iter().map(String::as_str);
        demanded.find(|name| !UNDERSTOOD.contains(name))
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
        let version = uuid::Uuid::parse_str(&self.bake).map(|id| id.get_version_num());
        if version != Ok(7) {
            return wrong("bake", &self.bake, "a UUIDv7");
        }
        if self.outputs.is_empty() {
            return wrong("outputs", "[]", "at least one output");
        }
        for output in &self.outputs {
            let is = (output.target == "local", output.evidence.as_str());
            match (is, &output.file, &output.cloud) {
                ((true, "bytes"), Some(file), None) => {
                    if output.id != facts::local_id(file, &output.format) {
                        let expected =
                            "artifacts/sha256/<hex digits of the file's digest>.<format>";
                        return wrong("outputs.id", &output.id, expected);
                    }
                }
                ((false, "id"), None, Some(_)) => {}
                _ => {
                    let expected = "`bytes` with a file, for the target `local`, or `id` with what a cloud said";
                    return wrong("outputs.evidence", &output.evidence, expected);
                }
            }
        }
        Ok(())
    }
}
