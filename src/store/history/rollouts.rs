//! Rollouts of clusters, and the rules for their begin and end.
//! An epoch orders the controllers of a cluster: only the last one may end its rollout.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Admission, History};
use crate::digest::Digest;
use crate::manifest::{EpochFact, Moment, RolloutOutcome, is_cluster_id};
use crate::sign::KeyId;
use crate::store::StoreError;
use crate::store::event::{RolloutBegin, RolloutEnd};

/// An epoch of a cluster: the begin of a rollout, or its take-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRollout {
    /// The number of the entry.
    pub seq: u64,
    /// The time of that entry.
    pub at: Moment,
    /// The id of the cluster.
    pub cluster: String,
    /// The name of the cluster.
    pub name: String,
    /// The epoch: 1 for the first of the cluster.
    pub epoch: u64,
    /// The digest of the plan.
    pub plan: Digest,
    /// Whether it took over the rollout of the epoch before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_over: bool,
    /// The ids of the keys that signed the entry.
    pub by: BTreeSet<KeyId>,
    /// The end. `None` if the rollout is open, or if a later epoch took it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<RecordedRolloutEnd>,
}

/// The end of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRolloutEnd {
    /// The number of the entry.
    pub seq: u64,
    /// The time of that entry.
    pub at: Moment,
    /// How it ended.
    pub outcome: RolloutOutcome,
    /// The digest of the rollout record.
    pub record: Digest,
    /// The digest of the envelope around the rollout record.
    pub envelope: Digest,
    /// The ids of the keys that signed the entry.
    pub by: BTreeSet<KeyId>,
}

impl History {
    /// Returns all epochs of all clusters, in the order of the log.
    pub fn rollouts(&self) -> &[RecordedRollout] {
        &self.rollouts
    }

    /// Returns the last epoch of the cluster with this id. If it has no end, a rollout is open.
    pub fn rollout(&self, cluster: &str) -> Option<&RecordedRollout> {
        let mut last = self.rollouts.iter().rev();
        last.find(|one| one.cluster == cluster)
    }

    /// Returns the open rollout of the cluster with this id.
    pub fn open_rollout(&self, cluster: &str) -> Option<&RecordedRollout> {
        self.rollout(cluster).filter(|last| last.end.is_none())
    }

    /// Returns the open rollouts of all clusters.
    pub fn open_rollouts(&self) -> impl Iterator<Item = &RecordedRollout> {
        self.rollouts.iter().filter(|one| self.is_open(one))
    }

    /// Whether the rollout of this epoch is open: it has no end, and no later epoch took it over.
    pub fn is_open(&self, epoch: &RecordedRollout) -> bool {
        let open = self.open_rollout(&epoch.cluster);
        open.is_some_and(|open| open.epoch == epoch.epoch)
    }

    /// Returns the epochs of a rollout, from its begin to `last`, as a rollout record names them.
    pub fn rollout_epochs(&self, last: &RecordedRollout) -> Vec<EpochFact> {
        let before = self.rollouts.iter().rev();
        let before = before.filter(|one| one.cluster == last.cluster && one.epoch <= last.epoch);
        let mut epochs = Vec::new();
        for one in before {
            epochs.push(EpochFact {
                begun_at: one.at,
                by: one.by.clone(),
                epoch: one.epoch,
            });
            if !one.takes_over {
                break;
            }
        }
        epochs.reverse();
        epochs
    }

    /// Returns the name of the cluster with this id, or an empty text if it had no rollout.
    pub(super) fn cluster_name(&self, cluster: &str) -> &str {
        self.rollout(cluster).map_or("", |last| &last.name)
    }

    pub(super) fn admits_begin(&self, begin: &RolloutBegin) -> Result<Admission, StoreError> {
        let name = &begin.name;
        let what = format!("rollout of cluster {name}");
        let refused = |why: String, hint: Option<String>| StoreError::Refused {
            what: what.clone(),
            why,
            hint,
        };
        if !is_cluster_id(&begin.cluster, name) {
            let why = format!("`{}` is not the id of a cluster `{name}`", begin.cluster);
            return Err(refused(why, None));
        }
        let last = self.rollout(&begin.cluster);
        match (last.filter(|last| last.end.is_none()), begin.takes_over) {
            (Some(open), false) => return Err(open.still_open()),
            (None, true) => {
                let why = "there is no open rollout to take over".to_owned();
                return Err(refused(why, Some(see_status(name))));
            }
            (Some(open), true) if open.plan != begin.plan => {
                let why = format!("the open rollout has the plan {}", open.plan);
                return Err(refused(why, Some(see_status(name))));
            }
            (Some(_), true) | (None, false) => {}
        }
        let next = last.map_or(0, |last| last.epoch) + 1;
        if begin.epoch != next {
            let why = format!("the next epoch is {next}, not {}", begin.epoch);
            return Err(refused(why, Some(see_status(name))));
        }
        Ok(Admission::New)
    }

    pub(super) fn admits_end(&self, end: &RolloutEnd) -> Result<Admission, StoreError> {
        let refused = |name: &str, why: String| StoreError::Refused {
            what: format!("end of the rollout of cluster {name}"),
            why,
            hint: Some(see_status(name)),
        };
        let Some(last) = self.rollout(&end.cluster) else {
            let why = "it has no rollout".to_owned();
            return Err(StoreError::refused(format!("cluster {}", end.cluster), why));
        };
        if end.epoch != last.epoch {
            let why = match end.epoch < last.epoch {
                true => format!("epoch {} has ended, or was taken over", end.epoch),
                false => format!("epoch {} has not begun", end.epoch),
            };
            return Err(refused(&last.name, why));
        }
        match &last.end {
            None => Ok(Admission::New),
            Some(known) if (known.outcome, known.record) == (end.outcome, end.record) => {
                Ok(Admission::Unchanged)
            }
            Some(_) => {
                let why = format!("epoch {} has ended already", end.epoch);
                Err(refused(&last.name, why))
            }
        }
    }

    pub(super) fn begin_rollout(
        &mut self,
        seq: u64,
        at: Moment,
        begin: RolloutBegin,
        by: BTreeSet<KeyId>,
    ) {
        self.rollouts.push(RecordedRollout {
            seq,
            at,
            cluster: begin.cluster,
            name: begin.name,
            epoch: begin.epoch,
            plan: begin.plan,
            takes_over: begin.takes_over,
            by,
            end: None,
        });
    }

    pub(super) fn end_rollout(
        &mut self,
        seq: u64,
        at: Moment,
        end: &RolloutEnd,
        by: BTreeSet<KeyId>,
    ) {
        let mut last = self.rollouts.iter_mut().rev();
        if let Some(last) = last.find(|one| one.cluster == end.cluster) {
            last.end = Some(RecordedRolloutEnd {
                seq,
                at,
                outcome: end.outcome,
                record: end.record,
                envelope: end.envelope,
                by,
            });
        }
    }
}

impl RecordedRollout {
    /// Returns the error for a begin of another rollout.
    fn still_open(&self) -> StoreError {
        StoreError::RolloutOpen {
            name: self.name.clone(),
            epoch: self.epoch,
            since: self.at,
        }
    }
}

fn see_status(name: &str) -> String {
    format!("Run `vault-bake rollout status {name}`.")
}
