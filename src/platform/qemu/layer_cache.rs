//! The layer cache: qcow2 files that build on each other and on a base, each with a record.
//! A record is written after its file, so a recorded layer is complete. Of two equal layers, the
//! newer record is used. No layer is removed while a VM uses one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{QemuOptions, cache};
use crate::builder::{
    BuilderError, DiskFile, Layer, LayerCacheLimits, LayerCacheUsage, LayerFile, LayerOrigin,
};
use crate::digest::Digest;
use crate::wait::Interrupt;

/// The content of `<key>.json`, next to the layer's file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    schema: u32,
    made: LayerOrigin,
    /// The name of the layer's file.
    file: String,
    sha256: Digest,
    stamp: cache::Stamp,
    /// The layer below; `None` if the layer is on the base.
    below: Option<Name>,
    base: DiskFile,
}

/// The identity of a layer: its key and the digest of its file.
pub(super) type Name = (Digest, Digest);

/// A layer whose file is in the cache but not recorded yet.
pub(super) struct Unrecorded {
    pub made: LayerOrigin,
    pub path: PathBuf,
    pub below: Option<Name>,
    pub base: DiskFile,
}

/// Returns the folder of the layer cache.
pub(super) fn folder(options: &QemuOptions) -> PathBuf {
    options.cache.join("layers")
}

/// Takes a shared lock. No layer is removed while it is locked.
pub(super) fn lock_shared(options: &QemuOptions) -> Result<File, BuilderError> {
    let folder = folder(options);
    fs::create_dir_all(&folder).map_err(BuilderError::file(&folder))?;
    let file = lock_file(&folder)?;
    file.lock_shared().map_err(BuilderError::file(&folder))?;
    Ok(file)
}

/// Finds the cached layer for the last of `keys` that is cached, intact and not too old. Prunes the
/// cache before.
pub(super) async fn find(
    options: &QemuOptions,
    base: &DiskFile,
    keys: &[Digest],
    now: Timestamp,
    interrupt: &Interrupt,
) -> Result<Option<Layer>, BuilderError> {
    prune(options, Some(now))?;
    if !options.layers.reuse {
        return Ok(None);
    }
    let lock = lock_shared(options)?;
    let (folder, base, keys) = (folder(options), base.clone(), keys.to_vec());
    let rules = options.layers;
    cache::blocking(interrupt, move || {
        for count in (1..=keys.len()).rev() {
            if let Some(chain) = chain(&folder, &base, &keys[..count])?
                && chain.iter().all(|record| is_young(record, &rules, now))
            {
                return open(&folder, &chain, lock).map(Some);
            }
        }
        Ok(None)
    })
    .await
}

/// Returns the records of `keys` if the first layer is on `base`, each other one on the one before,
/// and all are intact.
fn chain(
    folder: &Path,
    base: &DiskFile,
    keys: &[Digest],
) -> Result<Option<Vec<Record>>, BuilderError> {
    let mut chain: Vec<Record> = Vec::new();
    for key in keys {
        let Some(mut record) = cache::read_record::<Record>(&record_path(folder, key)) else {
            return Ok(None);
        };
        let below = chain.last().map(|below| (below.made.key, below.sha256));
        let is_match = record.schema == SCHEMA
            && record.made.key == *key
            && record.below == below
            && record.base == *base;
        if !is_match || !is_intact(folder, &mut record)? {
            return Ok(None);
        }
        chain.push(record);
    }
    Ok(Some(chain))
}

/// Returns whether the file matches its record. Hashes the file if its stamp differs.
fn is_intact(folder: &Path, record: &mut Record) -> Result<bool, BuilderError> {
    let path = folder.join(&record.file);
    if !path.is_file() {
        return Ok(false);
    }
    let stamp = cache::Stamp::of(&path)?;
    if stamp == record.stamp {
        return Ok(true);
    }
    record.stamp = stamp;
    let found = Digest::hash_file(&path).map_err(BuilderError::file(&path))?;
    Ok(found.0 == record.sha256)
}

fn is_young(record: &Record, rules: &LayerCacheLimits, now: Timestamp) -> bool {
    let age_s = now.as_second() - record.made.made_s;
    u64::try_from(age_s).is_ok_and(|age_s| Duration::from_secs(age_s) <= rules.max_age)
}

/// Returns the layer of a chain. Rewrites its records, because their modification times show the
/// last use.
fn open(folder: &Path, chain: &[Record], lock: File) -> Result<Layer, BuilderError> {
    for record in chain {
        cache::write_record(&record_path(folder, &record.made.key), record)?;
    }
    let last = chain.last().map_or("", |record| &record.file);
    let disk = folder.join(last);
    let file = |record: &Record| LayerFile {
        made: record.made.clone(),
        sha256: record.sha256,
    };
    Ok(Layer {
        disk: fs::canonicalize(&disk).map_err(BuilderError::file(&disk))?,
        files: chain.iter().map(file).collect(),
        in_use: Some(Arc::new(lock)),
    })
}

