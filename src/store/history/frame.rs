//! Splits a history into a frame and its manifests, to be stored, and joins them again.
//! A history that is joined with some manifests lacks the others: the caller supplies all that new
//! entries and queries refer to.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Generation, History, RecordedManifest, RecordedPlan, RecordedRollout, Revocation, VoidEntry,
};
use crate::digest::Digest;
use crate::sign::Trust;

/// A history without its manifests and without the ids of its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct Frame {
    origin: Digest,
    pub head: u64,
    /// The digest of entry `head`.
    pub last: Digest,
    policies: Vec<(u64, Trust)>,
    channels: Vec<(String, String, Vec<Generation>)>,
    revocations: Vec<Revocation>,
    plans: Vec<RecordedPlan>,
    rollouts: Vec<RecordedRollout>,
    approved: BTreeSet<Uuid>,
    voids: Vec<VoidEntry>,
}

impl Frame {
    /// Returns the trust policy in force.
    pub fn trust(&self) -> &Trust {
        &self.policies[self.policies.len() - 1].1
    }

    /// Returns the manifest that a channel points to.
    pub(crate) fn held_by(&self, image: &str, channel: &str) -> Option<Digest> {
        let mut channels = self.channels.iter();
        let (_, _, generations) = channels.find(|(i, c, _)| (&**i, &**c) == (image, channel))?;
        generations.last().map(|last| last.to)
    }
}

impl History {
    /// Returns the frame of this history.
    pub(in crate::store) fn frame(&self) -> Frame {
        let channels = self.channels.iter();
        let channels = channels.map(|((i, c), all)| (i.clone(), c.clone(), all.clone()));
        Frame {
            origin: self.origin,
            head: self.head,
            last: self.last,
            policies: self.policies.clone(),
            channels: channels.collect(),
            revocations: self.revocations.clone(),
            plans: self.plans.clone(),
            rollouts: self.rollouts.clone(),
            approved: self.approved.clone(),
            voids: self.voids.clone(),
        }
    }

    /// Returns the ids of all events.
    pub(in crate::store) fn ids(&self) -> impl Iterator<Item = Uuid> {
        self.ids.iter().copied()
    }

    /// Joins `frame` with these manifests, in the order of recording, and these ids.
    pub(in crate::store) fn from_frame(
        frame: Frame,
        mut recorded: Vec<RecordedManifest>,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Self {
        for at in 1..recorded.len() {
            let (before, from) = recorded.split_at_mut(at);
            from[0]
                .put
                .share_releases(before.last().map(|last| &last.put));
        }
        let channels = frame.channels.into_iter();
        let indexed = || recorded.iter().enumerate();
        Self {
            origin: frame.origin,
            head: frame.head,
            last: frame.last,
            policies: frame.policies,
            ids: ids.into_iter().collect(),
            by_digest: indexed().map(|(at, one)| (one.put.manifest, at)).collect(),
            by_name: indexed()
                .map(|(at, one)| ((one.put.image.clone(), one.put.version), at))
                .collect(),
            channels: channels.map(|(i, c, all)| ((i, c), all)).collect(),
            revocations: frame.revocations,
            plans: frame.plans,
            rollouts: frame.rollouts,
            approved: frame.approved,
            voids: frame.voids,
            recorded,
        }
    }
}
