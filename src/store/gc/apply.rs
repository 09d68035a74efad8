//! Carries out a plan: first appends the events, each checked at the end of the log, then removes
//! the bytes.
//! An artifact that has been in use since the plan was made stays. A repeated call removes what a
//! killed one left.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use super::known::Known;
use super::{ExternalUses, Hold, Presence, Survey, SurveyRow};
use crate::digest::Digest;
use crate::store::backend::{ArtifactName, Backend, BackendError};
use crate::store::event::Body;
use crate::store::history::{History, RecordedPlan};
use crate::store::{Store, StoreError, new_id};

/// The outcome of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GcOutcome {
    /// Artifacts whose removal is logged now.
    pub removed: Vec<RemovedArtifact>,
    /// Files that were removed, including those of earlier calls that were killed.
    pub files: Vec<String>,
    /// The freed space, in bytes.
    pub bytes: u64,
    /// Artifacts that stay.
    pub skipped: Vec<SkippedArtifact>,
    /// Files that could not be removed. Their removal is logged, so another call tries again.
    pub failed: Vec<FailedRemoval>,
}

/// An artifact whose removal was logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemovedArtifact {
    /// `image@version`.
    pub name: String,
    /// Its manifest, which stays.
    pub manifest: Digest,
    /// The number of the entry that logs the removal.
    pub entry: u64,
}

/// An artifact that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkippedArtifact {
    /// `image@version`.
    pub name: String,
    /// Its manifest.
    pub manifest: Digest,
    /// The reason.
    pub why: String,
}

/// A file that could not be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedRemoval {
    /// The name of the file in the store.
    pub file: String,
    /// The reason.
    pub why: String,
}

impl<B: Backend> Store<B> {
    /// Carries out a plan at the time `now`: removes its artifacts that are not in use, and files
    /// that an earlier call left. Fails before the end of the grace period, without the role, and
    /// if fewer sources are checked than for the plan.
    pub async fn apply_gc(
        &self,
        plan: u64,
        outside: &ExternalUses,
        now: Timestamp,
    ) -> Result<GcOutcome, StoreError> {
        if self.own_keys().is_empty() {
            return Err(StoreError::NoSigner);
        }
        let mut history = self.history().await?;
        let found = history.plans().iter().find(|one| one.seq == plan);
        let plan = found.ok_or(StoreError::NoGcPlan(plan))?.clone();
        let named = self.check_plan(&history, &plan, outside, now)?;
        let (mut applied, mut known) = (GcOutcome::default(), Known::default());
        for manifest in &named {
            self.record_removal(
                manifest,
                &plan,
                (&mut history, &mut known),
                outside,
                now,
                &mut applied,
            )
            .await?;
        }
        let survey = self
            .classify(&history, &mut known, &plan.keep, outside, now)
            .await?;
        self.remove_bytes(&survey, &mut applied).await;
        Ok(applied)
    }

    /// Checks that the plan may be carried out now, by our keys. Returns its artifacts that are not
    /// removed yet.
    fn check_plan(
        &self,
        history: &History,
        plan: &RecordedPlan,
        outside: &ExternalUses,
        now: Timestamp,
    ) -> Result<Vec<Digest>, StoreError> {
        let what = format!("the plan of entry {}", plan.seq);
        if now < plan.due().timestamp() {
            let due = plan.due();
            return Err(StoreError::refused(
                what,
                format!("it is not due before {due}"),
            ));
        }
        if let Some(why) = outside.missing_since(&plan.keep) {
            return Err(StoreError::Refused {
                what,
                why,
                hint: Some("Pass the same files as for the plan.".to_owned()),
            });
        }
        let recorded = history.recorded().iter();
        let named = recorded.filter(|one| one.planned.contains(&plan.seq) && one.deleted.is_none());
        let named: Vec<Digest> = named.map(|one| one.put.manifest).collect();
        for manifest in &named {
            let body = removal_body(*manifest, plan.seq, String::new());
            let admission = history.admits(&body, &self.own_keys(), now.into());
            // Other rules concern single artifacts, and are reported with them.
            if let Err(error @ StoreError::NotAllowed { .. }) = admission {
                return Err(error);
            }
        }
        Ok(named)
    }

