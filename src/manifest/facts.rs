//! The parts of a manifest. Sizes are in bytes, times in UTC.
//! The fields are sorted by name: written in this order they are canonical JSON, which parses in
//! one pass.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::Moment;
use crate::digest::Digest;
use crate::release::VerifiedRelease;

/// An installed release, and how it was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseFact {
    /// The digest of its binary in the image.
    pub binary_sha256: Digest,
    /// The size of the binary, in bytes.
    pub binary_size: u64,
    /// The file name of the archive.
    pub file: String,
    /// Whether it is a fixture release. Written only if true.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fixture: bool,
    /// Whether the signature is the vendor's.
    pub official: bool,
    /// The primary fingerprint of the signer's certificate.
    pub primary_fingerprint: String,
    /// The product: `vault` or `consul`.
    pub product: String,
    /// The digest of the archive.
    pub sha256: Digest,
    /// The digest of the detached signature.
    pub signature_sha256: Digest,
    /// The time of the signature, RFC 3339 in UTC.
    pub signed_at: String,
    /// The first user id of the certificate.
    pub signer: String,
    /// The fingerprint of the signing key.
    pub signing_fingerprint: String,
    /// The size of the archive, in bytes.
    pub size: u64,
    /// The digest of the SHA256SUMS file.
    pub sums_sha256: Digest,
    /// The URL of the archive. Absent for a local folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The version, for example `1.21.1`.
    pub version: String,
}

impl From<&VerifiedRelease> for ReleaseFact {
    fn from(verified: &VerifiedRelease) -> Self {
        let locked = verified.locked.clone();
        // Local paths and URLs with credentials must not be recorded.
        let public = locked.url.starts_with("http") && !locked.url.contains(['@', '?']);
        Self {
            product: locked.product,
            version: locked.version,
            file: locked.file,
            url: public.then_some(locked.url),
            sha256: locked.sha256,
            size: verified.archive_size_bytes,
            binary_sha256: verified.binary_sha256,
            binary_size: verified.binary_size_bytes,
            sums_sha256: locked.sums_sha256,
            signature_sha256: locked.signature_sha256,
            primary_fingerprint: locked.primary_fingerprint,
            signing_fingerprint: locked.signing_fingerprint,
            signed_at: locked.signed_at,
            signer: locked.signer,
            official: locked.official,
            fixture: !locked.official,
        }
    }
}

/// The origin of the definition, and the digests of what was derived from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionFact {
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The digest of the definition with all variables replaced.
    pub definition_digest: Digest,
    /// Whether the working tree had uncommitted changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
    /// The digest of the lock file.
    pub lock_digest: Digest,
    /// The digest of the plan.
    pub plan_digest: Digest,
    /// The URL of the repository, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
}

/// The role of the input with the checks for the booted image. It is an object of the store, so
/// that the store alone is enough to repeat a test.
pub const CHECKS_ROLE: &str = "checks";

/// One input of a build. Sorted by role, then name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The digest of the content.
    pub digest: Digest,
    /// The name in the definition or lock file.
    pub name: String,
    /// `product`, `base`, `repo-index`, `file`, `script`, `template` or `ansible`.
    pub role: String,
    /// The size, in bytes.
    pub size: u64,
}

impl Ord for Input {
    fn cmp(&self, other: &Self) -> Ordering {
        let all = |one: &Self| (one.digest, one.size);
        let named = (&self.role, &self.name).cmp(&(&other.role, &other.name));
        named.then_with(|| all(self).cmp(&all(other)))
    }
}

impl PartialOrd for Input {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Deserializes inputs, and rejects lists that are not sorted or that contain duplicates.
pub(super) fn sorted<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeSet<Input>, D::Error> {
    let inputs = Vec::<Input>::deserialize(deserializer)?;
    if inputs.is_sorted_by(|a, b| a < b) {
        Ok(inputs.into_iter().collect())
    } else {
        Err(D::Error::custom(
            "inputs are not sorted by role and name, or one of them occurs twice",
        ))
    }
}

/// A reference to an object of the store that belongs to a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The digest of the object.
    pub digest: Digest,
    /// The media type, for example `application/vnd.cyclonedx+json; version=1.6`.
    pub media_type: String,
    /// The size, in bytes.
    pub size: u64,
}

/// The base that a build started from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The digest of the disk, if the base is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_sha256: Option<Digest>,
    /// The base as requested by the definition.
    pub requested: serde_json::Value,
    /// The base as resolved in the lock file.
    pub resolved: serde_json::Value,
}

impl Base {
    /// Returns the digest that identifies the base: that of the disk, or for an image on Azure that
    /// of the resolved value.
    pub fn digest(&self) -> Digest {
        self.disk_sha256
            .unwrap_or_else(|| Digest::hash_value(&self.resolved))
    }
}

/// A cache entry that the build reused. An earlier build ran its steps with the same inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFact {
    /// The id of the build that made it.
    pub build: String,
    /// The digest of its file.
    pub digest: Digest,
    /// The cache key: a digest over everything that determines this entry and those before it.
    pub key: Digest,
    /// The time at which it was made.
    pub made_at: Moment,
    /// The last step in it.
    pub step: String,
}

