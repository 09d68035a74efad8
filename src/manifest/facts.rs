//! The parts of a manifest. Sizes are in bytes, times in UTC.
//!
//! Fields stand in the order of their names, as canonical JSON has them: what is written plainly is canonical then, and is read
//! without a detour.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::Moment;
use crate::digest::Digest;
use crate::release::Verified;

/// A release that was installed, and how it was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseFact {
    /// Of the binary in it, as it stands in the image.
    pub binary_sha256: Digest,
    /// Of the binary, in bytes.
    pub binary_size: u64,
    /// The archive's file name.
    pub file: String,
    /// Whether this is a stand-in. Written only where it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fixture: bool,
    /// Whether the signature is the vendor's.
    pub official: bool,
    /// The primary fingerprint of the signer's certificate.
    pub primary_fingerprint: String,
    /// `vault` or `consul`.
    pub product: String,
    /// Of the archive.
    pub sha256: Digest,
    /// Of the detached signature.
    pub signature_sha256: Digest,
    /// When it was signed, RFC 3339 UTC.
    pub signed_at: String,
    /// The certificate's first user id.
    pub signer: String,
    /// The fingerprint of the key that signed.
    pub signing_fingerprint: String,
    /// Of the archive, in bytes.
    pub size: u64,
    /// Of the SHA256SUMS file.
    pub sums_sha256: Digest,
    /// Where it was found; absent where that was a folder of the machine that baked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// As the vendor names it, as in `1.21.1`.
    pub version: String,
}

impl From<&Verified> for ReleaseFact {
    fn from(verified: &Verified) -> Self {
        let locked = verified.locked.clone();
        // Paths of this machine, and credentials within an address, have no place in a record.
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

/// Where the definition came from, and what was decided from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionFact {
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Of the definition after its variables were filled in.
    pub definition_digest: Digest,
    /// Whether there were changes beside the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
    /// Of the lock.
    pub lock_digest: Digest,
    /// Of the plan.
    pub plan_digest: Digest,
    /// The repository, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
}

/// The role of the input that holds the checks for the booted image: an object of the store, so that a test can be
/// repeated from the store alone.
pub const CHECKS_ROLE: &str = "checks";

/// Something that went in. Sorted by role, then name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Of the content.
    pub digest: Digest,
    /// As the definition or lock names it.
    pub name: String,
    /// `product`, `base`, `repo-index`, `file`, `script`, `template` or `ansible`.
    pub role: String,
    /// In bytes.
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

/// Inputs in their one order, each once.
pub(super) fn sorted<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeSet<Input>, D::Error> {
    let inputs = Vec::<Input>::deserialize(deserializer)?;
    if inputs.is_sorted_by(|a, b| a < b) {
        Ok(inputs.into_iter().collect())
    } else {
        Err(D::Error::custom(
            "inputs are not sorted by role and name, or one stands there twice",
        ))
    }
}

/// An object of the store that belongs to a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Of its bytes.
    pub digest: Digest,
    /// What it is, as in `application/vnd.cyclonedx+json; version=1.6`.
    pub media_type: String,
    /// In bytes.
    pub size: u64,
}

/// What the bake started from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Of the disk that the machine started from, where that was a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_sha256: Option<Digest>,
    /// As the definition wants it.
    pub requested: serde_json::Value,
    /// As the lock resolved it.
    pub resolved: serde_json::Value,
}

impl Base {
    /// What tells this base from others: the disk's digest; of an image on Azure, of what it was resolved to.
    pub fn digest(&self) -> Digest {
        self.disk_sha256
            .unwrap_or_else(|| Digest::of_value(&self.resolved))
    }
}

/// A layer that the bake continued from: its steps were done by an earlier run, from the same inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFact {
    /// The id of the run that made it.
    pub bake: String,
    /// Of its file.
    pub digest: Digest,
    /// Over all that decided what is in it, and in those before it.
    pub key: Digest,
    /// When it was made.
    pub made_at: Moment,
    /// The step that was done last.
    pub step: String,
}

/// A machine that was suspended right after it had started, and that the bake went on from. No step was done in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumedFact {
    /// The id of the run that suspended it.
    pub bake: String,
    /// Of its memory.
    pub memory_sha256: Digest,
}