    /// Appends the event, if nothing uses the artifact at the end of the log.
    async fn record_removal(
        &self,
        manifest: &Digest,
        plan: &RecordedPlan,
        (history, known): (&mut History, &mut Known),
        outside: &ExternalUses,
        now: Timestamp,
        applied: &mut GcOutcome,
    ) -> Result<(), StoreError> {
        loop {
            let survey = self
                .classify(history, known, &plan.keep, outside, now)
                .await?;
            let Some(row) = survey.row(manifest) else {
                return Err(StoreError::NotFound(manifest.to_string()));
            };
            let stays = |why: String| SkippedArtifact {
                name: row.name.clone(),
                manifest: *manifest,
                why,
            };
            if let Some(why) = reason_to_stay(row, &survey, history, plan) {
                applied.skipped.push(stays(why));
                return Ok(());
            }
            let body = removal_body(*manifest, plan.seq, row.why.clone());
            match history.admits(&body, &self.own_keys(), now.into()) {
                Err(error) if error.is_conflict() => {
                    applied.skipped.push(stays(error.to_string()));
                    return Ok(());
                }
                admission => admission?,
            };
            let appended = self.append_next(history, new_id(now), now, &body).await?;
            // Our entry is read back like any other.
            self.catch_up(history).await?;
            if let Some(entry) = appended {
                applied.removed.push(RemovedArtifact {
                    name: row.name.clone(),
                    manifest: *manifest,
                    entry,
                });
                return Ok(());
            }
        }
    }

    /// Removes the files whose removal is logged, that no image needs, and that no process uses.
    async fn remove_bytes(&self, survey: &Survey, applied: &mut GcOutcome) {
        let unfinished = |row: &&SurveyRow| row.state == Presence::Unfinished;
        let (removed, staying): (Vec<&SurveyRow>, Vec<&SurveyRow>) =
            survey.rows.iter().partition(|row| is_removed(row));
        let needed: BTreeSet<&ArtifactName> = staying.iter().flat_map(|row| &row.files).collect();
        let mut tried: BTreeSet<&ArtifactName> = BTreeSet::new();
        for row in removed.into_iter().filter(unfinished) {
            if !row.holds.is_empty() {
                applied.skipped.push(SkippedArtifact {
                    name: row.name.clone(),
                    manifest: row.manifest,
                    why: format!("its bytes stay: {}", join_holds(&row.holds)),
                });
                continue;
            }
            let files = row.files.iter().filter(|file| !needed.contains(file));
            let before = (applied.files.len(), applied.failed.len());
            for file in files.filter(|file| tried.insert(file)) {
                match self.backend.remove(file).await {
                    Ok(()) => applied.files.push(file.to_string()),
                    Err(error) => applied.failed.push(FailedRemoval {
                        file: file.to_string(),
                        why: reason(&error),
                    }),
                }
            }
            if applied.files.len() > before.0 && applied.failed.len() == before.1 {
                applied.bytes += row.size;
            }
        }
    }
}

/// Returns the error with its hint, since the report has no other place for the hint.
fn reason(error: &BackendError) -> String {
    match error.hint() {
        Some(hint) => format!("{error}. {hint}"),
        None => error.to_string(),
    }
}

/// Whether its removal is logged.
fn is_removed(row: &SurveyRow) -> bool {
    matches!(row.state, Presence::Unfinished | Presence::Removed)
}

fn removal_body(manifest: Digest, plan: u64, why: String) -> Body {
    Body::ArtifactDeleted {
        manifest,
        plan,
        why,
    }
}

/// Returns why a planned artifact stays, if the state has changed since.
fn reason_to_stay(
    row: &SurveyRow,
    survey: &Survey,
    history: &History,
    plan: &RecordedPlan,
) -> Option<String> {
    match row.state {
        Presence::Present if !row.holds.is_empty() => return Some(join_holds(&row.holds)),
        Presence::Present => {}
        Presence::Missing => return Some("its file is missing already".to_owned()),
        Presence::Unfinished | Presence::Removed => {
            return Some("another process has removed it".to_owned());
        }
    }
    let shares_file = |other: &&SurveyRow| {
        let same = other.files.iter().any(|file| row.files.contains(file));
        let one = history.by_digest(&other.manifest);
        let going = one.is_some_and(|one| one.deleted.is_some() || one.planned.contains(&plan.seq));
        same && !going
    };
    let other = survey.rows.iter().find(shares_file)?;
    Some(format!(
        "{} has the same file, and the plan does not list it",
        other.name
    ))
}

fn join_holds(holds: &[Hold]) -> String {
    let words: Vec<String> = holds.iter().map(Hold::to_string).collect();
    words.join(", ")
}
