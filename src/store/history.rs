//! The state of a store after replaying its log: manifests, channels, revocations, plans, rollouts.
//! An event that breaks a rule is void: it is reported and has no effect.
//! A broken chain or an invalid signature is an error.

mod approval;
mod frame;
mod read;
mod removal;
mod rollouts;
mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use super::event::{Body, GcPlan, ManifestPut, Reason, Revoke, entry_name};
use crate::digest::Digest;
use crate::manifest::{ImageVersion, Moment};
use crate::sign::{KeyId, Trust};

use approval::Effect;
pub(super) use frame::Frame;
use read::VerifiedEntry;
pub(super) use read::{ReadEntry, parse};
pub use removal::{RecordedPlan, Removal};
pub use rollouts::{RecordedRollout, RecordedRolloutEnd};

/// A recorded manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedManifest {
    /// The number of the entry that recorded it.
    pub seq: u64,
    /// The time of that entry.
    pub at: Moment,
    /// The recorded fields of the manifest.
    pub put: ManifestPut,
    /// Its tests, oldest first.
    pub tests: Vec<RecordedTest>,
    /// The entries that plan to remove its artifact, oldest first.
    pub planned: Vec<u64>,
    /// The removal of its artifact, if it was removed.
    pub deleted: Option<Removal>,
}

/// A recorded test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedTest {
    /// The number of the entry that recorded it.
    pub seq: u64,
    /// The digest of the test record.
    pub test: Digest,
    /// The digest of the envelope around the test record.
    pub envelope: Digest,
    /// Whether the test passed.
    pub passed: bool,
}

/// One position of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The number of the entry that set it.
    pub seq: u64,
    /// The time of that entry.
    pub at: Moment,
    /// The generation: 1 for the first.
    pub generation: u64,
    /// The manifest that the channel points to.
    pub to: Digest,
    /// Promotion or rollback.
    pub reason: Reason,
    /// The reason, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The ids of the keys that signed the entry.
    pub by: BTreeSet<KeyId>,
}

/// A revocation, in force or withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The number of the revoking entry.
    pub seq: u64,
    /// The time of that entry.
    pub at: Moment,
    /// The rule, its reason and its time.
    #[serde(flatten)]
    pub revoke: Revoke,
    /// Why it was withdrawn. `None` if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
}

/// A log entry without effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidEntry {
    /// The number of the entry.
    pub seq: u64,
    /// The rule that it breaks, or that this version does not know its kind.
    pub why: String,
}

/// The effect of appending an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It changes the state.
    New,
    /// The log already has the same event.
    Unchanged,
}

/// The state of a store after some entry of its log.
pub struct History {
    /// The digest of `store.json`.
    origin: Digest,
    head: u64,
    last: Digest,
    /// The trust policies, each with the number of the entry after which it is in force.
    policies: Vec<(u64, Trust)>,
    ids: HashSet<Uuid>,
    recorded: Vec<RecordedManifest>,
    by_digest: HashMap<Digest, usize>,
    by_name: BTreeMap<(String, ImageVersion), usize>,
    channels: BTreeMap<(String, String), Vec<Generation>>,
    revocations: Vec<Revocation>,
    plans: Vec<RecordedPlan>,
    rollouts: Vec<RecordedRollout>,
    /// The ids of completed proposals.
    approved: BTreeSet<Uuid>,
    voids: Vec<VoidEntry>,
}

impl History {
    /// Returns the history of an empty log. `origin` is the digest of `store.json`, `trust` its
    /// policy.
    pub(super) fn new(origin: Digest, trust: Trust) -> Self {
        Self {
            origin,
            head: 0,
            last: origin,
            policies: vec![(0, trust)],
            ids: HashSet::new(),
            recorded: Vec::new(),
            by_digest: HashMap::new(),
            by_name: BTreeMap::new(),
            channels: BTreeMap::new(),
            revocations: Vec::new(),
            plans: Vec::new(),
            rollouts: Vec::new(),
            approved: BTreeSet::new(),
            voids: Vec::new(),
        }
    }

    /// Returns the number of the last entry, or 0 for an empty log.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Returns the digest of the last entry, or of `store.json` for an empty log.
    pub fn last(&self) -> Digest {
        self.last
    }

    /// Returns the manifests, in the order of recording.
    pub fn recorded(&self) -> &[RecordedManifest] {
        &self.recorded
    }

    /// Returns the entries without effect.
    pub fn voids(&self) -> &[VoidEntry] {
        &self.voids
    }

    /// Returns the trust policy in force.
    pub fn trust(&self) -> &Trust {
        self.trust_at(self.head + 1)
    }

    /// Returns the trust policy that applies to entry `seq`.
    pub(crate) fn trust_at(&self, seq: u64) -> &Trust {
        let before = self.policies.iter().rev().find(|(from, _)| *from < seq);
        &before.unwrap_or(&self.policies[0]).1
    }

    /// Returns all trust policies so far, each with the number of the entry after which it was in
    /// force.
    pub fn policies(&self) -> &[(u64, Trust)] {
        &self.policies
    }

    /// Returns the manifest with this digest.
    pub fn by_digest(&self, digest: &Digest) -> Option<&RecordedManifest> {
        self.by_digest.get(digest).map(|at| &self.recorded[*at])
    }

    /// Returns the manifest with this name.
    pub fn by_name(&self, image: &str, version: ImageVersion) -> Option<&RecordedManifest> {
        let at = self.by_name.get(&(image.to_owned(), version))?;
        Some(&self.recorded[*at])
    }

