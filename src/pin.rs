//! Pins: which image a deployment uses, with the proof of it.
//!
//! In: a store, and what a channel holds. Out: a [`PinFile`] for the deployment's own repository, which proves itself: every
//! pin brings the signed manifest and the signed entries of the log that recorded it and moved the channel to it; the file
//! brings what names the store, the store's trust policies, and the end of the log when it was written. So it can be
//! checked without store and network, and yesterday's copy of a store, or another store, shows. Deliberately says
//! nothing of where the store is, and follows no channel by itself.

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
use crate::store::proof::Identity;

pub use error::PinError;
pub use file::replace;
pub use update::Move;
pub use verify::Proved;

/// The schema of the files that are written.
pub const SCHEMA: &str = "https://vault-bake.dev/pins/v1";

/// What the file is called where nobody says otherwise.
pub const FILE_NAME: &str = "vault-bake.pins.json";

/// No file is larger than this, in bytes.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The pins of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinFile {
    /// [`SCHEMA`].
    schema: String,
    /// The store that the pins are from.
    store: StoreProof,
    /// By name.
    pins: BTreeMap<String, Pin>,
    /// What messages call the file.
    #[serde(skip)]
    name: String,
}

/// The same, before its parts are read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "schema")]
    _schema: String,
    store: Value,
    pins: BTreeMap<String, Value>,
}

/// Which store it is, and how far its log went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreProof {
    /// The digest of `identity`.
    origin: Digest,
    /// The store's `store.json`, with its first trust policy.
    #[serde(with = "identity")]
    identity: Identity,
    /// The first entry of the log, which is chained to `origin`.
    #[serde(with = "envelope")]
    first: Envelope,
    /// The entries that changed the trust policy, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "envelopes")]
    trust_updates: Vec<Envelope>,
    /// The last entry of the log when the file was written.
    head: Head,
}

/// The end of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    seq: u64,
    /// Of the entry's bytes.
    digest: Digest,
    #[serde(with = "envelope")]
    entry: Envelope,
}

/// One pinned image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The image.
    pub image: String,
    /// The channel that it was taken from.
    pub channel: String,
    /// Where the channel stood.
    pub generation: u64,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The image's version.
    pub version: ImageVersion,
    /// Products and their versions.
    pub releases: BTreeMap<String, String>,
    /// What can be deployed.
    pub outputs: Vec<PinnedOutput>,
    /// What proves all of this.
    pub proof: Proof,
}

/// One thing that can be deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedOutput {
    /// As in `local` or `azure/westeurope`.
    pub target: String,
    /// As in `qcow2`.
    pub class: String,
    /// What the target knows it by.
    pub id: String,
    /// As in `x86_64`.
    pub arch: String,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// Of the file.
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
    /// The entry of the log that recorded it.
    #[serde(with = "envelope")]
    pub recorded: Envelope,
    /// The entry of the log that moved the channel to it.
    #[serde(with = "envelope")]
    pub set: Envelope,
}

/// The same, before the envelopes are read.
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
    /// `image@version`.
    pub fn label(&self) -> String {
        format!("{}@{}", self.image, self.version)
    }

    /// The manifest within the proof. Believe it only after [`PinFile::verify`].
    pub fn manifest(&self) -> Result<Manifest, crate::manifest::ManifestError> {
        Manifest::parse(&self.proof.manifest.payload)
    }
}

/// What the manifest says of its releases and outputs, as a pin repeats it.
fn repeated(manifest: &Manifest) -> (BTreeMap<String, String>, Vec<PinnedOutput>) {
    let releases = manifest.releases.iter();
    let releases = releases.map(|one| (one.product.clone(), one.version.clone()));
    let outputs = manifest.outputs.iter().map(PinnedOutput::from);
    (releases.collect(), outputs.collect())
}

impl PinFile {
    /// Reads a file; `name` is what messages call it. Any layout will do, but no unknown and no repeated key. Says
    /// nothing of whether the proofs hold.
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

    /// The text of the file: made to be read in reviews, the same for the same pins.
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("pins are JSON");
        text + "\n"
    }

    /// The pins, by name.
    pub fn pins(&self) -> &BTreeMap<String, Pin> {
        &self.pins
    }

    /// The pin with this name.
    pub fn pin(&self, name: &str) -> Result<&Pin, PinError> {
        self.pins.get(name).ok_or_else(|| PinError::NoPin {
            file: self.name.clone(),
            pin: name.to_owned(),
            there: self.pins.keys().cloned().collect(),
        })
    }

    /// The digest of the store's `store.json`.
    pub fn origin(&self) -> Digest {
        self.store.origin
    }

    /// Number and digest of the last entry of the store's log, when the file was written.
    pub fn head(&self) -> (u64, Digest) {
        (self.store.head.seq, self.store.head.digest)
    }
}

/// A name that says where the pin is from has to say the truth; any other says nothing.
fn check_name(name: &str, pin: &Pin) -> Result<(), String> {
    if name == format!("{}:{}", pin.image, pin.channel) || is_name(name) {
        return Ok(());
    }
    Err(format!(
        "pin `{name}` is of {}:{}; a pin is called that, or a name of 1 to 64 letters, digits, `-`, `_` or `.`",
        pin.image, pin.channel
    ))
}

/// Envelopes as JSON within JSON.
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

/// The same of several.
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

/// A `store.json` as JSON within JSON.
mod identity {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    use crate::digest::canonical_json;
    use crate::store::proof::Identity;

    pub(super) fn serialize<S: Serializer>(it: &Identity, to: S) -> Result<S::Ok, S::Error> {
        let value: Value = serde_json::from_slice(it.bytes()).expect("a store.json is JSON");
        value.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Identity, D::Error> {
        let value = Value::deserialize(from)?;
        let read = Identity::parse(&canonical_json(&value), "the pins are from");
        read.map_err(D::Error::custom)
    }
}
