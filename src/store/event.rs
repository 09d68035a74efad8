//! Events: what the log says, one at a time. Each is the payload of a signed envelope.
//!
//! In: a [`Body`]. Out: the bytes of an event, and back. Deliberately judges nothing: whether an event has an effect is
//! for [`super::history`] to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::value::MapDeserializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::canonical::shape;
use crate::digest::{Digest, canonical_json};
use crate::manifest::{ImageVersion, Manifest, Moment};
use crate::sign::{Role, Trust};

use super::history::Recorded;
use super::revocation::Rule;

/// The schema of the events that are written.
pub const SCHEMA: &str = "https://vault-bake.dev/event/v1";

/// The payload type of an event in its envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.vault-bake.event+json";

/// Where a body holds objects, whatever its kind.
const OBJECTS: &[&str] = &["", "rule", "trust", "trust.grants.*", "items.*", "keep"];

/// No event is larger than this, in bytes.
pub(super) const MAX_BYTES: usize = 60_000;

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body")]
pub enum Body {
    /// A manifest was recorded.
    #[serde(rename = "manifest.put")]
    ManifestPut(ManifestPut),
    /// A manifest's artifact was tested.
    #[serde(rename = "test.put")]
    TestPut {
        /// The manifest's digest.
        manifest: Digest,
        /// The test record's digest.
        test: Digest,
        /// Of the envelope around the test record.
        envelope: Digest,
        /// Whether it passed.
        passed: bool,
    },
    /// A channel moved.
    #[serde(rename = "channel.set")]
    ChannelSet(ChannelSet),
    /// Manifests were revoked, those to come among them.
    #[serde(rename = "revoke")]
    Revoke(Revoke),
    /// A revocation was taken back.
    #[serde(rename = "restore")]
    Restore {
        /// The number of the entry that revoked.
        revocation: u64,
        /// Why.
        why: String,
    },
    /// Another trust policy is in force from the next entry on.
    #[serde(rename = "trust.update")]
    TrustUpdate {
        /// The policy.
        trust: Trust,
    },
    /// Artifacts are to be removed after a time of grace.
    #[serde(rename = "gc.plan")]
    GcPlan(GcPlan),
    /// An artifact was removed; its record stays.
    #[serde(rename = "artifact.deleted")]
    ArtifactDeleted {
        /// The manifest that it belongs to.
        manifest: Digest,
        /// The number of the entry that planned it.
        plan: u64,
        /// Why.
        why: String,
    },
}

/// A manifest, and as much of it as lists show. Fields stand in the order of their names, so that the plain writer writes the
/// canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestPut {
    /// Of its first output.
    pub artifact: Digest,
    /// Of the disk that it was made from.
    pub base: Digest,
    /// When it was written.
    pub created_at: Moment,
    /// Of the envelope around it.
    pub envelope: Digest,
    /// Whether a release in it is a stand-in. Written only where it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fixture: bool,
    /// Its image.
    pub image: String,
    /// Its digest.
    pub manifest: Digest,
    /// Products and their versions; manifests after one another mostly share them.
    pub releases: Arc<BTreeMap<String, String>>,
    /// Of the files of its outputs, in bytes.
    pub size: u64,
    /// Its version.
    pub version: ImageVersion,
}

impl ManifestPut {
    /// The kind of the events that say so.
    pub(super) const KIND: &str = "manifest.put";

    /// What the log says of `manifest`, whose envelope has the digest `envelope`.
    pub fn of(manifest: &Manifest, digest: Digest, envelope: Digest) -> Self {
        let releases = manifest.releases.iter();
        let sizes = manifest.outputs.iter();
        let sizes = sizes.filter_map(|output| output.file.as_ref());
        Self {
            manifest: digest,
            envelope,
            image: manifest.image.clone(),
            version: manifest.version,
            created_at: manifest.created_at,
            artifact: manifest.outputs[0].digest(),
            size: sizes.map(|file| file.size).sum(),
            releases: Arc::new(
                releases
                    .map(|release| (release.product.clone(), release.version.clone()))
                    .collect(),
            ),
            fixture: manifest.has_fixture(),
            base: manifest.base.digest(),
        }
    }

    /// `image@version`.
    pub fn name(&self) -> String {
        format!("{}@{}", self.image, self.version)
    }

    /// Takes the releases of the one before where they are the same: they are most of what is held of a manifest.
    pub(super) fn share_releases(&mut self, before: Option<&Recorded>) {
        let before = before.map(|before| &before.put.releases);
        if let Some(same) = before.filter(|before| **before == self.releases) {
            self.releases = same.clone();
        }
    }
}

/// A move of a channel. It has an effect only where the channel is as `generation` and `from` say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelSet {
    /// The image.
    pub image: String,
    /// The channel.
    pub channel: String,
    /// One more than the generation before; 1 for the first.
    pub generation: u64,
    /// The manifest that it holds now.
    pub to: Digest,
    /// The manifest that it held; absent for the first generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Digest>,
    /// Which way.
    pub reason: Reason,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Why a channel moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// To something new.
    Promote,
    /// Back to something that it had held.
    Rollback,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Promote => "promote",
            Self::Rollback => "rollback",
        })
    }
}

