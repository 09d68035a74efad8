//! Removes artifacts that are not needed any more. Records are never removed.
//! Takes the history, external uses ([`ExternalUses`]) and retention settings ([`Keep`]). Appends a
//! plan to the log, and carries it out after the grace period. The caller decides what to do about
//! unchecked uses.

mod apply;
mod hold;
mod known;
mod outside;
mod rollouts;
mod survey;

use jiff::Timestamp;

use super::backend::Backend;
use super::event::{Body, GcPlan, PlannedDeletion, Retention};
use super::history::{History, RecordedPlan};
use super::{Store, StoreError, new_id};

pub use apply::{FailedRemoval, GcOutcome, RemovedArtifact, SkippedArtifact};
pub use hold::Hold;
pub use outside::ExternalUses;
pub use survey::{ArtifactTotal, Presence, Survey, SurveyRow};

use known::Known;

/// The largest number of artifacts in a plan: more would not fit into an event.
pub const MOST_ITEMS: usize = 200;

impl<B: Backend> Store<B> {
    /// Returns what needs each artifact at the time `now`. Changes nothing.
    pub async fn survey(
        &self,
        history: &History,
        keep: &Retention,
        outside: &ExternalUses,
        now: Timestamp,
    ) -> Result<Survey, StoreError> {
        self.classify(history, &mut Known::default(), keep, outside, now)
            .await
    }

    /// Appends a plan to remove artifacts without a use, at most [`MOST_ITEMS`]; `None` if there
    /// are none. If another writer is faster, evaluates again, so the plan is right at its own
    /// entry.
    pub async fn plan_gc(
        &self,
        keep: &Retention,
        outside: &ExternalUses,
        grace_s: u64,
        now: Timestamp,
    ) -> Result<(Survey, Option<RecordedPlan>), StoreError> {
        let own = self.own_keys();
        if own.is_empty() {
            return Err(StoreError::NoSigner);
        }
        let mut history = self.history().await?;
        let mut known = Known::default();
        loop {
            let survey = self
                .classify(&history, &mut known, keep, outside, now)
                .await?;
            let items = survey.planned_deletion();
            if items.is_empty() {
                return Ok((survey, None));
            }
            let plan = GcPlan {
                items,
                grace_s,
                keep: outside.with_counts(*keep),
            };
            let keep = plan.keep;
            let body = Body::GcPlan(plan);
            history.admits(&body, &own, now.into())?;
            let appended = self.append_next(&history, new_id(now), now, &body);
            if let Some(seq) = appended.await? {
                let planned = RecordedPlan {
                    seq,
                    at: now.into(),
                    grace_s,
                    keep,
                };
                return Ok((survey, Some(planned)));
            }
            self.catch_up(&mut history).await?;
        }
    }
}

impl Survey {
    /// Returns the items of a plan: artifacts without a use, the oldest first.
    fn planned_deletion(&self) -> Vec<PlannedDeletion> {
        let going = self.rows.iter().filter(|row| row.is_removable());
        let item = |row: &SurveyRow| PlannedDeletion {
            manifest: row.manifest,
            artifact: row.artifact,
            size: row.size,
            why: row.why.clone(),
        };
        going.map(item).take(MOST_ITEMS).collect()
    }
}
