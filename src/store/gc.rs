//! Retention: which artifacts nothing holds any more, and how those are removed. Records never are.
//!
//! In: the history, what pins and running nodes hold ([`Outside`]), and what else is to be kept ([`Keep`]). Out: the fate of
//! every artifact, with all that holds it ([`Survey`]); from that a plan, appended to the log; and after its time of grace
//! the removals, each judged again at the log's end. An event says that an artifact is removed before its bytes are: so
//! whoever is killed between leaves nothing worse than bytes that [`Store::apply_gc`] removes the next time. Deliberately
//! decides nothing by itself: what is not looked at (see [`Outside::not_seen`]) is for the caller to ask for.

mod apply;
mod known;
mod outside;
mod survey;

use jiff::Timestamp;

use super::backend::Backend;
use super::event::{Body, GcPlan, Keep, PlannedDeletion};
use super::history::{History, Planned};
use super::{Store, StoreError, new_id};

pub use apply::{Applied, Failed, Gone, Skipped};
pub use outside::ExternalUses;
pub use survey::{Hold, Presence, Row, Sum, Survey};

use known::Known;

/// A plan names at most so many artifacts, so that it fits into an event.
pub const MOST_ITEMS: usize = 200;

impl<B: Backend> Store<B> {
    /// What holds every artifact at the time `now`. Changes nothing.
    pub async fn survey(
        &self,
        history: &History,
        keep: &Keep,
        outside: &ExternalUses,
        now: Timestamp,
    ) -> Result<Survey, StoreError> {
        self.classify(history, &mut Known::default(), keep, outside, now)
            .await
    }

    /// Appends a plan to remove what nothing holds, at most [`MOST_ITEMS`] of it; none where all is held. The plan is right
    /// at the very entry that it becomes: whenever another writer was faster, all is looked at again.
    pub async fn plan_gc(
        &self,
        keep: &Keep,
        outside: &ExternalUses,
        grace_s: u64,
        now: Timestamp,
    ) -> Result<(Survey, Option<Planned>), StoreError> {
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
                keep: outside.counted(*keep),
            };
            let keep = plan.keep;
            let body = Body::GcPlan(plan);
            history.admits(&body, &own, now.into())?;
            let appended = self.append_next(&history, new_id(now), now, &body);
            if let Some(seq) = appended.await? {
                let planned = Planned {
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
    /// What a plan may name now: whatever nothing holds, the oldest first.
    fn planned_deletion(&self) -> Vec<PlannedDeletion> {
        let going = self.rows.iter().filter(|row| row.goes());
        let item = |row: &Row| PlannedDeletion {
            manifest: row.manifest,
            artifact: row.artifact,
            size: row.size,
            why: row.why.clone(),
        };
        going.map(item).take(MOST_ITEMS).collect()
    }
}
