//! Journals each resource of a run before its creation, and removes all of them at the end.
//! Takes an [`Undo`] before each creation, and returns the leftovers.
//! [`sweep`] does the same for killed runs: a running run locks its journal.

mod journal;
pub(crate) mod processes;

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::journal::Line;
use crate::event::{Event, Events};
use crate::wait::{Interrupt, Urgency};

/// The removal of one resource. It is idempotent: a missing resource is not an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Undo {
    /// Ends every process that has `marker` as a whole argument.
    /// If the process leads a process group, as children of [`crate::process`] do, the group ends.
    Process {
        /// An argument that only this process has. It contains the run's id.
        marker: String,
    },
    /// Deletes a file.
    File {
        /// The path of the file.
        path: PathBuf,
    },
    /// Deletes a folder with its content.
    Folder {
        /// The path of the folder.
        path: PathBuf,
    },
    /// Deletes a cloud resource with its child resources, if it has the tag of the run.
    Cloud {
        /// The resource id.
        id: String,
        /// The API version for the deletion.
        api: String,
        /// The run in the tag of the resource.
        /// Absent if this kind of resource has no tags; its parent has the tag then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<String>,
    },
}

/// A client that deletes cloud resources.
pub trait Cloud: Send + Sync {
    /// Deletes a cloud resource, given as id, API version and run, if it has the tag of the run.
    ///
    /// Returns whether the resource existed, or the reason why it cannot be deleted.
    /// If `wait` is false, starts the deletion and does not wait for it.
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

/// A resource that could not be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The kind and name of the resource, as in `file /path`.
    pub what: String,
    /// The reason why it could not be removed.
    pub why: String,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.why)
    }
}

/// A journal that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot access the journal {}: {error}", path.display())]
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

/// The journal and the work folder of one run.
pub struct Teardown {
    journal_path: PathBuf,
    journal: File,
    work: PathBuf,
    undos: Vec<Undo>,
    cloud: Option<Arc<dyn Cloud>>,
}

impl Teardown {
    /// Creates the journal `<runs>/<run>.journal`, and the work folder `<runs>/<run>/`, mode 0700.
    pub fn begin(runs: &Path, run: &str) -> Result<Self, JournalError> {
        let journal_path = runs.join(format!("{run}.{JOURNAL}"));
        let journal_error = |error| JournalError {
            path: journal_path.clone(),
            error,
        };
        fs::create_dir_all(runs).map_err(journal_error)?;
        // The shared lock prevents a sweep from reading the journal before it is locked.
        let sweep_lock = open_sweep_lock(runs).map_err(journal_error)?;
        sweep_lock.lock_shared().map_err(journal_error)?;
        let journal = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&journal_path)
            .map_err(journal_error)?;
        journal.lock().map_err(journal_error)?;
        File::open(runs)
            .and_then(|folder| folder.sync_all())
            .map_err(journal_error)?;
        drop(sweep_lock);
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
            .map_err(journal_error)?;
        Ok(teardown)
    }

    /// Returns the run's id.
    pub fn run(&self) -> String {
        let name = self.work.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Returns the run's work folder, which is deleted at the end of the run.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Sets the client that deletes cloud resources.
    pub(crate) fn set_cloud_cleaner(&mut self, cloud: Option<Arc<dyn Cloud>>) {
        self.cloud = cloud;
    }

    /// Writes the removal of a resource to the journal, and flushes it to disk.
    /// The caller then creates the resource.
    pub fn register(&mut self, undo: Undo) -> Result<(), JournalError> {
        self.write(&Line::Undo(undo.clone()))?;
        self.undos.push(undo);
        Ok(())
    }

    /// Writes to the journal that the cloud resources `ids` stay, and flushes it to disk.
    /// Returns their entries.
    pub fn release(&mut self, ids: &[&str]) -> Result<Vec<Undo>, JournalError> {
        let is_released = |undo: &Undo| match undo {
            Undo::Cloud { id, .. } => ids.contains(&id.as_str()),
            _ => false,
        };
        let released: Vec<Undo> = self
            .undos
            .iter()
            .filter(|undo| is_released(undo))
            .cloned()
            .collect();
        for undo in &released {
            let release = undo.clone();
            self.write(&Line::Release { release })?;
        }
        self.undos.retain(|undo| !is_released(undo));
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

    /// Removes all resources, last first, and returns the leftovers. Continues after a failure.
    ///
    /// After a second interrupt, starts the removal of cloud resources without waiting for it.
    pub async fn finish(self, events: &Events, interrupt: &Interrupt) -> Vec<Leftover> {
        let cloud = self.cloud.as_deref();
        let leftovers = undo_all(&self.undos, cloud, events, interrupt).await;
        if leftovers.is_empty() {
            // If this fails, the next sweep removes the journal.
            let _ = fs::remove_file(&self.journal_path);
        }
        leftovers
    }

    /// Keeps all resources, so that the user can inspect them. A later [`sweep`] removes them.
    pub fn abandon(self) -> PathBuf {
        self.work
    }
}

/// The result of a sweep for one dead run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweptRun {
    /// The run's id.
    pub run: String,
    /// The entries of its journal, last first.
    pub undos: Vec<Undo>,
    /// The resources that could not be removed.
    pub leftovers: Vec<Leftover>,
}

