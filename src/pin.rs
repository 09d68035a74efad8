//! Pin files: the images that a deployment uses, with signed proofs.
//! Takes a store and a channel; returns a [`PinFile`] for the repository of the deployment.
//! The file can be verified without a store or a network, and reveals an older or a different
//! store.

mod error;
mod file;
mod hold;
mod update;
mod verify;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical;
use crate::digest::{Digest, canonical_json};
use crate::manifest::{ImageVersion, Manifest, Output, is_name};
use crate::sign::Envelope;
use crate::store::proof::StoreIdentity;

pub use error::PinError;
pub use file::replace;
pub use update::PinUpdate;
pub use verify::PinFileReport;

/// The schema of new files.
pub const SCHEMA: &str = "https://vault-bake.dev/pins/v1";

/// The default name of the file.
pub const FILE_NAME: &str = "vault-bake.pins.json";

/// The largest file, in bytes.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The pins of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinFile {
    /// Always [`SCHEMA`].
    schema: String,
    /// The store that the pins are from.
    store: StoreProof,
    /// The pins, by name.
    pins: BTreeMap<String, Pin>,
    /// The name of the file in messages.
    #[serde(skip)]
    name: String,
}

/// The same, with unparsed parts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "schema")]
    _schema: String,
    store: Value,
    pins: BTreeMap<String, Value>,
}

/// The identity of the store, and the length of its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreProof {
    /// The digest of `identity`.
    origin: Digest,
    /// The `store.json` of the store, with its first trust policy.
    #[serde(with = "identity")]
    identity: StoreIdentity,
    /// The first entry of the log, which refers to `origin`.
    #[serde(with = "envelope")]
    first: Envelope,
    /// The entries that changed the trust policy, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "envelopes")]
    trust_updates: Vec<Envelope>,
    /// The last entry of the log at the time of writing.
    head: Head,
}

/// The end of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    seq: u64,
    /// The digest of the bytes of the entry.
    digest: Digest,
    #[serde(with = "envelope")]
    entry: Envelope,
}

/// One pinned image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The name of the image.
    pub image: String,
    /// The channel that the pin follows.
    pub channel: String,
    /// The generation of the channel.
    pub generation: u64,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The version of the image.
    pub version: ImageVersion,
    /// The version of each product.
    pub releases: BTreeMap<String, String>,
    /// The outputs that can be deployed.
    pub outputs: Vec<PinnedOutput>,
    /// The signed records behind the other fields.
    pub proof: Proof,
}

/// An output that can be deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedOutput {
    /// The target, for example `local` or `azure/westeurope`.
    pub target: String,
    /// The class, for example `qcow2`.
    pub class: String,
    /// The id at the target.
    pub id: String,
    /// The architecture, for example `x86_64`.
    pub arch: String,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// The digest of the file, or of the cloud's description.
    pub digest: Digest,
}

impl From<&Output> for PinnedOutput {
    fn from(output: &Output) -> Self {
        Self {
            target: output.target.clone(),
            class: output.class.clone(),
            id: output.id.clone(),
            arch: output.arch.clone(),
            firmware: output.firmware.clone(),
            digest: output.digest(),
        }
    }
}

/// The signed records behind a pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawProof")]
pub struct Proof {
    /// The manifest.
    #[serde(with = "envelope")]
    pub manifest: Envelope,
    /// The log entry that recorded the manifest.
    #[serde(with = "envelope")]
    pub recorded: Envelope,
    /// The log entry that moved the channel to the manifest.
    #[serde(with = "envelope")]
    pub set: Envelope,
}

/// The same, with unparsed envelopes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProof {
    manifest: Value,
    recorded: Value,
    set: Value,
}

impl TryFrom<RawProof> for Proof {
    type Error = String;

    fn try_from(raw: RawProof) -> Result<Self, String> {
        let read = |field: &str, value: &Value| {
            let envelope = Envelope::parse(&canonical_json(value));
            envelope.map_err(|error| format!("proof.{field}: {error}"))
        };
        Ok(Self {
            manifest: read("manifest", &raw.manifest)?,
            recorded: read("recorded", &raw.recorded)?,
            set: read("set", &raw.set)?,
        })
    }
}

impl Pin {
    /// Returns `image@version`.
    pub fn label(&self) -> String {
        format!("{}@{}", self.image, self.version)
    }

    /// Returns the manifest in the proof. It can be trusted only after [`PinFile::verify`].
    pub fn manifest(&self) -> Result<Manifest, crate::manifest::ManifestError> {
        Manifest::parse(&self.proof.manifest.payload)
    }
}