    /// Returns all generations of a channel, oldest first. Empty if the channel does not exist.
    pub fn channel(&self, image: &str, channel: &str) -> &[Generation] {
        let key = (image.to_owned(), channel.to_owned());
        self.channels.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Returns all channels: image, channel, generations.
    pub fn channels(&self) -> impl Iterator<Item = (&str, &str, &[Generation])> {
        let channels = self.channels.iter();
        channels.map(|((image, channel), generations)| {
            (image.as_str(), channel.as_str(), generations.as_slice())
        })
    }

    /// Returns all revocations, including withdrawn ones.
    pub fn revocations(&self) -> &[Revocation] {
        &self.revocations
    }

    /// Returns all plans to remove artifacts, including those carried out.
    pub fn plans(&self) -> &[RecordedPlan] {
        &self.plans
    }

    /// Whether the log has an event with this id.
    pub fn contains_event(&self, id: Uuid) -> bool {
        self.ids.contains(&id)
    }

    /// Returns the channels that point to a manifest: image, channel, generation.
    pub fn holders(&self, manifest: &Digest) -> impl Iterator<Item = (&str, &str, u64)> {
        let manifest = *manifest;
        self.channels()
            .filter_map(move |(image, channel, generations)| {
                let last = generations.last()?;
                (last.to == manifest).then_some((image, channel, last.generation))
            })
    }

    /// Appends the next entry. A rule that it breaks makes it void; a broken chain or signature is
    /// an error.
    pub(super) fn admit(&mut self, read: ReadEntry) -> Result<(), StoreError> {
        let seq = self.head + 1;
        let broken = |why: String| StoreError::integrity(entry_name(seq), why);
        let verified = read.verified_by(self.trust()).map_err(broken)?;
        let VerifiedEntry {
            digest,
            signers,
            entry,
        } = verified;
        if entry.seq != seq {
            return Err(broken(format!("it has the number {}", entry.seq)));
        }
        if entry.prev != self.last {
            return Err(broken(format!(
                "it follows {}, but the entry before is {}",
                entry.prev, self.last
            )));
        }
        let (id, at) = (entry.id, entry.at);
        let effect = self.effect(entry, signers)?;
        self.ids.insert(id);
        self.head = seq;
        self.last = digest;
        match effect {
            Ok(Effect {
                body,
                signers,
                approved,
            }) => {
                self.approved.extend(approved);
                self.apply(seq, at, body, signers);
            }
            Err(why) => self.voids.push(VoidEntry { seq, why }),
        }
        Ok(())
    }

    fn apply(&mut self, seq: u64, at: Moment, body: Body, signers: BTreeSet<KeyId>) {
        match body {
            Body::ManifestPut(mut put) => {
                put.share_releases(self.recorded.last().map(|last| &last.put));
                self.record(RecordedManifest {
                    seq,
                    at,
                    put,
                    tests: Vec::new(),
                    planned: Vec::new(),
                    deleted: None,
                });
            }
            Body::TestPut {
                manifest,
                test,
                envelope,
                passed,
            } => {
                if let Some(recorded) = self.recorded_mut(&manifest) {
                    recorded.tests.push(RecordedTest {
                        seq,
                        test,
                        envelope,
                        passed,
                    });
                }
            }
            Body::ChannelSet(set) => {
                let generations = self.channels.entry((set.image, set.channel)).or_default();
                generations.push(Generation {
                    seq,
                    at,
                    generation: set.generation,
                    to: set.to,
                    reason: set.reason,
                    note: set.note,
                    by: signers,
                });
            }
            Body::Revoke(revoke) => self.revocations.push(Revocation {
                seq,
                at,
                revoke,
                restored: None,
            }),
            Body::Restore { revocation, why } => {
                let revoked = self
                    .revocations
                    .iter_mut()
                    .find(|one| one.seq == revocation);
                if let Some(one) = revoked {
                    one.restored = Some(why);
                }
            }
            Body::TrustUpdate { trust } => self.policies.push((seq, trust)),
            Body::GcPlan(GcPlan {
                items,
                grace_s,
                keep,
            }) => {
                for item in items {
                    if let Some(recorded) = self.recorded_mut(&item.manifest) {
                        recorded.planned.push(seq);
                    }
                }
                self.plans.push(RecordedPlan {
                    seq,
                    at,
                    grace_s,
                    keep,
                });
            }
            Body::ArtifactDeleted { manifest, why, .. } => {
                if let Some(recorded) = self.recorded_mut(&manifest) {
                    recorded.deleted = Some(Removal { seq, why });
                }
            }
            Body::RolloutBegin(begin) => self.begin_rollout(seq, at, begin, signers),
            Body::RolloutEnd(end) => self.end_rollout(seq, at, &end, signers),
            // `effect` returns the event in it.
            Body::Approved(_) => {}
        }
    }

    fn record(&mut self, recorded: RecordedManifest) {
        let (index, put) = (self.recorded.len(), &recorded.put);
        self.by_name.insert((put.image.clone(), put.version), index);
        self.by_digest.insert(put.manifest, index);
        self.recorded.push(recorded);
    }

    fn recorded_mut(&mut self, manifest: &Digest) -> Option<&mut RecordedManifest> {
        let index = self.by_digest.get(manifest)?;
        self.recorded.get_mut(*index)
    }
}
