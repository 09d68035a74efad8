//! The fate of every artifact, and all that holds it.
//!
//! In: the log up to some entry, what manifests say, which files are there, what holds from outside. Out: one row a recorded
//! image. Pure but for the revocations of the newest images, which may ask manifests. What is held holds in turn: the disk
//! that it was made from, and whoever else has the same file.

use std::collections::{HashMap, HashSet, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

use super::ExternalUses;
use super::known::Known;
use super::outside::Names;
use crate::digest::Digest;
use crate::manifest::Moment;
use crate::store::backend::{ARTIFACTS, ArtifactName, Backend};
use crate::store::event::Keep;
use crate::store::history::{History, Recorded};
use crate::store::{Store, StoreError, TestState};

/// All artifacts, in the order of recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// The last entry of the log that was looked at.
    pub head: u64,
    /// One for each recorded image.
    pub rows: Vec<Row>,
    /// Lines of lists of use that mean no image of this store.
    pub unmatched: Vec<String>,
}

/// One artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `image@version`.
    pub name: String,
    /// The manifest that it belongs to.
    pub manifest: Digest,
    /// Of its file.
    pub artifact: Digest,
    /// Of its file, in bytes.
    pub size: u64,
    /// When it was recorded.
    pub recorded_at: Moment,
    /// Whether it is there.
    pub state: Presence,
    /// What holds it.
    pub holds: Vec<Hold>,
    /// The last entry that planned to remove it.
    pub planned: Option<u64>,
    /// What there is to say where nothing holds it.
    #[serde(skip)]
    pub(super) why: String,
    /// Its files in the store.
    #[serde(skip)]
    pub(super) files: Vec<ArtifactName>,
}

/// Whether an artifact is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// It is.
    Present,
    /// It should be, and is not.
    Missing,
    /// The log says that it was removed, and its bytes are still there, for nobody.
    Unfinished,
    /// The log says that it was removed.
    Removed,
}

/// What holds an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Hold {
    /// A channel has it among its last generations.
    Channel {
        /// `image:channel`.
        channel: String,
        /// The newest generation that held it.
        generation: u64,
        /// Whether that is the present one.
        present: bool,
    },
    /// A pin.
    Pin {
        /// Its name, and its file's.
        pin: String,
    },
    /// A running node, by a line of a list or as a process of this machine.
    InUse {
        /// Who says so.
        by: String,
    },
    /// It is the newest of its image that was tested and is not revoked.
    NewestTested,
    /// It was recorded a short time ago.
    Young {
        /// How long it stays.
        until: Moment,
    },
    /// An image that is held was made from it.
    BaseOf {
        /// That image.
        name: String,
    },
    /// An image that is held has the same file.
    SharedWith {
        /// That image.
        name: String,
    },
    /// It is not in the store, where alone anything is removed.
    Elsewhere {
        /// Its target.
        target: String,
    },
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Channel {
                channel,
                generation,
                present: true,
            } => write!(f, "channel {channel} (generation {generation})"),
            Self::Channel {
                channel,
                generation,
                present: false,
            } => write!(f, "channel {channel} held it (generation {generation})"),
            Self::Pin { pin } => write!(f, "pin {pin}"),
            Self::InUse { by } => write!(f, "in use: {by}"),
            Self::NewestTested => f.write_str("newest tested"),
            Self::Young { until } => write!(f, "young until {until}"),
            Self::BaseOf { name } => write!(f, "base of {name}"),
            Self::SharedWith { name } => write!(f, "same file as {name}"),
            Self::Elsewhere { target } => write!(f, "kept at {target}, not in the store"),
        }
    }
}

/// How many artifacts, and their bytes. A file that several images share counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// How many.
    pub artifacts: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Row {
    /// Whether it may be planned to go.
    pub fn goes(&self) -> bool {
        self.state == Presence::Present && self.holds.is_empty()
    }

    fn hold(&mut self, hold: Hold) {
        if !self.holds.contains(&hold) {
            self.holds.push(hold);
        }
    }
}

impl Survey {
    /// The row of a manifest.
    pub fn row(&self, manifest: &Digest) -> Option<&Row> {
        self.rows.iter().find(|row| row.manifest == *manifest)
    }

    /// Of the rows that `wanted` says.
    pub fn sum(&self, wanted: impl Fn(&Row) -> bool) -> Sum {
        let mut seen = HashSet::new();
        let rows = self.rows.iter().filter(|row| wanted(row));
        rows.filter(|row| seen.insert(row.artifact))
            .fold(Sum::default(), |sum, row| Sum {
                artifacts: sum.artifacts + 1,
                bytes: sum.bytes + row.size,
            })
    }
}