/// Returns the releases and outputs of a manifest in the form of a pin.
fn pinned_facts(manifest: &Manifest) -> (BTreeMap<String, String>, Vec<PinnedOutput>) {
    let releases = manifest.releases.iter();
    let releases = releases.map(|one| (one.product.clone(), one.version.clone()));
    let outputs = manifest.outputs.iter().map(PinnedOutput::from);
    (releases.collect(), outputs.collect())
}

impl PinFile {
    /// Parses a file in any JSON layout. Rejects unknown and repeated keys, and does not check the
    /// proofs. `name` is for messages.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, PinError> {
        let shape = |why: String| PinError::Shape {
            file: name.to_owned(),
            why,
        };
        let value = canonical::parse_any_layout(bytes, MAX_BYTES);
        let value = value.map_err(|error| shape(error.to_string()))?;
        let schema = value["schema"].as_str().unwrap_or_default();
        if schema != SCHEMA {
            return Err(PinError::Schema {
                file: name.to_owned(),
                schema: schema.to_owned(),
            });
        }
        let raw: Raw = serde_json::from_value(value).map_err(|error| shape(error.to_string()))?;
        let store = serde_json::from_value(raw.store);
        let store = store.map_err(|error| shape(format!("store: {error}")))?;
        let mut pins = BTreeMap::new();
        for (name, value) in raw.pins {
            let pin: Pin = serde_json::from_value(value)
                .map_err(|error| shape(format!("pin {name}: {error}")))?;
            check_name(&name, &pin).map_err(&shape)?;
            pins.insert(name, pin);
        }
        Ok(Self {
            schema: SCHEMA.to_owned(),
            store,
            pins,
            name: name.to_owned(),
        })
    }

    /// Returns the text of the file, which is readable and stable.
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("pins are JSON");
        text + "\n"
    }

    /// Returns the pins, by name.
    pub fn pins(&self) -> &BTreeMap<String, Pin> {
        &self.pins
    }

    /// Returns the pin with this name.
    pub fn pin(&self, name: &str) -> Result<&Pin, PinError> {
        self.pins.get(name).ok_or_else(|| PinError::NoPin {
            file: self.name.clone(),
            pin: name.to_owned(),
            there: self.pins.keys().cloned().collect(),
        })
    }

    /// Returns the digest of the store's `store.json`.
    pub fn origin(&self) -> Digest {
        self.store.origin
    }

    /// Returns the number and digest of the last log entry at the time of writing.
    pub fn head(&self) -> (u64, Digest) {
        (self.store.head.seq, self.store.head.digest)
    }
}

/// Checks that a name of the form `image:channel` is correct. Other names only need to be valid.
fn check_name(name: &str, pin: &Pin) -> Result<(), String> {
    if name == format!("{}:{}", pin.image, pin.channel) || is_name(name) {
        return Ok(());
    }
    Err(format!(
        "pin `{name}` is of {0}:{1}, expected the name {0}:{1}, or 1 to 64 letters, digits, `-`, `_` or `.`",
        pin.image, pin.channel
    ))
}

/// Serializes envelopes as nested JSON.
mod envelope {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    use crate::digest::canonical_json;
    use crate::sign::Envelope;

    pub(super) fn value(envelope: &Envelope) -> Value {
        serde_json::from_slice(&envelope.to_bytes()).expect("an envelope is JSON")
    }

    pub(super) fn serialize<S: Serializer>(it: &Envelope, to: S) -> Result<S::Ok, S::Error> {
        value(it).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Envelope, D::Error> {
        let value = Value::deserialize(from)?;
        Envelope::parse(&canonical_json(&value)).map_err(D::Error::custom)
    }
}

/// Serializes lists of envelopes as nested JSON.
mod envelopes {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::Value;

    use crate::digest::canonical_json;
    use crate::sign::Envelope;

    pub(super) fn serialize<S: Serializer>(it: &[Envelope], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(it.iter().map(super::envelope::value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Envelope>, D::Error> {
        let values = Vec::<Value>::deserialize(from)?;
        let read = |value: &Value| Envelope::parse(&canonical_json(value));
        let envelopes: Result<_, _> = values.iter().map(read).collect();
        envelopes.map_err(D::Error::custom)
    }
}

/// Serializes a `store.json` as nested JSON.
mod identity {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    use crate::digest::canonical_json;
    use crate::store::proof::StoreIdentity;

    pub(super) fn serialize<S: Serializer>(it: &StoreIdentity, to: S) -> Result<S::Ok, S::Error> {
        let value: Value = serde_json::from_slice(it.bytes()).expect("a store.json is JSON");
        value.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<StoreIdentity, D::Error> {
        let value = Value::deserialize(from)?;
        let read = StoreIdentity::parse(&canonical_json(&value), "of the pin file");
        read.map_err(D::Error::custom)
    }
}