/// A step that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFact {
    /// Over all that decides what it does.
    pub digest: Digest,
    /// How long it ran, in milliseconds.
    pub elapsed_ms: u64,
    /// When it ended.
    pub ended_at: Moment,
    /// Its exit status.
    pub exit: i32,
    /// `provisioner`, `shell`, `file`, `ansible` or `reboot`.
    pub kind: String,
    /// Of what it printed.
    pub log_digest: Digest,
    /// Its name.
    pub name: String,
    /// When it began.
    pub started_at: Moment,
}

/// Something that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFact {
    /// In words.
    pub description: String,
    /// Stable, as in `vault.unit-sandboxed`.
    pub id: String,
    /// Whether it holds.
    pub ok: bool,
    /// Why it was not looked at, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// The step that it belongs to.
    pub step: String,
}

/// Something that came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// As in `x86_64`.
    pub arch: String,
    /// `qcow2`, `azure-managed-image` or `azure-gallery-version`.
    pub class: String,
    /// What a cloud said of it when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudFact>,
    /// What ties the record to the content: `bytes` is the digest of the file itself; `id` is what the cloud said of it,
    /// which somebody who may delete and make images there can say of another content.
    pub evidence: String,
    /// The file, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileFact>,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// `qcow2` or `vhd`.
    pub format: String,
    /// What the target knows it by: for `local` its path in the store, on Azure its resource id.
    pub id: String,
    /// `local`, or as in `azure/westeurope`.
    pub target: String,
}

impl Output {
    /// A qcow2 file in the store's own folder.
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

    /// What a statement about it is about: the digest of the file, or of what the cloud said.
    pub fn digest(&self) -> Digest {
        match (&self.file, &self.cloud) {
            (Some(file), _) => file.digest,
            (None, cloud) => Digest::of_value(&(&self.id, cloud)),
        }
    }

    /// Of the disk in it, in bytes.
    pub fn virtual_size(&self) -> u64 {
        let file = self.file.as_ref().map(|file| file.virtual_size);
        let cloud = self.cloud.as_ref().map(|cloud| cloud.virtual_size);
        file.or(cloud).unwrap_or_default()
    }

    /// The file of an output in the store itself.
    pub fn local_file(&self) -> Option<&FileFact> {
        self.file.as_ref().filter(|_| self.target == "local")
    }
}

/// What a cloud said of an image when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudFact {
    /// When the cloud says that it was made; absent where it does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Moment>,
    /// As in `westeurope`.
    pub location: String,
    /// The id of the run that made it, which stands in its tag `vault-bake-id`.
    pub run: String,
    /// `standard` or `trusted-launch`: machines of the other kind cannot be started from it.
    pub security: String,
    /// What it is named by beside its id, which another image under the same id would not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
    /// Of the disk in it, in bytes.
    pub virtual_size: u64,
}

/// Where a local artifact is in the store: its content says.
pub(super) fn local_id(file: &FileFact, format: &str) -> String {
    format!("artifacts/sha256/{}.{format}", file.digest.hex())
}

/// A file that came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFact {
    /// Of its bytes.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// Of the disk in it, in bytes.
    pub virtual_size: u64,
}

/// The operating system of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Os {
    /// As in `debian`.
    pub id: String,
    /// As in `6.1.0-32-amd64`.
    pub kernel: String,
    /// As in `12`.
    pub version: String,
}

/// Who baked or tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuilderFact {
    /// What it ran on.
    pub host: Host,
    /// `qemu`.
    pub name: String,
    /// The program.
    pub tool: Tool,
}

/// This program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Of the executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_sha256: Option<Digest>,
    /// As in `0.1.0`.
    pub version: String,
}

/// The machine that it ran on, by kind and never by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// As in `x86_64`.
    pub arch: String,
    /// As in `linux`.
    pub os: String,
}

/// How far the bake could be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repro {
    /// Whether nothing but the inputs could have gone in.
    pub hermetic: bool,
    /// What else could have gone in, in words.
    pub not_pinned: Vec<String>,
}
