//! Records the begin and the end of rollouts, and reads their records.
//! A plan is JSON of a later module. Only its images are read here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::backend::Backend;
use super::event::{Body, RolloutBegin, RolloutEnd};
use super::history::{Admission, History, RecordedRollout, RecordedRolloutEnd};
use super::verify::Signed;
use super::{Store, StoreError, new_id, object_name};
use crate::digest::Digest;
use crate::manifest::RolloutRecord;

/// The images in the plan of a rollout, by the digests of their manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedImages {
    /// The target of each tier.
    pub targets: BTreeMap<String, Digest>,
    /// The image of each node, old and new.
    pub nodes: BTreeMap<String, Digest>,
}

/// The part of a plan that names images.
#[derive(Deserialize)]
struct Plan {
    targets: BTreeMap<String, Planned>,
    nodes: BTreeMap<String, Planned>,
}

#[derive(Deserialize)]
struct Planned {
    manifest: Digest,
}

impl<B: Backend> Store<B> {
    /// Begins a rollout, or takes the open one over. Its plan must be in the store. An `id` that
    /// the log has already makes this a no-op, so a caller may retry after an unclear failure.
    pub async fn begin_rollout(
        &self,
        id: Uuid,
        begin: RolloutBegin,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.require_object(&begin.plan).await?;
        self.append(id, now, Body::RolloutBegin(begin)).await
    }

    /// Signs and stores the record of a rollout, and ends the rollout in the log. The record must
    /// name the epochs and the plan of the log. Ending it again with the same record does nothing.
    pub async fn put_rollout(
        &self,
        record: &RolloutRecord,
        now: Timestamp,
    ) -> Result<Digest, StoreError> {
        let bytes = record.to_bytes();
        let name = &record.cluster.name;
        RolloutRecord::parse(&bytes).map_err(|error| StoreError::BadRollout {
            name: name.clone(),
            error,
        })?;
        let digest = Digest::hash_bytes(&bytes);
        let body = |envelope| {
            Body::RolloutEnd(RolloutEnd {
                cluster: record.cluster.id.clone(),
                epoch: record.epochs.last().map_or(0, |last| last.epoch),
                outcome: record.outcome,
                record: digest,
                envelope,
            })
        };
        let history = self.history().await?;
        if history.admits(&body(digest), &self.own_keys(), now.into())? == Admission::Unchanged {
            return Ok(digest);
        }
        let last = history.rollout(&record.cluster.id);
        if let Some(why) = last.and_then(|last| contradiction(&history, last, record)) {
            let what = format!("record of the rollout of cluster {name}");
            return Err(StoreError::refused(what, why));
        }
        for plan in &record.plans {
            self.require_object(plan).await?;
        }
        self.put_object(&bytes).await?;
        let envelope = self.put_envelope(bytes).await?;
        self.append_to(history, new_id(now), now, body(envelope))
            .await?;
        Ok(digest)
    }

    /// Reads the record of an ended rollout, and checks it against the log, its signatures and the
    /// trust policy. Returns `None` if this epoch has no end.
    pub async fn rollout_record(
        &self,
        history: &History,
        rollout: &RecordedRollout,
    ) -> Result<Option<RolloutRecord>, StoreError> {
        let Some(end) = &rollout.end else {
            return Ok(None);
        };
        let broken = |why: String| StoreError::integrity(object_name(&end.record), why);
        let signed = Signed::rollout(rollout, end);
        let checked = self.check_envelopes(history, &[signed]).await.pop();
        let payload = checked.expect("one envelope was checked")?;
        if self.object(&end.record).await? != payload {
            return Err(broken("it differs from its envelope".to_owned()));
        }
        let record = RolloutRecord::parse(&payload).map_err(|error| broken(error.to_string()))?;
        if record.outcome != end.outcome {
            return Err(broken("the log has another outcome".to_owned()));
        }
        match contradiction(history, rollout, &record) {
            Some(why) => Err(broken(why)),
            None => Ok(Some(record)),
        }
    }

    /// Reads the images in the plan of a rollout.
    pub async fn planned_images(
        &self,
        rollout: &RecordedRollout,
    ) -> Result<PlannedImages, StoreError> {
        let bytes = self.object(&rollout.plan).await?;
        let plan = serde_json::from_slice::<Plan>(&bytes).map_err(|error| {
            let what = format!("the plan of the rollout of cluster {}", rollout.name);
            StoreError::refused(what, format!("cannot read its images: {error}"))
        })?;
        let manifests = |planned: BTreeMap<String, Planned>| {
            let planned = planned.into_iter();
            planned.map(|(name, one)| (name, one.manifest)).collect()
        };
        Ok(PlannedImages {
            targets: manifests(plan.targets),
            nodes: manifests(plan.nodes),
        })
    }

    async fn require_object(&self, digest: &Digest) -> Result<(), StoreError> {
        let what = object_name(digest);
        match self.backend.exists(&what).await? {
            true => Ok(()),
            false => Err(StoreError::NotYetStored { what }),
        }
    }
}

/// Returns how a record contradicts the log.
fn contradiction(
    history: &History,
    rollout: &RecordedRollout,
    record: &RolloutRecord,
) -> Option<String> {
    let cluster = &record.cluster;
    if (&cluster.id, &cluster.name) != (&rollout.cluster, &rollout.name) {
        return Some(format!("it is about the cluster {}", cluster.id));
    }
    if record.plans.first() != Some(&rollout.plan) {
        return Some("its first plan is not the plan in the log".to_owned());
    }
    let same = record.epochs == history.rollout_epochs(rollout);
    (!same).then(|| "its epochs are not those in the log".to_owned())
}

impl<'a> Signed<'a> {
    /// Returns the record of a rollout.
    fn rollout(rollout: &'a RecordedRollout, end: &RecordedRolloutEnd) -> Self {
        Self::operator(end.seq, end.record, end.envelope, &rollout.name)
    }
}
