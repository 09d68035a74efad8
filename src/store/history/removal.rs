//! The rules for removing artifacts: a plan must be valid, and a removal needs a plan that is due.
//! They use the log alone, so readers can check them. Pins and running nodes are checked by
//! [`crate::store::gc`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Admission, History, RecordedManifest};
use crate::digest::Digest;
use crate::manifest::Moment;
use crate::store::StoreError;
use crate::store::event::{GcPlan, Retention};

/// A plan to remove artifacts. The artifacts refer to it: [`Recorded::planned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedPlan {
    /// The number of the entry.
    pub seq: u64,
    /// The time of that entry.
    pub at: Moment,
    /// The grace period after that time, in seconds.
    pub grace_s: u64,
    /// The retention settings.
    pub keep: Retention,
}

/// The removal of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The number of the entry that records it.
    pub seq: u64,
    /// The reason, in words.
    pub why: String,
}

impl std::fmt::Display for Removal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Older versions recorded only the test state.
        let why = match self.why.as_str() {
            "failed" => "it had failed its test",
            "untested" => "it was never tested",
            why => why,
        };
        write!(f, "by gc (entry {}): {why}", self.seq)
    }
}

impl RecordedPlan {
    /// Returns the time from which the plan may be carried out.
    pub fn due(&self) -> Moment {
        let grace = i64::try_from(self.grace_s).unwrap_or(i64::MAX);
        let second = self.at.timestamp().as_second().saturating_add(grace);
        jiff::Timestamp::from_second(second)
            .unwrap_or(jiff::Timestamp::MAX)
            .into()
    }
}

/// A channel that keeps a manifest.
pub(in crate::store) struct ChannelHold<'a> {
    pub image: &'a str,
    pub channel: &'a str,
    /// The newest generation with the manifest.
    pub generation: u64,
    /// Whether that is the present generation.
    pub is_present: bool,
}

impl History {
    /// Returns the channels with the manifest among their last `generations`.
    pub(in crate::store) fn channel_holds(
        &self,
        manifest: &Digest,
        generations: u64,
    ) -> impl Iterator<Item = ChannelHold<'_>> {
        let manifest = *manifest;
        let count = usize::try_from(generations.max(1)).unwrap_or(usize::MAX);
        self.channels().filter_map(move |(image, channel, all)| {
            let mut last = all.iter().rev().take(count).enumerate();
            let (back, newest) = last.find(|(_, one)| one.to == manifest)?;
            Some(ChannelHold {
                image,
                channel,
                generation: newest.generation,
                is_present: back == 0,
            })
        })
    }

    pub(super) fn admits_plan(&self, plan: &GcPlan) -> Result<Admission, StoreError> {
        let refused = |why: String| StoreError::refused("gc.plan", why);
        if plan.keep.generations == 0 {
            let why = "it must keep at least one generation of each channel";
            return Err(refused(why.to_owned()));
        }
        let mut named = BTreeSet::new();
        for item in &plan.items {
            let recorded = self.known(&item.manifest)?;
            let name = recorded.put.name();
            if !named.insert(item.manifest) {
                return Err(refused(format!("it lists {name} twice")));
            }
            if (item.artifact, item.size) != (recorded.put.artifact, recorded.put.size) {
                return Err(refused(format!(
                    "its artifact of {name} differs from the manifest"
                )));
            }
            if recorded.deleted.is_some() {
                return Err(refused(format!(
                    "the artifact of {name} is already removed"
                )));
            }
            self.check_free(recorded, plan.keep.generations)?;
        }
        if named.is_empty() {
            return Err(refused("it lists no artifact".to_owned()));
        }
        Ok(Admission::New)
    }

    pub(super) fn admits_removal(
        &self,
        manifest: &Digest,
        plan: u64,
        at: Moment,
    ) -> Result<Admission, StoreError> {
        let recorded = self.known(manifest)?;
        // The present generation of a channel stays under any plan.
        self.check_free(recorded, 1)?;
        if recorded.deleted.is_some() {
            return Ok(Admission::Unchanged);
        }
        let name = recorded.put.name();
        let what = format!("the artifact of {name}");
        let refused = |why: String| StoreError::refused(what.clone(), why);
        let found = self.plans.iter().find(|one| one.seq == plan);
        let found = found.ok_or(StoreError::NoGcPlan(plan))?;
        if !recorded.planned.contains(&plan) {
            return Err(refused(format!(
                "the plan of entry {plan} does not list it"
            )));
        }
        if at < found.due() {
            return Err(refused(format!(
                "the plan of entry {plan} is not due before {}",
                found.due()
            )));
        }
        self.check_free(recorded, found.keep.generations)?;
        Ok(Admission::New)
    }

    /// Fails if a channel has the artifact among its last `generations`.
    fn check_free(&self, recorded: &RecordedManifest, generations: u64) -> Result<(), StoreError> {
        let manifest = &recorded.put.manifest;
        let Some(hold) = self.channel_holds(manifest, generations).next() else {
            return Ok(());
        };
        let ChannelHold {
            image,
            channel,
            generation,
            is_present,
        } = hold;
        Err(StoreError::StillNeeded {
            name: recorded.put.name(),
            by: if is_present {
                format!("channel {image}:{channel}")
            } else {
                format!("channel {image}:{channel} (generation {generation})")
            },
        })
    }
}
