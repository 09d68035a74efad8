//! Undo before create: every run keeps a journal of what it is about to make, and removes it at its end, whatever
//! happened. [`sweep`] does the same for runs that were killed.
//!
//! In: an [`Undo`] before each creation. Out: what could not be removed. A run holds a lock on its journal as long
//! as it lives, so a journal that can be locked belongs to a dead run. Deliberately removes nothing that a
//! journal does not name.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::event::{Event, Events};
use crate::process::{all_processes, members};
use crate::wait::{Interrupt, Seen, Urgency, Wait, WaitError};

/// How to undo one creation. Every kind is idempotent: undoing what is not there succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Undo {
    /// End every process that has `marker` as a whole argument on its command line, with its process group where it
    /// leads one, as all children of [`crate::process`] do.
    Process {
        /// An argument that only this process has: it contains the run's id.
        marker: String,
    },
    /// Delete a file.
    File {
        /// Which.
        path: PathBuf,
    },
    /// Delete a folder and all in it.
    Folder {
        /// Which.
        path: PathBuf,
    },
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { marker } => write!(f, "process {marker}"),
            Self::File { path } => write!(f, "file {}", path.display()),
            Self::Folder { path } => write!(f, "folder {}", path.display()),
        }
    }
}

/// Something that is still there and could not be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// What.
    pub what: String,
    /// Why it could not be removed.
    pub why: String,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.why)
    }
}

/// A journal that could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("journal {}: {error}", path.display())]
pub struct JournalError {
    path: PathBuf,
    error: io::Error,
}

/// The undo stack of one run, kept in a journal on disk and in a work folder of the run's own.
pub struct Teardown {
    journal_path: PathBuf,
    journal: File,
    work: PathBuf,
    undos: Vec<Undo>,
}

impl Teardown {
    /// Opens the journal `<runs>/<run>.journal` and makes the work folder `<runs>/<run>/`, readable by us alone.
    pub fn begin(runs: &Path, run: &str) -> Result<Self, JournalError> {
        let journal_path = runs.join(format!("{run}.{JOURNAL}"));
        let keep = |error| JournalError {
            path: journal_path.clone(),
            error,
        };
        fs::create_dir_all(runs).map_err(keep)?;
        // While the gate is held shared no sweep can look at the journal before it is locked.
        let gate = gate(runs).map_err(keep)?;
        gate.lock_shared().map_err(keep)?;
        let journal = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&journal_path)
            .map_err(keep)?;
        journal.lock().map_err(keep)?;
        File::open(runs)
            .and_then(|folder| folder.sync_all())
            .map_err(keep)?;
        drop(gate);
        let work = runs.join(run);
        let mut teardown = Self {
            journal_path: journal_path.clone(),
            journal,
            work: work.clone(),
            undos: Vec::new(),
        };
        teardown.register(Undo::Folder { path: work.clone() })?;
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&work)
            .map_err(keep)?;
        Ok(teardown)
    }

    /// The run's own folder: all in it goes when the run ends.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Notes, durably, how to undo what the caller creates next.
    pub fn register(&mut self, undo: Undo) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(&undo).expect("an undo is JSON");
        line.push(b'\n');
        self.journal
            .write_all(&line)
            .and_then(|()| self.journal.sync_data())
            .map_err(|error| JournalError {
                path: self.journal_path.clone(),
                error,
            })?;
        self.undos.push(undo);
        Ok(())
    }

    /// Undoes everything, last first, goes on after a failure, and returns what is still there. Where `interrupt`
    /// says to leave now, removal is started but not waited for.
    pub async fn finish(self, events: &Events, interrupt: &Interrupt) -> Vec<Leak> {
        let leaks = undo_all(&self.undos, events, interrupt).await;
        if leaks.is_empty() {
            // A journal without anything left to undo is removed by the next sweep where this fails.
            let _ = fs::remove_file(&self.journal_path);
        }
        leaks
    }

    /// Leaves everything as it is, for somebody to look at; a later [`sweep`] removes it.
    pub fn abandon(self) -> PathBuf {
        self.work
    }
}

/// What a sweep found of one dead run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// The run's id.
    pub run: String,
    /// What its journal names, last first.
    pub undos: Vec<Undo>,
    /// What is still there.
    pub leaks: Vec<Leak>,
}