/// A revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoke {
    /// What is revoked.
    pub rule: Rule,
    /// Why, in words.
    pub why: String,
    /// From when on.
    pub effective_at: Moment,
    /// What to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Digest>,
}

/// Which artifacts are to be removed, and by which rules that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcPlan {
    /// What is to be removed; at least one, none twice.
    pub items: Vec<PlannedDeletion>,
    /// How long after this event nothing may be removed yet, in seconds.
    pub grace_s: u64,
    /// What was kept, and what was looked at for that.
    pub keep: Keep,
}

/// An artifact that nothing holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedDeletion {
    /// The manifest that it belongs to.
    pub manifest: Digest,
    /// Of its file.
    pub artifact: Digest,
    /// Of its file, in bytes.
    pub size: u64,
    /// Why nothing holds it, in words.
    pub why: String,
}

/// What is kept, and what is asked about use that the log does not know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// How many of the last generations of each channel, the present one among them; at least 1.
    pub generations: u64,
    /// Whatever was recorded less than so many seconds ago.
    pub min_age_s: u64,
    /// How many pin files were given.
    pub pin_files: u64,
    /// How many lists of what running nodes use were given.
    pub in_use_lists: u64,
}

impl Body {
    /// The kinds that this version knows.
    const KINDS: [&str; 8] = [
        ManifestPut::KIND,
        "test.put",
        "channel.set",
        "revoke",
        "restore",
        "trust.update",
        "gc.plan",
        "artifact.deleted",
    ];

    /// Reads the body of an event of one of the [`Self::KINDS`].
    pub(super) fn read(kind: &str, said: ParsedPayload) -> Result<Self, String> {
        let body = match said {
            ParsedPayload::Put(put) => return Ok(Self::ManifestPut(put)),
            ParsedPayload::Any(body) => body,
        };
        let words = |error: serde_json::Error| error.to_string();
        shape::check(&body, OBJECTS).map_err(words)?;
        // serde takes a number for the name of a rule as well.
        if body["rule"].get("by").is_some_and(|by| !by.is_string()) {
            return Err("`rule.by` is no text".to_owned());
        }
        // The kind first, so that the body is read as what it is.
        let tagged = [("kind", Value::from(kind)), ("body", body)];
        Self::deserialize(MapDeserializer::new(tagged.into_iter())).map_err(words)
    }

    /// The role that may say so, and of which image and channel.
    pub fn role(&self) -> Role {
        match self {
            Self::ManifestPut(_) | Self::TestPut { .. } => Role::Builder,
            Self::ChannelSet(_) => Role::Promoter,
            Self::Revoke(_) | Self::Restore { .. } => Role::Revoker,
            Self::TrustUpdate { .. } => Role::Root,
            Self::GcPlan(_) | Self::ArtifactDeleted { .. } => Role::Keeper,
        }
    }

    /// Whether readers that do not know the kind must stop: what takes something away may not be passed over.
    fn is_critical(&self) -> bool {
        !matches!(self, Self::ManifestPut(_) | Self::TestPut { .. })
    }
}

/// One event, as it is signed. Fields stand in the order of their names, as in canonical JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct Entry<B = ParsedPayload> {
    pub(super) at: Moment,
    pub(super) body: B,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) critical: bool,
    pub(super) id: Uuid,
    pub(super) kind: String,
    /// Of the bytes of the entry before; for the first one, of `store.json`.
    pub(super) prev: Digest,
    pub(super) schema: String,
    pub(super) seq: u64,
}

/// A body, as far as it is read together with the event around it.
pub(super) enum ParsedPayload {
    /// Nearly all of a log are these, so they are read at once as what they are.
    Put(ManifestPut),
    /// Any other, perhaps of a kind that this version does not know.
    Any(Value),
}

impl<B> Entry<B> {
    /// The same event, its body taken as `said`.
    pub(super) fn parsed_payload(self, said: impl FnOnce(B) -> ParsedPayload) -> Entry {
        Entry {
            at: self.at,
            body: said(self.body),
            critical: self.critical,
            id: self.id,
            kind: self.kind,
            prev: self.prev,
            schema: self.schema,
            seq: self.seq,
        }
    }

    /// Whether this version knows what such an event means.
    pub(super) fn is_known(&self) -> bool {
        self.schema == SCHEMA && Body::KINDS.contains(&self.kind.as_str())
    }
}

/// The payload of entry `seq`.
pub(super) fn payload(seq: u64, prev: Digest, id: Uuid, at: Moment, body: &Body) -> Vec<u8> {
    let mut entry = serde_json::json!(body);
    entry["schema"] = SCHEMA.into();
    entry["seq"] = seq.into();
    entry["prev"] = prev.to_string().into();
    entry["id"] = id.to_string().into();
    entry["at"] = at.to_string().into();
    if body.is_critical() {
        entry["critical"] = true.into();
    }
    canonical_json(&entry)
}
