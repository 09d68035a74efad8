//! Locks, records and file stamps, shared by the caches of bases, images, layers and VM snapshots.
//! A stamp (size and modification time) shows without hashing whether a file has changed.
//! The caller hashes a file again if its stamp differs.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::builder::BuilderError;
use crate::event::Events;
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// An exclusive lock on a key, released on drop.
pub(super) struct KeyLock {
    _file: File,
}

/// Locks `key` below `folder`, which it creates. Waits, with a note, while another build has the
/// lock.
pub(super) async fn lock(
    folder: &Path,
    key: &str,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<KeyLock, BuilderError> {
    fs::create_dir_all(folder).map_err(BuilderError::file(folder))?;
    let path = folder.join(format!("{key}.lock"));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(BuilderError::file(&path))?;
    let mut is_noted = false;
    let locked = Wait::new("another build that makes the same base", LOCK_DEADLINE)
        .until(events, interrupt, || {
            let poll = match file.try_lock() {
                Ok(()) => Poll::Ready(()),
                Err(TryLockError::WouldBlock) => {
                    if !is_noted {
                        is_noted = true;
                        events.note("waiting for another build that makes the same base");
                    }
                    Poll::NotYet("it still has the lock".into())
                }
                Err(TryLockError::Error(error)) => Poll::Never(error),
            };
            async { poll }
        })
        .await;
    match locked {
        Ok(()) => Ok(KeyLock { _file: file }),
        Err(WaitError::Never(error)) => Err(BuilderError::File { path, error }),
        Err(WaitError::Interrupted(error)) => Err(error.into()),
        Err(error @ WaitError::Deadline { .. }) => Err(BuilderError::TimedOut(error.to_string())),
    }
}

/// The time for making a base on a slow host.
const LOCK_DEADLINE: Duration = Duration::from_secs(3600);

/// Size and modification time of a file. If both are the same, the file is taken as unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// The size, in bytes.
    pub size_bytes: u64,
    /// The modification time, in nanoseconds since 1970.
    pub modified_ns: i64,
}

impl Stamp {
    /// Returns the current stamp of the file at `path`.
    pub fn of(path: &Path) -> Result<Self, BuilderError> {
        let metadata = fs::metadata(path).map_err(BuilderError::file(path))?;
        Ok(Self {
            size_bytes: metadata.len(),
            modified_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
        })
    }
}

/// Reads the record at `path`. Returns `None` if it is missing or has another format.
pub(super) fn read_record<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Reads all records of this format in `folder`, with their paths. Does not check the files that
/// they describe.
pub(super) fn read_records<T: for<'de> Deserialize<'de>>(folder: &Path) -> Vec<(PathBuf, T)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .filter_map(|path| Some((path.clone(), read_record(&path)?)))
        .collect()
}

/// The extension of an incomplete record. Such a file remains if its build was killed.
pub(super) const UNFINISHED: &str = "new";

/// Writes `record` to `path` atomically, also if two builds write the same record.
pub(super) fn write_record(path: &Path, record: &impl Serialize) -> Result<(), BuilderError> {
    let text = serde_json::to_vec_pretty(record).expect("a record is JSON");
    let folder = path.parent().unwrap_or(Path::new("."));
    let new = tempfile::Builder::new()
        .suffix(&format!(".{UNFINISHED}"))
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder);
    let mut new = new.map_err(BuilderError::file(folder))?;
    new.write_all(&text).map_err(BuilderError::file(path))?;
    let renamed = new.persist(path).map(drop);
    renamed.map_err(|failed| BuilderError::file(path)(failed.error))
}

/// Runs `work` on a blocking thread. Stops waiting for it on an interrupt.
pub(super) async fn blocking<T: Send + 'static>(
    interrupt: &Interrupt,
    work: impl FnOnce() -> Result<T, BuilderError> + Send + 'static,
) -> Result<T, BuilderError> {
    match interrupt.or(tokio::task::spawn_blocking(work)).await? {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