/// Removes what dead runs left under `runs`. With `dry_run` only says what it would remove.
pub async fn sweep(
    runs: &Path,
    dry_run: bool,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Vec<Swept>, JournalError> {
    let keep = |error| JournalError {
        path: runs.to_owned(),
        error,
    };
    if !runs.is_dir() {
        return Ok(Vec::new());
    }
    let gate = gate(runs).map_err(keep)?;
    gate.lock().map_err(keep)?;
    let mut journals: Vec<PathBuf> = fs::read_dir(runs)
        .map_err(keep)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    journals.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == JOURNAL)
    });
    journals.sort();
    let mut swept = Vec::new();
    for path in journals {
        let file = File::open(&path).map_err(keep)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(JournalError { path, error }),
        }
        let mut undos = read_journal(&path)?;
        let leaks = if dry_run {
            Vec::new()
        } else {
            undo_all(&undos, events, interrupt).await
        };
        if !dry_run && leaks.is_empty() {
            fs::remove_file(&path).map_err(|error| JournalError {
                path: path.clone(),
                error,
            })?;
        }
        undos.reverse();
        let run = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        swept.push(Swept { run, undos, leaks });
    }
    Ok(swept)
}

const JOURNAL: &str = "journal";

/// Held shared while a run's journal is made, and alone while a sweep runs.
fn gate(runs: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(runs.join(".gate"))
}

/// The undos of a journal. A last line without its end was never acted upon, so it is passed over.
fn read_journal(path: &Path) -> Result<Vec<Undo>, JournalError> {
    let keep = |error| JournalError {
        path: path.to_owned(),
        error,
    };
    let text = fs::read_to_string(path).map_err(keep)?;
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        .map(|line| serde_json::from_str(line).map_err(|error| keep(io::Error::other(error))))
        .collect()
}

async fn undo_all(undos: &[Undo], events: &Events, interrupt: &Interrupt) -> Vec<Leak> {
    let mut leaks = Vec::new();
    for undo in undos.iter().rev() {
        match undo_one(undo, events, interrupt).await {
            Ok(true) => events.emit(&Event::Removed {
                what: undo.to_string(),
            }),
            Ok(false) => {}
            Err(why) => {
                let leak = Leak {
                    what: undo.to_string(),
                    why,
                };
                events.emit(&Event::Leaked {
                    what: leak.to_string(),
                });
                leaks.push(leak);
            }
        }
    }
    leaks
}

/// Whether there was something to undo, or why it could not be undone.
async fn undo_one(undo: &Undo, events: &Events, interrupt: &Interrupt) -> Result<bool, String> {
    let removed = match undo {
        Undo::Process { marker } => return end_processes(marker, events, interrupt).await,
        Undo::File { path } => fs::remove_file(path),
        Undo::Folder { path } => fs::remove_dir_all(path),
    };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

async fn end_processes(
    marker: &str,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<bool, String> {
    let marked = marked_processes(marker);
    let mut groups = Vec::new();
    for pid in &marked {
        // It may have ended between the look and the signal.
        let _ = match rustix::process::getpgid(Some(*pid)) {
            Ok(group) if group == *pid => {
                groups.push(group);
                rustix::process::kill_process_group(group, Signal::KILL)
            }
            _ => rustix::process::kill_process(*pid, Signal::KILL),
        };
    }
    if marked.is_empty() || interrupt.urgency() == Urgency::LeaveNow {
        return Ok(!marked.is_empty());
    }
    let left = || {
        let of_groups = groups.iter().flat_map(|group| members(*group));
        marked_processes(marker).len() + of_groups.count()
    };
    // The teardown itself may run because of an interrupt, so this short wait does not listen to one.
    let gone = Wait::new(format!("the end of process {marker}"), PROCESS_END)
        .until(events, &Interrupt::default(), || async {
            match left() {
                0 => Seen::Ready(()),
                left => Seen::<(), std::convert::Infallible>::NotYet(format!("{left} left")),
            }
        })
        .await;
    gone.map(|()| true)
        .map_err(|error: WaitError<_>| error.to_string())
}

/// How long a killed process may take to be gone.
const PROCESS_END: Duration = Duration::from_secs(10);

/// The processes that have `marker` as a whole argument. Zombies have no command line and so do not count.
fn marked_processes(marker: &str) -> Vec<Pid> {
    let own = rustix::process::getpid();
    let is_marked = |pid: &Pid| {
        let command_line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
        let command_line = command_line.unwrap_or_default();
        let mut arguments = command_line.split(|byte| *byte == 0);
        *pid != own && arguments.any(|argument| argument == marker.as_bytes())
    };
    all_processes().filter(is_marked).collect()
}
