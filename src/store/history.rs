//! What the log amounts to: who recorded what, where channels stand, what is revoked.
//!
//! An event that breaks a rule is void for every reader: kept, reported, and without effect. A chain that is broken,
//! or a signature that does not hold, is an error: then nobody can say what was recorded.

mod frame;
mod read;
mod removal;
mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use super::event::{Body, Entry, GcPlan, ManifestPut, Reason, Revoke};
use super::log::entry_name;
use crate::digest::Digest;
use crate::manifest::{ImageVersion, Moment, is_name};
use crate::sign::{KeyId, Trust};

pub(super) use frame::Frame;
pub(super) use read::{ReadEntry, parse};
pub use removal::{Planned, Removal};

/// A recorded manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The number of the entry that recorded it.
    pub seq: u64,
    /// When.
    pub at: Moment,
    /// What the log says of it.
    pub put: ManifestPut,
    /// Its tests, in order.
    pub tests: Vec<Tested>,
    /// The entries that planned to remove its artifact, in order.
    pub planned: Vec<u64>,
    /// The removal of its artifact, where it was removed.
    pub deleted: Option<Removal>,
}

/// A recorded test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// The number of the entry that recorded it.
    pub seq: u64,
    /// The test record's digest.
    pub test: Digest,
    /// Of the envelope around it.
    pub envelope: Digest,
    /// Whether it passed.
    pub passed: bool,
}

/// One position of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The number of the entry that set it.
    pub seq: u64,
    /// When.
    pub at: Moment,
    /// Its number: 1 for the first, and growing by one.
    pub generation: u64,
    /// The manifest that it holds.
    pub to: Digest,
    /// Which way it came there.
    pub reason: Reason,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who signed.
    pub by: BTreeSet<KeyId>,
}

/// A revocation, in force or taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The number of the entry that revoked.
    pub seq: u64,
    /// When it was written.
    pub at: Moment,
    /// What it says.
    #[serde(flatten)]
    pub revoke: Revoke,
    /// Why it was taken back, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
}

/// An entry without effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Void {
    /// Its number.
    pub seq: u64,
    /// The rule that it breaks, or that its kind is not known.
    pub why: String,
}

/// Whether an event would have an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It would.
    New,
    /// The log says the same already.
    Already,
}

/// What the log says up to some entry.
pub struct History {
    head: u64,
    last: Digest,
    /// The policies, with the number of the entry after which each is in force.
    policies: Vec<(u64, Trust)>,
    ids: HashSet<Uuid>,
    recorded: Vec<Recorded>,
    by_digest: HashMap<Digest, usize>,
    by_name: BTreeMap<(String, ImageVersion), usize>,
    channels: BTreeMap<(String, String), Vec<Generation>>,
    revocations: Vec<Revocation>,
    plans: Vec<Planned>,
    voids: Vec<Void>,
}

impl History {
    /// The history of a log without entries. `origin` is the digest of `store.json`, `trust` the policy in it.
    pub(super) fn new(origin: Digest, trust: Trust) -> Self {
        Self {
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
            voids: Vec::new(),
        }
    }

    /// The number of the last entry; 0 where there is none.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Of the bytes of the last entry; of `store.json` where there is none.
    pub fn last(&self) -> Digest {
        self.last
    }

    /// The manifests, in the order in which they were recorded.
    pub fn recorded(&self) -> &[Recorded] {
        &self.recorded
    }

    /// Entries without effect.
    pub fn voids(&self) -> &[Void] {
        &self.voids
    }

    /// The trust policy in force.
    pub fn trust(&self) -> &Trust {
        self.trust_at(self.head + 1)
    }

    /// The trust policy by which entry `seq` was judged.
    pub fn trust_at(&self, seq: u64) -> &Trust {
        let before = self.policies.iter().rev().find(|(from, _)| *from < seq);
        &before.unwrap_or(&self.policies[0]).1
    }

    /// Every trust policy that was ever in force, with the number of the entry after which it was.
    pub fn policies(&self) -> &[(u64, Trust)] {
        &self.policies
    }

    /// The manifest with this digest.
    pub fn by_digest(&self, digest: &Digest) -> Option<&Recorded> {
        self.by_digest.get(digest).map(|at| &self.recorded[*at])
    }

    /// The manifest with this name.
    pub fn by_name(&self, image: &str, version: ImageVersion) -> Option<&Recorded> {
        let at = self.by_name.get(&(image.to_owned(), version))?;
        Some(&self.recorded[*at])
    }

