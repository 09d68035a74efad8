//! The cache of bases and images: one lock a key, and records that make a second look cheap.
//!
//! In: keys and files. Out: exclusive use of a key; whether a file is still what it was. Deliberately trusts size and
//! modification time of files in the cache, which is ours, and hashes again where either changed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{base, image};
use crate::builder::{BuilderError, DiskFile};
use crate::digest::Digest;
use crate::event::Events;
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// Held as long as one bake makes what a key names.
pub(super) struct KeyLock {
    _file: File,
}

/// Takes the lock of `key` below `folder`, which is made; waits, and says so, while another bake has it.
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
    let mut told = false;
    let taken = Wait::new("another bake that makes the same base", LOCK_DEADLINE)
        .until(events, interrupt, || {
            let seen = match file.try_lock() {
                Ok(()) => Poll::Ready(()),
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        told = true;
                        events.note("another bake makes the same base; waiting for it");
                    }
                    Poll::NotYet("it is still at it".into())
                }
                Err(TryLockError::Error(error)) => Poll::Never(error),
            };
            async { seen }
        })
        .await;
    match taken {
        Ok(()) => Ok(KeyLock { _file: file }),
        Err(WaitError::Never(error)) => Err(BuilderError::File { path, error }),
        Err(WaitError::Interrupted(error)) => Err(error.into()),
        Err(error @ WaitError::Deadline { .. }) => Err(BuilderError::Late(error.to_string())),
    }
}

/// Making a base on a slow computer may take this long.
const LOCK_DEADLINE: Duration = Duration::from_secs(3600);

/// What tells, without reading it, that a file was not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified_ns: i64,
}

impl Stamp {
    /// Of the file at `path` as it is now.
    pub fn of(path: &Path) -> Result<Self, BuilderError> {
        let metadata = fs::metadata(path).map_err(BuilderError::file(path))?;
        Ok(Self {
            size_bytes: metadata.len(),
            modified_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
        })
    }
}

/// Reads the record at `path`; nothing where there is none or it is of another make.
pub(super) fn read_record<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// All records of this make in `folder`, by their paths. What they are about, and lies beside them, is not read.
pub(super) fn read_records<T: for<'de> Deserialize<'de>>(folder: &Path) -> Vec<(PathBuf, T)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .filter_map(|path| Some((path.clone(), read_record(&path)?)))
        .collect()
}

/// How the name of a record ends that is not whole yet. One that stays so is of a bake that was killed.
pub(super) const UNFINISHED: &str = "new";

/// Writes `record` to `path`, whole or not at all, also where two bakes write the same one.
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

/// Runs `work`, which blocks, on a thread of its own; gives up waiting for it on an interrupt.
pub(super) async fn blocking<T: Send + 'static>(
    interrupt: &Interrupt,
    work: impl FnOnce() -> Result<T, BuilderError> + Send + 'static,
) -> Result<T, BuilderError> {
    match interrupt.or(tokio::task::spawn_blocking(work)).await? {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// A base or a cloud image whose disk has this digest, read once more to its end.
pub(super) async fn by_digest(
    cache: &Path,
    sha256: Digest,
    interrupt: &Interrupt,
) -> Result<Option<DiskFile>, BuilderError> {
    let folders = ["bases", "images"].map(|folder| cache.join(folder));
    blocking(interrupt, move || {
        let entries = folders
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok());
        for entry in entries.flatten().filter_map(Result::ok) {
            for (record, disk) in [(base::RECORD, base::DISK), (image::RECORD, image::IMAGE)] {
                let Some(known) = read_record::<Known>(&entry.path().join(record)) else {
                    continue;
                };
                let path = entry.path().join(disk);
                let is_it = || Digest::of_file(&path).is_ok_and(|(found, _)| found == sha256);
                if known.sha256 == sha256 && is_it() {
                    return Ok(Some(DiskFile {
                        path,
                        format: known.format.unwrap_or_else(|| "qcow2".to_owned()),
                        sha256,
                    }));
                }
            }
        }
        Ok(None)
    })
    .await
}

/// What records of bases and of cloud images share.
#[derive(Deserialize)]
struct Known {
    sha256: Digest,
    format: Option<String>,
}
