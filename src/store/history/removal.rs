//! The rules for removing artifacts: no plan without care, no removal without a plan that is due.
//!
//! Only what the log itself says is judged here, for readers as well. What pins and running nodes hold it cannot know: see
//! [`crate::store::gc`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Admission, History, Recorded};
use crate::digest::Digest;
use crate::manifest::Moment;
use crate::store::StoreError;
use crate::store::event::{GcPlan, Keep};

/// A plan to remove artifacts. Those that it names say so themselves: [`Recorded::planned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The number of the entry.
    pub seq: u64,
    /// When it was written.
    pub at: Moment,
    /// How long after that nothing may be removed yet, in seconds.
    pub grace_s: u64,
    /// What was kept.
    pub keep: Keep,
}

/// The removal of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The number of the entry that says so.
    pub seq: u64,
    /// Why, in words.
    pub why: String,
}

impl std::fmt::Display for Removal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Entries of older versions have the state alone.
        let why = match self.why.as_str() {
            "failed" => "it had failed its test",
            "untested" => "it was never tested",
            why => why,
        };
        write!(f, "by gc (entry {}): {why}", self.seq)
    }
}

impl Planned {
    /// From when on it may be carried out.
    pub fn due(&self) -> Moment {
        let grace = i64::try_from(self.grace_s).unwrap_or(i64::MAX);
        let second = self.at.timestamp().as_second().saturating_add(grace);
        jiff::Timestamp::from_second(second)
            .unwrap_or(jiff::Timestamp::MAX)
            .into()
    }
}

impl History {
    /// The channels that hold a manifest now or held it within their last so many generations, each with the newest such
    /// generation and whether it is the present one.
    pub fn kept(
        &self,
        manifest: &Digest,
        generations: u64,
    ) -> impl Iterator<Item = (&str, &str, u64, bool)> {
        let manifest = *manifest;
        let most = usize::try_from(generations.max(1)).unwrap_or(usize::MAX);
        self.channels().filter_map(move |(image, channel, all)| {
            let mut last = all.iter().rev().take(most).enumerate();
            let (back, held) = last.find(|(_, one)| one.to == manifest)?;
            Some((image, channel, held.generation, back == 0))
        })
    }

    pub(super) fn admits_plan(&self, plan: &GcPlan) -> Result<Admission, StoreError> {
        let refused = |why: String| StoreError::Refused {
            what: "gc.plan".to_owned(),
            why,
        };
        if plan.keep.generations == 0 {
            let why = "it keeps no generation; what a channel holds always stays";
            return Err(refused(why.to_owned()));
        }
        let mut named = BTreeSet::new();
        for item in &plan.items {
            let of = self.known(&item.manifest)?;
            let name = of.put.name();
            if !named.insert(item.manifest) {
                return Err(refused(format!("it names {name} twice")));
            }
            if (item.artifact, item.size) != (of.put.artifact, of.put.size) {
                return Err(refused(format!("{name} has another artifact than it says")));
            }
            if of.deleted.is_some() {
                return Err(refused(format!(
                    "the artifact of {name} was removed already"
                )));
            }
            self.check_free(of, plan.keep.generations)?;
        }
        if named.is_empty() {
            return Err(refused("it names nothing".to_owned()));
        }
        Ok(Admission::New)
    }

    pub(super) fn admits_removal(
        &self,
        manifest: &Digest,
        plan: u64,
        at: Moment,
    ) -> Result<Admission, StoreError> {
        let of = self.known(manifest)?;
        // Whatever a plan says: what a channel holds stays.
        self.check_free(of, 1)?;
        if of.deleted.is_some() {
            return Ok(Admission::Already);
        }
        let name = of.put.name();
        let refused = |why: String| StoreError::Refused {
            what: format!("the artifact of {name}"),
            why,
        };
        let found = self.plans.iter().find(|one| one.seq == plan);
        let found = found.ok_or(StoreError::NoGcPlan(plan))?;
        if !of.planned.contains(&plan) {
            return Err(refused(format!(
                "the plan of entry {plan} does not name it"
            )));
        }
        if at < found.due() {
            return Err(refused(format!(
                "the plan of entry {plan} may be carried out from {} on",
                found.due()
            )));
        }
        self.check_free(of, found.keep.generations)?;
        Ok(Admission::New)
    }

    /// No channel has it among its last so many generations.
    fn check_free(&self, of: &Recorded, generations: u64) -> Result<(), StoreError> {
        let manifest = &of.put.manifest;
        let Some((image, channel, generation, present)) = self.kept(manifest, generations).next()
        else {
            return Ok(());
        };
        Err(StoreError::Held {
            name: of.put.name(),
            by: match present {
                true => format!("channel {image}:{channel}"),
                false => format!("channel {image}:{channel} (generation {generation})"),
            },
        })
    }
}
