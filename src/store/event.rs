//! Events of the log, each the payload of a signed envelope: their types, their bytes, and back.
//! Whether an event has an effect is decided by [`super::history`].

mod name;
mod proposal;
mod rollout;
mod rule;

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

pub(super) use name::{ENTRIES, entry_name, entry_seq};
pub(super) use proposal::is_proposable;
pub use proposal::{PROPOSAL_PAYLOAD_TYPE, PROPOSAL_SCHEMA, Proposal, Requirement, SignedProposal};
pub use rollout::{RolloutBegin, RolloutEnd};
pub use rule::Rule;

/// The schema of new events.
pub const SCHEMA: &str = "https://vault-bake.dev/event/v1";

/// The payload type of an event in its envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.vault-bake.event+json";

/// The paths in a body that must be objects, for all kinds of events.
const OBJECTS: &[&str] = &["", "rule", "trust", "trust.grants.*", "items.*", "keep"];

/// The largest event, in bytes.
pub(super) const MAX_BYTES: usize = 60_000;

/// The content of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body")]
pub enum Body {
    /// A manifest was recorded.
    #[serde(rename = "manifest.put")]
    ManifestPut(ManifestPut),
    /// A manifest's artifact was tested.
    #[serde(rename = "test.put")]
    TestPut {
        /// The digest of the manifest.
        manifest: Digest,
        /// The digest of the test record.
        test: Digest,
        /// The digest of the envelope around the test record.
        envelope: Digest,
        /// Whether the test passed.
        passed: bool,
    },
    /// A channel moved.
    #[serde(rename = "channel.set")]
    ChannelSet(ChannelSet),
    /// Manifests were revoked by a rule, including later ones.
    #[serde(rename = "revoke")]
    Revoke(Revoke),
    /// A revocation was taken back.
    #[serde(rename = "restore")]
    Restore {
        /// The number of the revoking entry.
        revocation: u64,
        /// The reason.
        why: String,
    },
    /// A trust policy that is in force from the next entry on.
    #[serde(rename = "trust.update")]
    TrustUpdate {
        /// The new policy.
        trust: Trust,
    },
    /// Artifacts may be removed after a grace period.
    #[serde(rename = "gc.plan")]
    GcPlan(GcPlan),
    /// An artifact was removed; its record stays.
    #[serde(rename = "artifact.deleted")]
    ArtifactDeleted {
        /// The manifest of the artifact.
        manifest: Digest,
        /// The number of the entry with the plan.
        plan: u64,
        /// The reason.
        why: String,
    },
    /// A rollout of a cluster began, or another controller took it over.
    #[serde(rename = "rollout.begin")]
    RolloutBegin(RolloutBegin),
    /// A rollout of a cluster ended.
    #[serde(rename = "rollout.end")]
    RolloutEnd(RolloutEnd),
    /// An event that several keys signed. Their roles count, not that of the key of the entry.
    #[serde(rename = "approved")]
    Approved(SignedProposal),
}

/// A manifest, with the fields that listings show. The fields are sorted by name: written in this
/// order they are canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestPut {
    /// The digest of its first output.
    pub artifact: Digest,
    /// The digest of the disk that the build started from.
    pub base: Digest,
    /// The time of capture.
    pub created_at: Moment,
    /// The digest of the envelope around the manifest.
    pub envelope: Digest,
    /// Whether it contains a fixture release. Written only if true.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fixture: bool,
    /// The name of the image.
    pub image: String,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The version of each product. Consecutive manifests usually share this map.
    pub releases: Arc<BTreeMap<String, String>>,
    /// The size of its output files, in bytes.
    pub size: u64,
    /// The version of the image.
    pub version: ImageVersion,
}

impl ManifestPut {
    /// The kind of these events.
    pub(super) const KIND: &str = "manifest.put";

    /// Returns the event for `manifest`. `digest` and `envelope` are its digest and its envelope's.
    pub fn from_manifest(manifest: &Manifest, digest: Digest, envelope: Digest) -> Self {
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

    /// Returns `image@version`.
    pub fn name(&self) -> String {
        format!("{}@{}", self.image, self.version)
    }

    /// Shares the releases of the manifest `before` if they are equal: they take most of the
    /// memory.
    pub(super) fn share_releases(&mut self, before: Option<&Self>) {
        let before = before.map(|before| &before.releases);
        if let Some(same) = before.filter(|before| **before == self.releases) {
            self.releases = same.clone();
        }
    }
}

/// A move of a channel. It is void unless the channel is at the generation and manifest before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelSet {
    /// The name of the image.
    pub image: String,
    /// The name of the channel.
    pub channel: String,
    /// The new generation: 1 for the first.
    pub generation: u64,
    /// The manifest that the channel points to now.
    pub to: Digest,
    /// The manifest that the channel pointed to. Absent for the first generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Digest>,
    /// Promotion or rollback.
    pub reason: Reason,
    /// The reason, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Why a channel moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// To a version that is new in the channel.
    Promote,
    /// Back to an earlier version.
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
    /// The rule that selects manifests.
    pub rule: Rule,
    /// The reason, in words.
    pub why: String,
    /// The time from which the rule is in force.
    pub effective_at: Moment,
    /// The manifest to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Digest>,
}