/// Removes the resources of dead runs in the folder `runs`. If `dry_run` is set, only lists them.
pub async fn sweep(
    runs: &Path,
    dry_run: bool,
    cloud: Option<&dyn Cloud>,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Vec<SweptRun>, JournalError> {
    let journal_error = |error| JournalError {
        path: runs.to_owned(),
        error,
    };
    if !runs.is_dir() {
        return Ok(Vec::new());
    }
    let sweep_lock = open_sweep_lock(runs).map_err(journal_error)?;
    sweep_lock.lock().map_err(journal_error)?;
    let mut journals: Vec<PathBuf> = fs::read_dir(runs)
        .map_err(journal_error)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    journals.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == JOURNAL)
    });
    journals.sort();
    let mut swept = Vec::new();
    for path in journals {
        let file = File::open(&path).map_err(journal_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(JournalError { path, error }),
        }
        let mut undos = journal::read(&path)?;
        let leftovers = if dry_run {
            Vec::new()
        } else {
            undo_all(&undos, cloud, events, interrupt).await
        };
        if !dry_run && leftovers.is_empty() {
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
        swept.push(SweptRun {
            run,
            undos,
            leftovers,
        });
    }
    Ok(swept)
}

const JOURNAL: &str = "journal";

/// Opens the lock file that excludes a sweep while a run creates its journal.
/// Runs lock it shared, a sweep locks it exclusively.
fn open_sweep_lock(runs: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(runs.join(".gate"))
}

async fn undo_all(
    undos: &[Undo],
    cloud: Option<&dyn Cloud>,
    events: &Events,
    interrupt: &Interrupt,
) -> Vec<Leftover> {
    let mut leftovers = Vec::new();
    // Azure deletes child resources with their resource group.
    let has_parent = |undo: &Undo| match undo {
        Undo::Cloud { id, .. } => undos.iter().any(|other| match other {
            Undo::Cloud { id: above, .. } => is_below(id, above),
            _ => false,
        }),
        _ => false,
    };
    for undo in undos.iter().rev().filter(|undo| !has_parent(undo)) {
        match undo_one(undo, cloud, events, interrupt).await {
            Ok(true) => events.emit(&Event::Removed {
                resource: undo.to_string(),
            }),
            Ok(false) => {}
            Err(why) => {
                let leftover = Leftover {
                    what: undo.to_string(),
                    why,
                };
                events.emit(&Event::Leftover {
                    resource: leftover.what.clone(),
                    reason: leftover.why.clone(),
                });
                leftovers.push(leftover);
            }
        }
    }
    leftovers
}

/// Removes one resource. Returns whether it existed, or the reason why it cannot be removed.
async fn undo_one(
    undo: &Undo,
    cloud: Option<&dyn Cloud>,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<bool, String> {
    let removed = match undo {
        Undo::Cloud { id, api, run } => {
            let cloud = cloud.ok_or("no Azure credential is configured")?;
            let undo = (id.as_str(), api.as_str(), run.as_deref());
            return tokio::select! {
                removed = cloud.remove(undo, true, events) => removed,
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

/// Whether the resource `id` is a child of `above`. Resource ids are case-insensitive.
fn is_below(id: &str, above: &str) -> bool {
    let (id, above) = (id.to_ascii_lowercase(), above.to_ascii_lowercase());
    id.strip_prefix(&above)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Returns the id of the run from its work folder.
pub(crate) fn run_of(work: &Path) -> String {
    work.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