/// The VM snapshot that the build resumed from. No step had run in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumedFact {
    /// The id of the build that saved it.
    pub build: String,
    /// The digest of its memory.
    pub memory_sha256: Digest,
}

/// A step that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFact {
    /// A digest over everything that determines the step.
    pub digest: Digest,
    /// The duration, in milliseconds.
    pub elapsed_ms: u64,
    /// The time at which it ended.
    pub ended_at: Moment,
    /// The exit status.
    pub exit: i32,
    /// `provisioner`, `shell`, `file`, `ansible` or `reboot`.
    pub kind: String,
    /// The digest of its output.
    pub log_digest: Digest,
    /// The name of the step.
    pub name: String,
    /// The time at which it began.
    pub started_at: Moment,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFact {
    /// The check, in words.
    pub description: String,
    /// The stable id, for example `vault.unit-sandboxed`.
    pub id: String,
    /// Whether the check passed.
    pub ok: bool,
    /// Why the check was skipped, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// The step that the check belongs to.
    pub step: String,
}

/// One output of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The architecture, for example `x86_64`.
    pub arch: String,
    /// `qcow2`, `azure-managed-image` or `azure-gallery-version`.
    pub class: String,
    /// The description by the cloud at the time of creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudFact>,
    /// How the record identifies the content: by `bytes`, the digest of the file, or by `id`, the
    /// facts of the cloud. With `id`, a user who may delete and create images in the cloud could
    /// replace the content.
    pub evidence: String,
    /// The file, if the output is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileFact>,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// `qcow2` or `vhd`.
    pub format: String,
    /// The id at the target: for `local` the path in the store, on Azure the resource id.
    pub id: String,
    /// The target: `local`, or for example `azure/westeurope`.
    pub target: String,
}

impl Output {
    /// Returns the output for a qcow2 file in the store.
    pub fn local_qcow2(file: FileFact, arch: &str, firmware: &str) -> Self {
        Self {
            target: "local".into(),
            class: "qcow2".into(),
            id: local_id(&file, "qcow2"),
            format: "qcow2".into(),
            arch: arch.into(),
            firmware: firmware.into(),
            file: Some(file),
            cloud: None,
            evidence: "bytes".into(),
        }
    }

    /// Returns the digest that statements use: of the file, or of the facts of the cloud.
    pub fn digest(&self) -> Digest {
        match (&self.file, &self.cloud) {
            (Some(file), _) => file.digest,
            (None, cloud) => Digest::hash_value(&(&self.id, cloud)),
        }
    }

    /// Returns the size of the disk, in bytes.
    pub fn virtual_size(&self) -> u64 {
        let file = self.file.as_ref().map(|file| file.virtual_size);
        let cloud = self.cloud.as_ref().map(|cloud| cloud.virtual_size);
        file.or(cloud).unwrap_or_default()
    }

    /// Returns the file, if it is in the store.
    pub(crate) fn local_file(&self) -> Option<&FileFact> {
        self.file.as_ref().filter(|_| self.target == "local")
    }
}

/// The description of an image by the cloud at the time of creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudFact {
    /// The time of creation according to the cloud, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Moment>,
    /// The region, for example `westeurope`.
    pub location: String,
    /// The id of the build, which is the value of the tag `vault-bake-id`.
    pub run: String,
    /// `standard` or `trusted-launch`: machines of the other kind cannot be started from it.
    pub security: String,
    /// A second id that the cloud gives to each image. Another image with the same resource id
    /// would have another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
    /// The size of the disk, in bytes.
    pub virtual_size: u64,
}

/// Returns the name of a local artifact in the store, which follows from its content.
pub(super) fn local_id(file: &FileFact, format: &str) -> String {
    format!("artifacts/sha256/{}.{format}", file.digest.hex())
}

/// An output file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFact {
    /// The digest of the file.
    pub digest: Digest,
    /// The size of the file, in bytes.
    pub size: u64,
    /// The size of the disk in it, in bytes.
    pub virtual_size: u64,
}

/// The operating system of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Os {
    /// The id of the distribution, for example `debian`.
    pub id: String,
    /// The version of the kernel, for example `6.1.0-32-amd64`.
    pub kernel: String,
    /// The version of the distribution, for example `12`.
    pub version: String,
}

/// The builder of an image, or of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuilderFact {
    /// The computer that it ran on.
    pub host: Host,
    /// The name of the builder: `qemu` or `azure`.
    pub name: String,
    /// The version of vault-bake.
    pub tool: Tool,
}

/// The program vault-bake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// The digest of the executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_sha256: Option<Digest>,
    /// The version, for example `0.1.0`.
    pub version: String,
}

/// The computer of a build, by kind. Its name is not recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The architecture, for example `x86_64`.
    pub arch: String,
    /// The operating system, for example `linux`.
    pub os: String,
}

/// How reproducible the build is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repro {
    /// Whether only the recorded inputs could affect the image.
    pub hermetic: bool,
    /// The unpinned inputs, in words.
    pub not_pinned: Vec<String>,
}
