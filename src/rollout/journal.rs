//! The journal of a rollout on this computer: what was begun, what was reached, and the figures.
//! An entry is on disk before its effect. A new controller reads it for figures and evidence;
//! what is true of the cluster it observes again.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::operations::Figures;
use crate::digest::Digest;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The time.
    pub at: Timestamp,
    /// The epoch of the controller.
    pub epoch: u64,
    /// The plan.
    pub plan: Digest,
    /// The position of the step in the plan, from 0.
    pub step: usize,
    /// The step in words.
    pub text: String,
    /// What happened.
    #[serde(flatten)]
    pub mark: Mark,
}

/// What happened to a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mark", rename_all = "kebab-case")]
pub enum Mark {
    /// A controller began to work on the plan. The step has no meaning.
    Started,
    /// A controller ended its work. The step has no meaning.
    Measured {
        /// What the canary measured since the controller began.
        figures: Figures,
        /// The time since then, in milliseconds.
        elapsed_ms: u64,
    },
    /// Its effect follows.
    Intent,
    /// Its gate was reached.
    Done(StepResult),
    /// It was not needed: the cluster was there already.
    Skipped,
    /// Its effect failed, or its gate was not reached.
    Failed(StepResult),
    /// The undo of its effect follows.
    UndoIntent,
    /// Its effect was undone.
    Undone,
    /// The controller rests before it.
    Resting {
        /// The reason.
        why: String,
    },
}

/// The evidence and the figures of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    /// The time from the intent to the gate, in milliseconds.
    pub elapsed_ms: u64,
    /// Whether a node ended in another way than in order.
    #[serde(default)]
    pub is_unclean: bool,
    /// The snapshot of Consul's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// What clients felt.
    pub figures: Figures,
    /// Remarks for people, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A snapshot of Consul's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The digest of the file.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
}

/// A receiver of entries.
pub trait Journal {
    /// Writes an entry durably, before it returns.
    fn write(&mut self, entry: &Entry) -> Result<(), JournalError>;
}

/// A journal that cannot be read or written. The rollout stops before the next effect.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be used.
    #[error("cannot use the journal {}: {error}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
}

/// What a journal says.
#[derive(Debug, Default)]
pub struct Entries {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The lines that are no entries, one sentence each. Only figures and evidence are lost: what
    /// is true of the cluster is observed.
    pub damaged: Vec<String>,
}

/// A journal in a file: one JSON object a line.
pub struct JournalFile {
    path: PathBuf,
    file: File,
}

impl JournalFile {
    /// Opens a journal, or makes it, and reads its entries.
    ///
    /// A last line without an end was cut off by a crash. It is removed, and named once.
    pub fn open(path: &Path) -> Result<(Self, Entries), JournalError> {
        let failed = |error| JournalError::File {
            path: path.to_owned(),
            error,
        };
        let mut options = OpenOptions::new();
        let file = options.create(true).read(true).append(true).open(path);
        let file = file.map_err(failed)?;
        let (mut entries, length) = read_entries(path, &file)?;
        if file.metadata().map_err(failed)?.len() > length {
            entries.damaged.push(format!(
                "the last line of the journal {} was cut off by a crash, and is removed",
                path.display()
            ));
            file.set_len(length).map_err(failed)?;
        }
        let journal = Self {
            path: path.to_owned(),
            file,
        };
        Ok((journal, entries))
    }

    /// Reads the entries of a journal that a controller may be writing.
    pub fn read(path: &Path) -> Result<Entries, JournalError> {
        let file = File::open(path).map_err(|error| JournalError::File {
            path: path.to_owned(),
            error,
        })?;
        Ok(read_entries(path, &file)?.0)
    }
}

/// Returns the entries of complete lines, and the length of these lines in bytes.
fn read_entries(path: &Path, file: &File) -> Result<(Entries, u64), JournalError> {
    let (mut found, mut length) = (Entries::default(), 0);
    let mut lines = BufReader::new(file);
    for line in 1.. {
        let mut text = Vec::new();
        let size = lines.read_until(b'\n', &mut text);
        let size = size.map_err(|error| JournalError::File {
            path: path.to_owned(),
            error,
        })?;
        if size == 0 || !text.ends_with(b"\n") {
            break;
        }
        length += u64::try_from(size).unwrap_or_default();
        match serde_json::from_slice(&text) {
            Ok(entry) => found.entries.push(entry),
            Err(error) => found.damaged.push(format!(
                "line {line} of the journal {} is damaged: {error}",
                path.display()
            )),
        }
    }
    Ok((found, length))
}

impl Journal for JournalFile {
    fn write(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(entry).expect("an entry is JSON");
        line.push(b'\n');
        let written = self.file.write_all(&line);
        let written = written.and_then(|()| self.file.sync_data());
        written.map_err(|error| JournalError::File {
            path: self.path.clone(),
            error,
        })
    }
}

impl Journal for Vec<Entry> {
    fn write(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.push(entry.clone());
        Ok(())
    }
}