/// A plan to remove artifacts, and the retention settings that it is based on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcPlan {
    /// The artifacts to remove. At least one, none of them twice.
    pub items: Vec<PlannedDeletion>,
    /// The grace period after this event, in seconds.
    pub grace_s: u64,
    /// The retention settings.
    pub keep: Retention,
}

/// An artifact that may be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedDeletion {
    /// The manifest of the artifact.
    pub manifest: Digest,
    /// The digest of its file.
    pub artifact: Digest,
    /// The size of its file, in bytes.
    pub size: u64,
    /// Why it is not needed, in words.
    pub why: String,
}

/// The retention settings of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// How many of the last generations of each channel are kept, including the present one. At
    /// least 1.
    pub generations: u64,
    /// The age below which images are kept, in seconds.
    pub min_age_s: u64,
    /// The number of pin files that were given.
    pub pin_files: u64,
    /// The number of `--in-use` lists that were given.
    pub in_use_lists: u64,
}

impl Body {
    /// The kinds that this version knows.
    const KINDS: [&str; 11] = [
        ManifestPut::KIND,
        "test.put",
        "channel.set",
        "revoke",
        "restore",
        "trust.update",
        "gc.plan",
        "artifact.deleted",
        "rollout.begin",
        "rollout.end",
        Self::APPROVED,
    ];

    /// The kind of events that several keys signed.
    pub(super) const APPROVED: &str = "approved";

    /// Reads the body of an event of one of the [`Self::KINDS`].
    pub(super) fn read(kind: &str, payload: ParsedPayload) -> Result<Self, String> {
        let body = match payload {
            ParsedPayload::Put(put) => return Ok(Self::ManifestPut(put)),
            ParsedPayload::Any(body) => body,
        };
        let message = |error: serde_json::Error| error.to_string();
        shape::check(&body, OBJECTS).map_err(message)?;
        // serde also accepts a number as the name of a rule.
        if body["rule"].get("by").is_some_and(|by| !by.is_string()) {
            return Err("`rule.by` is not a text".to_owned());
        }
        // With the kind first, serde reads the body without buffering it.
        let tagged = [("kind", Value::from(kind)), ("body", body)];
        Self::deserialize(MapDeserializer::new(tagged.into_iter())).map_err(message)
    }

    /// Returns the role that may append this event.
    pub fn role(&self) -> Role {
        match self {
            Self::ManifestPut(_) | Self::TestPut { .. } => Role::Builder,
            Self::ChannelSet(_) => Role::Promoter,
            Self::Revoke(_) | Self::Restore { .. } => Role::Revoker,
            Self::TrustUpdate { .. } => Role::Root,
            Self::GcPlan(_) | Self::ArtifactDeleted { .. } => Role::Keeper,
            Self::RolloutBegin(_) | Self::RolloutEnd(_) => Role::Operator,
            Self::Approved(approved) => approved.proposal().body.role(),
        }
    }

    /// Returns the event that has the effect: the approved one, if several keys signed.
    pub fn effective(&self) -> &Self {
        match self {
            Self::Approved(approved) => &approved.proposal().body,
            body => body,
        }
    }

    /// Whether readers that do not know the kind must stop. Events that forbid, remove or reserve
    /// must not be skipped.
    fn is_critical(&self) -> bool {
        !matches!(self, Self::ManifestPut(_) | Self::TestPut { .. })
    }
}

/// A signed event. The fields are sorted by name, as in canonical JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct Entry<B = ParsedPayload> {
    pub(super) at: Moment,
    pub(super) body: B,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) critical: bool,
    pub(super) id: Uuid,
    pub(super) kind: String,
    /// The digest of the entry before. For the first entry, the digest of `store.json`.
    pub(super) prev: Digest,
    pub(super) schema: String,
    pub(super) seq: u64,
}

/// A body, parsed together with the event around it.
pub(super) enum ParsedPayload {
    /// Nearly all events of a log, so they are parsed in one pass.
    Put(ManifestPut),
    /// Any other kind, perhaps one that this version does not know.
    Any(Value),
}

impl<B> Entry<B> {
    /// Converts the body with `parse`.
    pub(super) fn parsed_payload(self, parse: impl FnOnce(B) -> ParsedPayload) -> Entry {
        Entry {
            at: self.at,
            body: parse(self.body),
            critical: self.critical,
            id: self.id,
            kind: self.kind,
            prev: self.prev,
            schema: self.schema,
            seq: self.seq,
        }
    }

    /// Whether this version knows the kind and the schema.
    pub(super) fn is_known(&self) -> bool {
        self.schema == SCHEMA && Body::KINDS.contains(&self.kind.as_str())
    }
}

/// Returns the payload of entry `seq`.
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