/// Records a layer, which makes it usable, and returns its identity.
pub(super) fn record(layer: Unrecorded) -> Result<Name, BuilderError> {
    let Unrecorded {
        made,
        path,
        below,
        base,
    } = layer;
    // Flush the file before its record, so that they match after a crash of this host.
    let hashed = File::open(&path).and_then(|file| {
        file.sync_all()?;
        Digest::hash_reader(file)
    });
    let (sha256, _) = hashed.map_err(BuilderError::file(&path))?;
    let name = path.file_name().unwrap_or_default();
    let record = Record {
        schema: SCHEMA,
        file: name.to_string_lossy().into_owned(),
        sha256,
        stamp: cache::Stamp::of(&path)?,
        below,
        base,
        made,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    cache::write_record(&record_path(folder, &record.made.key), &record)?;
    Ok((record.made.key, sha256))
}

/// Removes the records of the layers of `run`. The next [`prune`] removes their files, which a VM
/// may still use.
pub(super) fn discard(options: &QemuOptions, run: &str) -> Result<(), BuilderError> {
    for (path, record) in records(&folder(options)) {
        if record.made.run == run {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Returns the number and size of the layers.
pub(super) fn usage(options: &QemuOptions) -> LayerCacheUsage {
    let folder = folder(options);
    let mut usage = LayerCacheUsage::default();
    for record in records(&folder).values() {
        usage.layers += 1;
        usage.bytes += allocated_bytes(&folder.join(&record.file));
    }
    usage
}

/// Removes unusable layers, layers above the size limit and, if `now` is given, layers above the
/// age limit. Does nothing while layers are in use.
pub(super) fn prune(options: &QemuOptions, now: Option<Timestamp>) -> Result<(), BuilderError> {
    let (folder, rules) = (folder(options), &options.layers);
    if !folder.is_dir() {
        return Ok(());
    }
    let file = lock_file(&folder)?;
    if file.try_lock().is_err() {
        return Ok(());
    }
    let mut records = records(&folder);
    let mut total: u64 = records
        .values()
        .map(|record| allocated_bytes(&folder.join(&record.file)))
        .sum();
    // Each removed layer is a top layer, so no other layer loses the one below it.
    while let Some(path) = next_to_remove(&records, total > rules.max_bytes, rules, now) {
        let Some(record) = records.remove(&path) else {
            break;
        };
        total = total.saturating_sub(allocated_bytes(&folder.join(&record.file)));
        remove(&path)?;
    }
    // Remove files of killed builds and of replaced records.
    let named: BTreeSet<&str> = records
        .values()
        .map(|record| record.file.as_str())
        .collect();
    let entries = fs::read_dir(&folder).map_err(BuilderError::file(&folder))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_ours = path
            .extension()
            .is_some_and(|end| end == "qcow2" || end == cache::UNFINISHED);
        if is_ours && !named.contains(name.as_ref()) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Returns the record of the next layer to remove, or `None` if all may stay. It is a top layer:
/// one that is unusable or, if the cache is too large, the least recently used one.
fn next_to_remove(
    records: &BTreeMap<PathBuf, Record>,
    is_too_large: bool,
    rules: &LayerCacheLimits,
    now: Option<Timestamp>,
) -> Option<PathBuf> {
    let name = |record: &Record| (record.made.key, record.sha256);
    let built_on: BTreeSet<_> = records.values().filter_map(|record| record.below).collect();
    let is_top = |record: &Record| !built_on.contains(&name(record));
    // A layer is unusable if it, or one below it, is too old, or if one below it is missing.
    let is_unusable = |top: &Record| {
        let mut next = Some(top);
        while let Some(record) = next {
            if now.is_some_and(|now| !is_young(record, rules, now)) {
                return true;
            }
            let Some(below) = record.below else {
                return false;
            };
            next = records.values().find(|one| name(one) == below);
        }
        true
    };
    let last_used = |path: &Path| {
        let written = fs::metadata(path).and_then(|metadata| metadata.modified());
        written.unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let mut tops: Vec<_> = records
        .iter()
        .filter(|(_, record)| is_top(record))
        .collect();
    tops.sort_by_key(|(path, _)| last_used(path));
    let unusable = tops.iter().find(|(_, record)| is_unusable(record));
    let oldest = is_too_large.then(|| tops.first()).flatten();
    let (path, _) = unusable.or(oldest)?;
    Some((*path).clone())
}

fn records(folder: &Path) -> BTreeMap<PathBuf, Record> {
    cache::read_records(folder).into_iter().collect()
}

fn record_path(folder: &Path, key: &Digest) -> PathBuf {
    folder.join(format!("{}.json", key.hex()))
}

fn lock_file(folder: &Path) -> Result<File, BuilderError> {
    let path = folder.join(".in-use");
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(BuilderError::file(&path))
}

fn remove(path: &Path) -> Result<(), BuilderError> {
    fs::remove_file(path).map_err(BuilderError::file(path))
}

/// Returns the space that a file takes on the disk, in bytes.
fn allocated_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

const SCHEMA: u32 = 1;