impl<B: Backend> Store<B> {
    /// Judges every artifact at the end of `history`.
    pub(super) async fn classify(
        &self,
        history: &History,
        known: &mut Known,
        keep: &Keep,
        outside: &ExternalUses,
        now: Timestamp,
    ) -> Result<Survey, StoreError> {
        // Before the list of files: artifacts are there before the records that name them.
        self.learn(history, known).await?;
        let there: HashSet<String> = self.backend.list(ARTIFACTS).await?.into_iter().collect();
        let recorded = history.recorded();
        let mut rows: Vec<Row> = recorded.iter().map(|one| row(one, known, &there)).collect();
        let sharers = sharers(&rows);
        see_removed(&mut rows, &sharers, &there);
        for (row, one) in rows.iter_mut().zip(recorded) {
            hold_by_itself(row, one, history, known, keep, now);
            let pins = outside.pins_of(&row.manifest);
            let pins = pins.map(|pin| Hold::Pin { pin: pin.clone() });
            let openers = row.files.iter().flat_map(|file| outside.openers_of(file));
            let openers = openers.map(|by| Hold::InUse { by: by.clone() });
            let holds: Vec<Hold> = pins.chain(openers).collect();
            holds.into_iter().for_each(|hold| row.hold(hold));
        }
        let (lines, unmatched) = outside.lines_about(&names(&rows, recorded, known));
        for (at, by) in lines {
            rows[at].hold(Hold::InUse { by });
        }
        self.hold_newest_tested(history, &mut rows, now).await?;
        propagate_holds(&mut rows, recorded, &sharers);
        Ok(Survey {
            head: history.head(),
            rows,
            unmatched,
        })
    }

    /// The newest of each image that was tested, is not revoked, and is there.
    async fn hold_newest_tested(
        &self,
        history: &History,
        rows: &mut [Row],
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
            let standing = self
                .revocation_status(history, &one.put.manifest, now)
                .await?;
            match standing.revoked.first() {
                Some(revocation) => row.why = format!("it was revoked by entry {}", revocation.seq),
                None => {
                    found.insert(image, row.name.clone());
                    row.hold(Hold::NewestTested);
                }
            }
        }
        Ok(())
    }
}

fn row(one: &Recorded, known: &Known, there: &HashSet<String>) -> Row {
    let put = &one.put;
    let files = known.of(&put.manifest).files.iter();
    let files: Vec<ArtifactName> = files.map(|(file, _)| file.clone()).collect();
    let whole = files.iter().all(|file| there.contains(file.as_str()));
    Row {
        name: put.name(),
        manifest: put.manifest,
        artifact: put.artifact,
        size: put.size,
        recorded_at: one.at,
        state: match (&one.deleted, whole) {
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

/// The places of the images that have a file.
fn sharers(rows: &[Row]) -> HashMap<ArtifactName, Vec<usize>> {
    let mut sharers: HashMap<ArtifactName, Vec<usize>> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        for file in &row.files {
            sharers.entry(file.clone()).or_default().push(at);
        }
    }
    sharers
}

/// A removal is unfinished where a file is there that no image needs any more.
fn see_removed(
    rows: &mut [Row],
    sharers: &HashMap<ArtifactName, Vec<usize>>,
    there: &HashSet<String>,
) {
    for (file, places) in sharers {
        let removed = |at: &usize| {
            let state = rows[*at].state;
            matches!(state, Presence::Removed | Presence::Unfinished)
        };
        if there.contains(file.as_str()) && places.iter().all(removed) {
            for at in places {
                rows[*at].state = Presence::Unfinished;
            }
        }
    }
}

/// What the log and the manifest themselves say. An image whose artifact was removed is held by none of that.
fn hold_by_itself(
    row: &mut Row,
    one: &Recorded,
    history: &History,
    known: &Known,
    keep: &Keep,
    now: Timestamp,
) {
    if one.deleted.is_some() {
        return;
    }
    let manifest = row.manifest;
    for (image, channel, generation, present) in history.kept(&manifest, keep.generations) {
        row.hold(Hold::Channel {
            channel: format!("{image}:{channel}"),
            generation,
            present,
        });
    }
    // Whichever clock was ahead.
    let born = one.at.max(one.put.created_at).timestamp().as_second();
    let age = i64::try_from(keep.min_age_s).unwrap_or(i64::MAX);
    let until = Timestamp::from_second(born.saturating_add(age)).unwrap_or(Timestamp::MAX);
    if until > now {
        row.hold(Hold::Young {
            until: until.into(),
        });
    }
    if let Some(target) = &known.of(&row.manifest).elsewhere {
        let target = target.clone();
        row.hold(Hold::Elsewhere { target });
    }
}

fn names<'a>(rows: &'a [Row], recorded: &'a [Recorded], known: &'a Known) -> Vec<Names<'a>> {
    let of = |(row, one): (&'a Row, &'a Recorded)| {
        let outputs = known.of(&row.manifest);
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
    rows.iter().zip(recorded).map(of).collect()
}

/// What is held holds what it was made from, and whoever has the same file.
fn propagate_holds(
    rows: &mut [Row],
    recorded: &[Recorded],
    sharers: &HashMap<ArtifactName, Vec<usize>>,
) {
    let mut by_artifact: HashMap<Digest, Vec<usize>> = HashMap::new();
    for (at, one) in recorded.iter().enumerate() {
        by_artifact.entry(one.put.artifact).or_default().push(at);
    }
    let held = |row: &Row| !row.holds.is_empty();
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
            // What is gone needs nothing, and that two share a file is said where nothing else holds it.
            let idle = at == from || rows[at].state == Presence::Removed;
            let new = !held(&rows[at]);
            if idle || (!new && matches!(hold, Hold::SharedWith { .. })) {
                continue;
            }
            rows[at].hold(hold);
            if new {
                next.push_back(at);
            }
        }
    }
}