    /// Every position that a channel ever had, in order; empty for a channel that is not there.
    pub fn channel(&self, image: &str, channel: &str) -> &[Generation] {
        let key = (image.to_owned(), channel.to_owned());
        self.channels.get(&key).map_or(&[], Vec::as_slice)
    }

    /// All channels: image, channel, positions.
    pub fn channels(&self) -> impl Iterator<Item = (&str, &str, &[Generation])> {
        let channels = self.channels.iter();
        channels.map(|((image, channel), generations)| {
            (image.as_str(), channel.as_str(), generations.as_slice())
        })
    }

    /// All revocations, those that were taken back among them.
    pub fn revocations(&self) -> &[Revocation] {
        &self.revocations
    }

    /// All plans to remove artifacts, carried out or not.
    pub fn plans(&self) -> &[Planned] {
        &self.plans
    }

    /// Whether the log has an event with this id.
    pub fn has(&self, id: Uuid) -> bool {
        self.ids.contains(&id)
    }

    /// The channels that hold a manifest now.
    pub fn holders(&self, manifest: &Digest) -> impl Iterator<Item = (&str, &str, u64)> {
        let manifest = *manifest;
        self.channels()
            .filter_map(move |(image, channel, generations)| {
                let last = generations.last()?;
                (last.to == manifest).then_some((image, channel, last.generation))
            })
    }

    /// Takes the entry that comes next.
    pub(super) fn admit(&mut self, read: ReadEntry) -> Result<(), StoreError> {
        let seq = self.head + 1;
        let broken = |why: String| StoreError::integrity(entry_name(seq), why);
        let (digest, signers, entry) = read.admitted_under(self.trust()).map_err(broken)?;
        if entry.seq != seq {
            return Err(broken(format!("it says that it is entry {}", entry.seq)));
        }
        if entry.prev != self.last {
            return Err(broken(format!(
                "it follows {}, but what is before it is {}",
                entry.prev, self.last
            )));
        }
        let (id, at) = (entry.id, entry.at);
        let effect = self.effect(entry, &signers)?;
        self.ids.insert(id);
        self.head = seq;
        self.last = digest;
        match effect {
            Ok(body) => self.apply(seq, at, body, signers),
            Err(why) => self.voids.push(Void { seq, why }),
        }
        Ok(())
    }

    /// What the entry says, or why it is void.
    fn effect(
        &self,
        entry: Entry,
        signers: &BTreeSet<KeyId>,
    ) -> Result<Result<Body, String>, StoreError> {
        let known = entry.is_known();
        let Entry {
            seq, kind, body, ..
        } = entry;
        if !known {
            if entry.critical {
                return Err(StoreError::UnknownEvent { seq, kind });
            }
            return Ok(Err(format!("`{kind}` is not known to this version")));
        }
        if self.has(entry.id) {
            return Ok(Err(format!("the id {} was used before", entry.id)));
        }
        let body = match Body::read(&kind, body) {
            Ok(body) => body,
            Err(why) => return Ok(Err(why)),
        };
        if let Body::ManifestPut(put) = &body
            && !is_name(&put.image)
        {
            return Ok(Err(format!("`{}` is no name of an image", put.image)));
        }
        Ok(match self.admits(&body, signers, entry.at) {
            Ok(Admission::New) => Ok(body),
            Ok(Admission::Already) => Err("the log said the same before".to_owned()),
            Err(rule) => Err(rule.to_string()),
        })
    }

    fn apply(&mut self, seq: u64, at: Moment, body: Body, signers: BTreeSet<KeyId>) {
        match body {
            Body::ManifestPut(mut put) => {
                put.share_releases(self.recorded.last());
                self.record(Recorded {
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
                    recorded.tests.push(Tested {
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
                let wanted = self
                    .revocations
                    .iter_mut()
                    .find(|one| one.seq == revocation);
                if let Some(one) = wanted {
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
                self.plans.push(Planned {
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
        }
    }

    fn record(&mut self, recorded: Recorded) {
        let (place, put) = (self.recorded.len(), &recorded.put);
        self.by_name.insert((put.image.clone(), put.version), place);
        self.by_digest.insert(put.manifest, place);
        self.recorded.push(recorded);
    }

    fn recorded_mut(&mut self, manifest: &Digest) -> Option<&mut Recorded> {
        let place = self.by_digest.get(manifest)?;
        self.recorded.get_mut(*place)
    }
}
