//! Carrying a plan out: first the events, each judged at the very end of the log, and then the bytes.
//!
//! In: the number of a plan's entry. Out: what was removed, what was left and why. What holds an artifact since the plan was
//! made keeps it. Called again, it removes what a killed call has left behind its events.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use super::known::Known;
use super::{ExternalUses, Hold, Presence, Row, Survey};
use crate::digest::Digest;
use crate::store::backend::{ArtifactName, Backend};
use crate::store::event::Body;
use crate::store::history::{History, Planned};
use crate::store::{Store, StoreError, new_id};

/// What came of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Artifacts that the log now says are removed.
    pub removed: Vec<Gone>,
    /// Files whose bytes are gone now: those, and what an earlier call had left.
    pub files: Vec<String>,
    /// Bytes that are free now.
    pub bytes: u64,
    /// What was left where it is.
    pub skipped: Vec<Skipped>,
    /// Files that could not be removed. Their events are written; another call tries again.
    pub failed: Vec<Failed>,
}

/// An artifact that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// `image@version`.
    pub name: String,
    /// The manifest, which stays.
    pub manifest: Digest,
    /// The number of the entry that says so.
    pub entry: u64,
}

/// An artifact that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// `image@version`.
    pub name: String,
    /// Its manifest.
    pub manifest: Digest,
    /// Why.
    pub why: String,
}

/// A file that could not be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// Its name in the store.
    pub file: String,
    /// Why.
    pub why: String,
}

impl<B: Backend> Store<B> {
    /// Carries out the plan of an entry at the time `now`: removes what it names and nothing holds, and finishes what an
    /// earlier call has left. Refused before its time, by keys that may not, and where less is looked at than for the plan.
    pub async fn apply_gc(
        &self,
        plan: u64,
        outside: &ExternalUses,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        if self.own_keys().is_empty() {
            return Err(StoreError::NoSigner);
        }
        let mut history = self.history().await?;
        let found = history.plans().iter().find(|one| one.seq == plan);
        let plan = found.ok_or(StoreError::NoGcPlan(plan))?.clone();
        let named = self.named_by(&history, &plan, outside, now)?;
        let (mut applied, mut known) = (Applied::default(), Known::default());
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

    /// What the plan names and is not removed yet, once it is sure that it may be carried out now, and by us.
    fn named_by(
        &self,
        history: &History,
        plan: &Planned,
        outside: &ExternalUses,
        now: Timestamp,
    ) -> Result<Vec<Digest>, StoreError> {
        let refused = |why: String| StoreError::Refused {
            what: format!("the plan of entry {}", plan.seq),
            why,
        };
        if now < plan.due().timestamp() {
            let due = plan.due();
            return Err(refused(format!("it may be carried out from {due} on")));
        }
        if let Some(why) = outside.lacks(&plan.keep) {
            return Err(refused(why));
        }
        let recorded = history.recorded().iter();
        let named = recorded.filter(|one| one.planned.contains(&plan.seq) && one.deleted.is_none());
        let named: Vec<Digest> = named.map(|one| one.put.manifest).collect();
        for manifest in &named {
            let body = body(*manifest, plan.seq, String::new());
            let judged = history.admits(&body, &self.own_keys(), now.into());
            // Other rules are about one artifact alone, and are told of that one.
            if let Err(error @ StoreError::NotAllowed { .. }) = judged {
                return Err(error);
            }
        }
        Ok(named)
    }

    /// Appends the event, if at the end of the log nothing holds the artifact.
    async fn record_removal(
        &self,
        manifest: &Digest,
        plan: &Planned,
        (history, known): (&mut History, &mut Known),
        outside: &ExternalUses,
        now: Timestamp,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        loop {
            let survey = self
                .classify(history, known, &plan.keep, outside, now)
                .await?;
            let Some(row) = survey.row(manifest) else {
                return Err(StoreError::NotFound(manifest.to_string()));
            };
            let stays = |why: String| Skipped {
                name: row.name.clone(),
                manifest: *manifest,
                why,
            };
            if let Some(why) = stays_because(row, &survey, history, plan) {
                applied.skipped.push(stays(why));
                return Ok(());
            }
            let body = body(*manifest, plan.seq, row.why.clone());
            match history.admits(&body, &self.own_keys(), now.into()) {
                Err(error) if error.is_conflict() => {
                    applied.skipped.push(stays(error.to_string()));
                    return Ok(());
                }
                judged => judged?,
            };
            let appended = self.append_next(history, new_id(now), now, &body).await?;
            // Ours is read back as anybody's is.
            self.catch_up(history).await?;
            if let Some(entry) = appended {
                applied.removed.push(Gone {
                    name: row.name.clone(),
                    manifest: *manifest,
                    entry,
                });
                return Ok(());
            }
        }
    }

    /// Removes every file that the log says is removed, that no image needs, and that nobody uses.
    async fn remove_bytes(&self, survey: &Survey, applied: &mut Applied) {
        let unfinished = |row: &&Row| row.state == Presence::Unfinished;
        let (gone, staying): (Vec<&Row>, Vec<&Row>) =
            survey.rows.iter().partition(|row| is_removed(row));
        let needed: BTreeSet<&ArtifactName> = staying.iter().flat_map(|row| &row.files).collect();
        let mut tried: BTreeSet<&ArtifactName> = BTreeSet::new();
        for row in gone.into_iter().filter(unfinished) {
            if !row.holds.is_empty() {
                applied.skipped.push(Skipped {
                    name: row.name.clone(),
                    manifest: row.manifest,
                    why: format!("its bytes stay: {}", words(&row.holds)),
                });
                continue;
            }
            let files = row.files.iter().filter(|file| !needed.contains(file));
            let before = (applied.files.len(), applied.failed.len());
            for file in files.filter(|file| tried.insert(file)) {
                match self.backend.remove(file).await {
                    Ok(()) => applied.files.push(file.to_string()),
                    Err(error) => applied.failed.push(Failed {
                        file: file.to_string(),
                        why: error.to_string(),
                    }),
                }
            }
            if applied.files.len() > before.0 && applied.failed.len() == before.1 {
                applied.bytes += row.size;
            }
        }
    }
}

/// Whether the log says that it was removed.
fn is_removed(row: &Row) -> bool {
    matches!(row.state, Presence::Unfinished | Presence::Removed)
}

fn body(manifest: Digest, plan: u64, why: String) -> Body {
    Body::ArtifactDeleted {
        manifest,
        plan,
        why,
    }
}

/// Why a planned artifact stays, where something has come between.
fn stays_because(row: &Row, survey: &Survey, history: &History, plan: &Planned) -> Option<String> {
    match row.state {
        Presence::Present if !row.holds.is_empty() => return Some(words(&row.holds)),
        Presence::Present => {}
        Presence::Missing => return Some("its file is missing already".to_owned()),
        Presence::Unfinished | Presence::Removed => {
            return Some("somebody else removed it meanwhile".to_owned());
        }
    }
    let shares = |other: &&Row| {
        let same = other.files.iter().any(|file| row.files.contains(file));
        let one = history.by_digest(&other.manifest);
        let going = one.is_some_and(|one| one.deleted.is_some() || one.planned.contains(&plan.seq));
        same && !going
    };
    let other = survey.rows.iter().find(shares)?;
    Some(format!(
        "{} has the same file, and the plan does not name it",
        other.name
    ))
}

fn words(holds: &[Hold]) -> String {
    let words: Vec<String> = holds.iter().map(Hold::to_string).collect();
    words.join(", ")
}
