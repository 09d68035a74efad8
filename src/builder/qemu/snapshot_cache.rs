//! Suspended machines in the cache: the memory and the disk of one that has started, and waits for keys.
//!
//! In: a key over all that decides how a machine starts. Out: files to resume from. A record is written last, so a suspended
//! machine is there whole or not at all; one whose files were touched, or whose disk below is gone, is as if it were not.
//! Deliberately knows nothing of guests: whoever suspended one saw to it that no key is in its memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{QemuOptions, cache};
use crate::builder::{BuilderError, SnapshotUse};
use crate::digest::Digest;

/// A machine to resume from.
#[derive(Clone)]
pub(super) struct Snapshot {
    /// Its memory and devices, as QEMU writes them.
    pub memory: PathBuf,
    /// What it wrote to its disk: a qcow2 file on top of what it started from.
    pub overlay: PathBuf,
    /// The SHA-256 of its memory.
    pub memory_sha256: Digest,
    /// The QEMU that wrote them; another one need not understand it.
    pub qemu: Value,
    /// The run that suspended it.
    pub run: String,
}

/// `<key>.json`: what the files beside it are.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    schema: u32,
    run: String,
    qemu: Value,
    memory_sha256: Digest,
    memory: Kept,
    overlay: Kept,
    /// What the overlay builds on: a base or a layer.
    below: PathBuf,
}

/// A file beside the record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    name: String,
    stamp: cache::Stamp,
}

impl Kept {
    fn new(path: &Path) -> Result<Self, BuilderError> {
        let name = path.file_name().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            stamp: cache::Stamp::of(path)?,
        })
    }

    /// Its path, where it is what it was.
    fn sound(&self, folder: &Path) -> Option<PathBuf> {
        let path = folder.join(&self.name);
        let found = cache::Stamp::of(&path).ok()?;
        (found == self.stamp).then_some(path)
    }
}

/// Where a suspended machine is, or would be.
pub(super) struct SnapshotSlot {
    folder: PathBuf,
    key: Digest,
    below: PathBuf,
}

impl SnapshotSlot {
    /// Of the machines that `key` says all about, whose disk builds on the file `below`.
    pub fn new(settings: &QemuOptions, key: Digest, below: PathBuf) -> Self {
        Self {
            folder: folder(settings),
            key,
            below,
        }
    }

    /// The suspended machine, where there is one.
    pub fn find(&self) -> Option<Snapshot> {
        let record: Record = cache::read_record(&self.record())?;
        if record.schema != SCHEMA || record.below != self.below || !self.below.is_file() {
            return None;
        }
        Some(Snapshot {
            memory: record.memory.sound(&self.folder)?,
            overlay: record.overlay.sound(&self.folder)?,
            memory_sha256: record.memory_sha256,
            qemu: record.qemu,
            run: record.run,
        })
    }

    /// Where the memory and the overlay of a new one go, made by `run`.
    pub fn fresh(&self, run: &str) -> Result<(PathBuf, PathBuf), BuilderError> {
        fs::create_dir_all(&self.folder).map_err(BuilderError::file(&self.folder))?;
        let folder = fs::canonicalize(&self.folder).map_err(BuilderError::file(&self.folder))?;
        Ok((
            folder.join(format!("{run}.memory")),
            folder.join(format!("{run}.qcow2")),
        ))
    }

    /// Records one whose files are there. It counts from then on.
    pub fn keep(&self, made: &Snapshot) -> Result<(), BuilderError> {
        let record = Record {
            schema: SCHEMA,
            run: made.run.clone(),
            qemu: made.qemu.clone(),
            memory_sha256: made.memory_sha256,
            memory: Kept::new(&made.memory)?,
            overlay: Kept::new(&made.overlay)?,
            below: self.below.clone(),
        };
        cache::write_record(&self.record(), &record)
    }

    /// Forgets what `run` suspended and could not be resumed, or what it left of one that could not be suspended.
    pub fn forget(&self, run: &str) -> Result<(), BuilderError> {
        remove(&self.record())?;
        remove(&self.folder.join(format!("{run}.memory")))?;
        remove(&self.folder.join(format!("{run}.qcow2")))
    }

    fn record(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.key.hex()))
    }
}

/// Removes those that are too old, of no use, or too much; of the latter the oldest first. A machine that resumes just now
/// has its files open, or starts afresh.
pub(super) fn prune(settings: &QemuOptions, now: Timestamp) -> Result<(), BuilderError> {
    let folder = folder(settings);
    let mut records = cache::read_records::<Record>(&folder);
    records.sort_by_key(|(path, _)| std::cmp::Reverse(written(path)));
    let (mut named, mut total) = (Vec::new(), 0);
    for (path, record) in records {
        let files = [&record.memory, &record.overlay];
        let bytes: u64 = files.iter().map(|file| file.stamp.size_bytes).sum();
        let young = is_young(written(&path), settings.layers.max_age, now);
        if young && record.below.is_file() && total + bytes <= MOST_BYTES {
            total += bytes;
            named.extend(files.map(|file| file.name.clone()));
        } else {
            remove(&path)?;
        }
    }
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_ours = path
            .extension()
            .is_some_and(|end| end == "memory" || end == "qcow2" || end == cache::UNFINISHED);
        // One that is just being made is not named yet.
        let left_behind = !is_young(written(&path), LEFT_BEHIND, now);
        if is_ours && left_behind && !named.iter().any(|one| *one == name) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// What they take.
pub(super) fn usage(settings: &QemuOptions) -> SnapshotUse {
    let records = cache::read_records::<Record>(&folder(settings));
    let bytes = |record: &Record| record.memory.stamp.size_bytes + record.overlay.stamp.size_bytes;
    SnapshotUse {
        machines: records.len() as u64,
        bytes: records.iter().map(|(_, record)| bytes(record)).sum(),
        at_most_bytes: MOST_BYTES,
    }
}

fn folder(settings: &QemuOptions) -> PathBuf {
    settings.cache.join("suspended")
}

fn written(path: &Path) -> SystemTime {
    let written = fs::metadata(path).and_then(|metadata| metadata.modified());
    written.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn is_young(written: SystemTime, at_most: Duration, now: Timestamp) -> bool {
    let now = SystemTime::from(now);
    now.duration_since(written).is_ok_and(|age| age <= at_most)
}

fn remove(path: &Path) -> Result<(), BuilderError> {
    match fs::remove_file(path) {
        // Another bake was faster.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(BuilderError::file(path)),
    }
}

/// All together, in bytes: some seven machines of 2 GiB, of which a quiet one has used 250 MiB.
const MOST_BYTES: u64 = 2 << 30;
/// Files that nothing names are of runs that were killed.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);
const SCHEMA: u32 = 1;
