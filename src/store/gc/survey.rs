//! Determines what needs each artifact, and returns one row for each recorded image.
//! A needed artifact also keeps its base disk, and the images that share its file.

use std::collections::{HashMap, HashSet, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

use super::known::Known;
use super::outside::Names;
use super::{ExternalUses, Hold};
use crate::digest::Digest;
use crate::manifest::Moment;
use crate::store::backend::{ARTIFACTS, ArtifactName, Backend};
use crate::store::event::Retention;
use crate::store::history::{History, RecordedManifest};
use crate::store::{Store, StoreError, TestState};

/// All artifacts, in the order of recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// The number of the last log entry that was evaluated.
    pub head: u64,
    /// One row for each recorded image.
    pub rows: Vec<SurveyRow>,
    /// Lines of `--in-use` lists that match no image of this store.
    pub unmatched: Vec<String>,
}

/// One artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SurveyRow {
    /// `image@version`.
    pub name: String,
    /// The manifest of the artifact.
    pub manifest: Digest,
    /// The digest of its file.
    pub artifact: Digest,
    /// The size of its file, in bytes.
    pub size: u64,
    /// The time of recording.
    pub recorded_at: Moment,
    /// Whether it is in the store.
    pub state: Presence,
    /// The uses that keep it.
    pub holds: Vec<Hold>,
    /// The number of the last entry that plans to remove it.
    pub planned: Option<u64>,
    /// Why it is not needed, in words.
    #[serde(skip)]
    pub(super) why: String,
    /// The names of its files in the store.
    #[serde(skip)]
    pub(super) files: Vec<ArtifactName>,
}

/// Whether an artifact is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// It is in the store.
    Present,
    /// It is not in the store, although no event removed it.
    Missing,
    /// Its removal is logged, but its bytes are still there.
    Unfinished,
    /// Its removal is logged, and its bytes are gone.
    Removed,
}

/// A number of artifacts and their bytes. A file that images share counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ArtifactTotal {
    /// The number of artifacts.
    pub artifacts: u64,
    /// Their size, in bytes.
    pub bytes: u64,
}

impl SurveyRow {
    /// Whether a plan may remove it.
    pub fn is_removable(&self) -> bool {
        self.state == Presence::Present && self.holds.is_empty()
    }

    fn add_hold(&mut self, hold: Hold) {
        if !self.holds.contains(&hold) {
            self.holds.push(hold);
        }
    }
}

impl Survey {
    /// Returns the row of a manifest.
    pub fn row(&self, manifest: &Digest) -> Option<&SurveyRow> {
        self.rows.iter().find(|row| row.manifest == *manifest)
    }

    /// Returns the number and size of the artifacts in the selected rows.
    pub fn total(&self, selected: impl Fn(&SurveyRow) -> bool) -> ArtifactTotal {
        let mut seen = HashSet::new();
        let rows = self.rows.iter().filter(|row| selected(row));
        rows.filter(|row| seen.insert(row.artifact))
            .fold(ArtifactTotal::default(), |sum, row| ArtifactTotal {
                artifacts: sum.artifacts + 1,
                bytes: sum.bytes + row.size,
            })
    }
}

