//! Undo before create: every run keeps a journal of what it is about to make, and removes it at its end, whatever
//! happened. [`sweep`] does the same for runs that were killed.
//!
//! In: an [`Undo`] before each creation. Out: what could not be removed. A run holds a lock on its journal as long
//! as it lives, so a journal that can be locked belongs to a dead run. Deliberately removes nothing that a
//! journal does not name.

mod processes;

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Event, Events};
use crate::wait::{Interrupt, Urgency};

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
    /// Delete a resource of a cloud, and all that is below it, where its tag says that it is this run's.
    Cloud {
        /// Its resource id.
        id: String,
        /// The API version that deletes it.
        api: String,
        /// The run whose tag it has to have; absent where the kind has no tags and what it stands below has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<String>,
    },
}

/// Who deletes resources of a cloud.
pub trait Cloud: Send + Sync {
    /// Deletes the resource `id`, where it has the tag of `run`. Whether there was something to delete, or why it could
    /// not be deleted. With `wait` false it is started and not waited for.
    fn remove<'a>(
        &'a self,
        undo: (&'a str, &'a str, Option<&'a str>),
        wait: bool,
        events: &'a Events,
    ) -> Pin<Box<dyn Future<Output = Result<bool, String>> + Send + 'a>>;
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { marker } => write!(f, "process {marker}"),
            Self::File { path } => write!(f, "file {}", path.display()),
            Self::Folder { path } => write!(f, "folder {}", path.display()),
            Self::Cloud { id, .. } => write!(f, "resource {id}"),
        }
    }
}

/// Something that is still there and could not be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// What.
    pub what: String,
    /// Why it could not be removed.
    pub why: String,
}

impl fmt::Display for Leftover {
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

impl JournalError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

/// The undo stack of one run, kept in a journal on disk and in a work folder of the run's own.
pub struct Teardown {
    journal_path: PathBuf,
    journal: File,
    work: PathBuf,
    undos: Vec<Undo>,
    cloud: Option<Arc<dyn Cloud>>,
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
            cloud: None,
        };
        teardown.register(Undo::Folder { path: work.clone() })?;
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&work)
            .map_err(keep)?;
        Ok(teardown)
    }

    /// The run's id.
    pub fn run(&self) -> String {
        let name = self.work.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The run's own folder: all in it goes when the run ends.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Has resources of a cloud deleted by `cloud`.
    pub fn set_cloud_cleaner(&mut self, cloud: Option<Arc<dyn Cloud>>) {
        self.cloud = cloud;
    }

    /// Notes, durably, how to undo what the caller creates next.
    pub fn register(&mut self, undo: Undo) -> Result<(), JournalError> {
        self.write(&Line::Undo(undo.clone()))?;
        self.undos.push(undo);
        Ok(())
    }

    /// Notes, durably, that the resources `ids` of a cloud stay. Returns what undid them.
    pub fn release(&mut self, ids: &[&str]) -> Result<Vec<Undo>, JournalError> {
        let stays = |undo: &Undo| match undo {
            Undo::Cloud { id, .. } => ids.contains(&id.as_str()),
            _ => false,
        };
        let released: Vec<Undo> = self
            .undos
            .iter()
            .filter(|one| stays(one))
            .cloned()
            .collect();
        for undo in &released {
            let release = undo.clone();
            self.write(&Line::Release { release })?;
        }
        self.undos.retain(|undo| !stays(undo));
        Ok(released)
    }

    fn write(&mut self, line: &Line) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(line).expect("a line is JSON");
        line.push(b'\n');
        self.journal
            .write_all(&line)
            .and_then(|()| self.journal.sync_data())
            .map_err(|error| JournalError {
                path: self.journal_path.clone(),
                error,
            })
    }

    /// Undoes everything, last first, goes on after a failure, and returns what is still there. Where `interrupt`
    /// says to leave now, removal is started but not waited for.
    pub async fn finish(self, events: &Events, interrupt: &Interrupt) -> Vec<Leftover> {
        let cloud = self.cloud.as_deref();
        let leaks = undo_all(&self.undos, cloud, events, interrupt).await;
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
    pub leaks: Vec<Leftover>,
}

/// Removes what dead runs left under `runs`. With `dry_run` only says what it would remove.
pub async fn sweep(
    runs: &Path,
    dry_run: bool,
    cloud: Option<&dyn Cloud>,
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
            undo_all(&undos, cloud, events, interrupt).await
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
    let lines = text.split_inclusive('\n');
    let mut undos = Vec::new();
    for line in lines.filter_map(|line| line.strip_suffix('\n')) {
        match serde_json::from_str(line).map_err(|error| keep(io::Error::other(error)))? {
            Line::Undo(undo) => undos.push(undo),
            Line::Release { release } => undos.retain(|one| *one != release),
        }
    }
    Ok(undos)
}

/// A line of a journal.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Undo(Undo),
    Release { release: Undo },
}

async fn undo_all(
    undos: &[Undo],
    cloud: Option<&dyn Cloud>,
    events: &Events,
    interrupt: &Interrupt,
) -> Vec<Leftover> {
    let mut leaks = Vec::new();
    // What is in a group of ours goes with the group.
    let goes_with = |undo: &Undo| match undo {
        Undo::Cloud { id, .. } => undos.iter().any(|other| match other {
            Undo::Cloud { id: above, .. } => is_below(id, above),
            _ => false,
        }),
        _ => false,
    };
    for undo in undos.iter().rev().filter(|undo| !goes_with(undo)) {
        match undo_one(undo, cloud, events, interrupt).await {
            Ok(true) => events.emit(&Event::Removed {
                what: undo.to_string(),
            }),
            Ok(false) => {}
            Err(why) => {
                let leak = Leftover {
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
async fn undo_one(
    undo: &Undo,
    cloud: Option<&dyn Cloud>,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<bool, String> {
    let removed = match undo {
        Undo::Cloud { id, api, run } => {
            let cloud = cloud.ok_or("nobody is logged in to the cloud that it is in")?;
            let undo = (id.as_str(), api.as_str(), run.as_deref());
            return tokio::select! {
                removed = cloud.remove(undo, true, events) => removed,
                // Removal is then started, and not waited for.
                () = interrupt.raised(Urgency::LeaveNow) => cloud.remove(undo, false, events).await,
            };
        }
        Undo::Process { marker } => return processes::end(marker, events, interrupt).await,
        Undo::File { path } => fs::remove_file(path),
        Undo::Folder { path } => fs::remove_dir_all(path),
    };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether the resource `id` goes when `above` goes. Ids are compared without regard to case.
fn is_below(id: &str, above: &str) -> bool {
    let (id, above) = (id.to_ascii_lowercase(), above.to_ascii_lowercase());
    id.strip_prefix(&above)
        .is_some_and(|rest| rest.starts_with('/'))
}
