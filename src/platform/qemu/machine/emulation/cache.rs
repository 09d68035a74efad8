//! The cache of VM snapshots: memory and disk of a booted VM that waits for keys.
//! Takes a key over all inputs of a boot; returns files to resume from. A record is written last.
//! Ignores a snapshot with changed files. The caller makes sure that the memory has no SSH keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::builder::{BuilderError, SnapshotCacheUsage};
use crate::digest::Digest;
use crate::platform::qemu::{QemuOptions, cache};

/// A VM snapshot.
#[derive(Clone)]
pub(in crate::platform::qemu::machine) struct Snapshot {
    /// The file with memory and device state, as QEMU writes it.
    pub memory: PathBuf,
    /// The file with the changes to its disk, a qcow2 overlay.
    pub overlay: PathBuf,
    /// The SHA-256 of `memory`.
    pub memory_sha256: Digest,
    /// The version of QEMU that wrote it. Another version may not be able to load it.
    pub qemu: Value,
    /// The id of the run that saved it.
    pub run: String,
}

/// The content of `<key>.json`, next to the files of the snapshot.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    schema: u32,
    run: String,
    qemu: Value,
    memory_sha256: Digest,
    memory: StampedFile,
    overlay: StampedFile,
    /// The base or layer below the overlay.
    below: PathBuf,
}

/// A file next to the record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StampedFile {
    name: String,
    stamp: cache::Stamp,
}

impl StampedFile {
    fn new(path: &Path) -> Result<Self, BuilderError> {
        let name = path.file_name().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            stamp: cache::Stamp::of(path)?,
        })
    }

    /// Returns its path if it is unchanged.
    fn if_unchanged(&self, folder: &Path) -> Option<PathBuf> {
        let path = folder.join(&self.name);
        let found = cache::Stamp::of(&path).ok()?;
        (found == self.stamp).then_some(path)
    }
}

/// The slot of a VM snapshot in the cache, filled or empty.
pub(super) struct SnapshotSlot {
    folder: PathBuf,
    key: Digest,
    below: PathBuf,
}

impl SnapshotSlot {
    /// Returns the slot for VMs whose boot has the inputs of `key`, on top of the disk `below`.
    pub fn new(options: &QemuOptions, key: Digest, below: PathBuf) -> Self {
        Self {
            folder: folder(options),
            key,
            below,
        }
    }

    /// Returns the VM snapshot in this slot, if it is intact.
    pub fn find(&self) -> Option<Snapshot> {
        let record: Record = cache::read_record(&self.record_path())?;
        if record.schema != SCHEMA || record.below != self.below || !self.below.is_file() {
            return None;
        }
        Some(Snapshot {
            memory: record.memory.if_unchanged(&self.folder)?,
            overlay: record.overlay.if_unchanged(&self.folder)?,
            memory_sha256: record.memory_sha256,
            qemu: record.qemu,
            run: record.run,
        })
    }

    /// Returns the paths for the memory and the overlay of a new VM snapshot, saved by `run`.
    pub(crate) fn new_paths(&self, run: &str) -> Result<(PathBuf, PathBuf), BuilderError> {
        fs::create_dir_all(&self.folder).map_err(BuilderError::file(&self.folder))?;
        let folder = fs::canonicalize(&self.folder).map_err(BuilderError::file(&self.folder))?;
        Ok((
            folder.join(format!("{run}.memory")),
            folder.join(format!("{run}.qcow2")),
        ))
    }

    /// Records a VM snapshot whose files are written, which makes it usable.
    pub fn record(&self, snapshot: &Snapshot) -> Result<(), BuilderError> {
        let record = Record {
            schema: SCHEMA,
            run: snapshot.run.clone(),
            qemu: snapshot.qemu.clone(),
            memory_sha256: snapshot.memory_sha256,
            memory: StampedFile::new(&snapshot.memory)?,
            overlay: StampedFile::new(&snapshot.overlay)?,
            below: self.below.clone(),
        };
        cache::write_record(&self.record_path(), &record)
    }

    /// Removes the VM snapshot of `run` after a failed resume, or its files after a failed save.
    pub fn discard(&self, run: &str) -> Result<(), BuilderError> {
        remove(&self.record_path())?;
        remove(&self.folder.join(format!("{run}.memory")))?;
        remove(&self.folder.join(format!("{run}.qcow2")))
    }

    fn record_path(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.key.hex()))
    }
}

/// Removes VM snapshots that are too old or unusable, and the oldest ones above the size limit. A
/// VM that is resuming has its files open, or boots instead.
pub(in crate::platform::qemu) fn prune(
    options: &QemuOptions,
    now: Timestamp,
) -> Result<(), BuilderError> {
    let folder = folder(options);
    let mut records = cache::read_records::<Record>(&folder);
    records.sort_by_key(|(path, _)| std::cmp::Reverse(modified(path)));
    let (mut named, mut total) = (Vec::new(), 0);
    for (path, record) in records {
        let files = [&record.memory, &record.overlay];
        let bytes: u64 = files.iter().map(|file| file.stamp.size_bytes).sum();
        let is_usable =
            is_young(modified(&path), options.layers.max_age, now) && record.below.is_file();
        if is_usable && total + bytes <= MAX_BYTES {
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
        // The files of a snapshot that is being saved have no record yet.
        let is_leftover = !is_young(modified(&path), SAVE_LIMIT, now);
        if is_ours && is_leftover && !named.iter().any(|one| *one == name) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Returns the number and size of the VM snapshots.
pub(in crate::platform::qemu) fn usage(options: &QemuOptions) -> SnapshotCacheUsage {
    let records = cache::read_records::<Record>(&folder(options));
    let bytes = |record: &Record| record.memory.stamp.size_bytes + record.overlay.stamp.size_bytes;
    SnapshotCacheUsage {
        machines: records.len() as u64,
        bytes: records.iter().map(|(_, record)| bytes(record)).sum(),
        at_most_bytes: MAX_BYTES,
    }
}

fn folder(options: &QemuOptions) -> PathBuf {
    options.cache.join("suspended")
}

fn modified(path: &Path) -> SystemTime {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn is_young(modified: SystemTime, max_age: Duration, now: Timestamp) -> bool {
    let now = SystemTime::from(now);
    now.duration_since(modified).is_ok_and(|age| age <= max_age)
}

fn remove(path: &Path) -> Result<(), BuilderError> {
    match fs::remove_file(path) {
        // Another build has already removed it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(BuilderError::file(path)),
    }
}

/// The size limit of all VM snapshots, in bytes. An idle VM with 2 GiB of memory takes about 250
/// MiB.
const MAX_BYTES: u64 = 2 << 30;
/// The time limit for saving a VM snapshot. Older files without a record remain from killed runs.
const SAVE_LIMIT: Duration = Duration::from_secs(3600);
const SCHEMA: u32 = 1;