impl<B: Backend> Store<B> {
    /// Determines the uses of every artifact at the end of `history`.
    pub(super) async fn classify(
        &self,
        history: &History,
        known: &mut Known,
        keep: &Retention,
        outside: &ExternalUses,
        now: Timestamp,
    ) -> Result<Survey, StoreError> {
        // Before the files are listed: artifacts are stored before the records that refer to them.
        self.read_outputs(history, known).await?;
        let files: HashSet<String> = self.backend.list(ARTIFACTS).await?.into_iter().collect();
        let recorded = history.recorded();
        let rollouts = self.rollout_uses(history).await?;
        let mut rows: Vec<SurveyRow> = recorded.iter().map(|one| row(one, known, &files)).collect();
        let sharers = sharers(&rows);
        mark_unfinished(&mut rows, &sharers, &files);
        for (row, one) in rows.iter_mut().zip(recorded) {
            add_recorded_holds(row, one, history, known, keep, now);
            let clusters = rollouts.get(&row.manifest).into_iter().flatten();
            let clusters = clusters.map(|name| Hold::Rollout {
                cluster: name.clone(),
            });
            let pins = outside.pins_of(&row.manifest);
            let pins = pins.map(|pin| Hold::Pin { pin: pin.clone() });
            let openers = row.files.iter().flat_map(|file| outside.openers_of(file));
            let nodes = outside.nodes_of(&row.manifest).chain(openers);
            let nodes = nodes.map(|by| Hold::InUse { by: by.clone() });
            let holds: Vec<Hold> = clusters.chain(pins).chain(nodes).collect();
            holds.into_iter().for_each(|hold| row.add_hold(hold));
        }
        let (lines, unmatched) = outside.match_lines(&names(&rows, recorded, known));
        for (at, by) in lines {
            rows[at].add_hold(Hold::InUse { by });
        }
        self.hold_newest_tested(history, &mut rows, now).await?;
        propagate_holds(&mut rows, recorded, &sharers);
        Ok(Survey {
            head: history.head(),
            rows,
            unmatched,
        })
    }

    /// Keeps the newest of each image that passed its test, is not revoked, and is in the store.
    async fn hold_newest_tested(
        &self,
        history: &History,
        rows: &mut [SurveyRow],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut found: HashMap<&str, String> = HashMap::new();
        for (row, one) in rows.iter_mut().zip(history.recorded()).rev() {
            let image = one.put.image.as_str();
            row.why = match (one.state(), found.get(image)) {
                (TestState::Tested, Some(newest)) => format!("{newest} is newer and tested"),
                (TestState::Failed, _) => "it had failed its test".to_owned(),
                (TestState::Untested, _) => "it was never tested".to_owned(),
                (state, _) => state.to_string(),
            };
            if found.contains_key(image)
                || one.state() != TestState::Tested
                || row.state != Presence::Present
            {
                continue;
            }
            let status = self
                .revocation_status(history, &one.put.manifest, now)
                .await?;
            match status.revoked.first() {
                Some(revocation) => row.why = format!("it was revoked by entry {}", revocation.seq),
                None => {
                    found.insert(image, row.name.clone());
                    row.add_hold(Hold::NewestTested);
                }
            }
        }
        Ok(())
    }
}

fn row(one: &RecordedManifest, known: &Known, stored: &HashSet<String>) -> SurveyRow {
    let put = &one.put;
    let files = known.outputs(&put.manifest).files.iter();
    let files: Vec<ArtifactName> = files.map(|(file, _)| file.clone()).collect();
    let complete = files.iter().all(|file| stored.contains(file.as_str()));
    SurveyRow {
        name: put.name(),
        manifest: put.manifest,
        artifact: put.artifact,
        size: put.size,
        recorded_at: one.at,
        state: match (&one.deleted, complete) {
            (Some(_), _) => Presence::Removed,
            (None, true) => Presence::Present,
            (None, false) => Presence::Missing,
        },
        holds: Vec::new(),
        planned: one.planned.last().copied(),
        why: String::new(),
        files,
    }
}

/// Returns the indexes of the rows that have each file.
fn sharers(rows: &[SurveyRow]) -> HashMap<ArtifactName, Vec<usize>> {
    let mut sharers: HashMap<ArtifactName, Vec<usize>> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        for file in &row.files {
            sharers.entry(file.clone()).or_default().push(at);
        }
    }
    sharers
}

/// Marks removals as unfinished if their file exists and no other image needs it.
fn mark_unfinished(
    rows: &mut [SurveyRow],
    sharers: &HashMap<ArtifactName, Vec<usize>>,
    stored: &HashSet<String>,
) {
    for (file, indexes) in sharers {
        let removed = |at: &usize| {
            let state = rows[*at].state;
            matches!(state, Presence::Removed | Presence::Unfinished)
        };
        if stored.contains(file.as_str()) && indexes.iter().all(removed) {
            for at in indexes {
                rows[*at].state = Presence::Unfinished;
            }
        }
    }
}

/// Adds the holds that the log and the manifest imply. A removed artifact has none.
fn add_recorded_holds(
    row: &mut SurveyRow,
    one: &RecordedManifest,
    history: &History,
    known: &Known,
    keep: &Retention,
    now: Timestamp,
) {
    if one.deleted.is_some() {
        return;
    }
    let manifest = row.manifest;
    for hold in history.channel_holds(&manifest, keep.generations) {
        row.add_hold(Hold::Channel {
            channel: format!("{}:{}", hold.image, hold.channel),
            generation: hold.generation,
            present: hold.is_present,
        });
    }
    // The later time counts, in case one of the clocks was slow.
    let born = one.at.max(one.put.created_at).timestamp().as_second();
    let age = i64::try_from(keep.min_age_s).unwrap_or(i64::MAX);
    let until = Timestamp::from_second(born.saturating_add(age)).unwrap_or(Timestamp::MAX);
    if until > now {
        let until = until.into();
        row.add_hold(Hold::Young { until });
    }
    if let Some(target) = &known.outputs(&row.manifest).elsewhere {
        let target = target.clone();
        row.add_hold(Hold::Elsewhere { target });
    }
}

fn names<'a>(
    rows: &'a [SurveyRow],
    recorded: &'a [RecordedManifest],
    known: &'a Known,
) -> Vec<Names<'a>> {
    let names_of = |(row, one): (&'a SurveyRow, &'a RecordedManifest)| {
        let outputs = known.outputs(&row.manifest);
        let files = outputs.files.iter().map(|(_, digest)| digest.hex());
        Names {
            image: &one.put.image,
            name: &row.name,
            ids: &outputs.ids,
            hex: [row.manifest.hex(), row.artifact.hex()]
                .into_iter()
                .chain(files)
                .collect(),
        }
    };
    rows.iter().zip(recorded).map(names_of).collect()
}

/// Adds holds for the base disk of each kept image, and for images that share its file.
fn propagate_holds(
    rows: &mut [SurveyRow],
    recorded: &[RecordedManifest],
    sharers: &HashMap<ArtifactName, Vec<usize>>,
) {
    let mut by_artifact: HashMap<Digest, Vec<usize>> = HashMap::new();
    for (at, one) in recorded.iter().enumerate() {
        by_artifact.entry(one.put.artifact).or_default().push(at);
    }
    let held = |row: &SurveyRow| !row.holds.is_empty();
    let mut next: VecDeque<usize> = (0..rows.len()).filter(|at| held(&rows[*at])).collect();
    while let Some(from) = next.pop_front() {
        let name = rows[from].name.clone();
        let bases = by_artifact.get(&recorded[from].put.base);
        let bases = bases.into_iter().flatten();
        let bases = bases.map(|at| (*at, Hold::BaseOf { name: name.clone() }));
        let same = rows[from].files.iter().filter_map(|file| sharers.get(file));
        let same = same.flatten();
        let same = same.map(|at| (*at, Hold::SharedWith { name: name.clone() }));
        let holds: Vec<(usize, Hold)> = bases.chain(same).collect();
        for (at, hold) in holds {
            // Removed artifacts need no hold. A shared file counts if nothing else keeps it.
            let needless = at == from || rows[at].state == Presence::Removed;
            let new = !held(&rows[at]);
            if needless || (!new && matches!(hold, Hold::SharedWith { .. })) {
                continue;
            }
            rows[at].add_hold(hold);
            if new {
                next.push_back(at);
            }
        }
    }
}
