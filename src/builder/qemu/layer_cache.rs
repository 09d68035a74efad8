//! Layers in the cache: qcow2 files that build on each other and on a base, each beside its record.
//!
//! In: keys, and disks of running machines. Out: layers to continue from. A record is written last and its file never
//! again, so a layer is there whole or not at all; a chain counts only where every file of it is what its record says,
//! by key and by digest. Deliberately never waits for another bake: two that make the same layer both keep theirs, and
//! the newer one is used. While machines run on layers nothing is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{QemuOptions, cache};
use crate::builder::{BuilderError, DiskFile, Layer, LayerFile, LayerRules, LayerUse, Made};
use crate::digest::Digest;
use crate::wait::Interrupt;

/// `<key>.json`: what the file beside it is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    schema: u32,
    made: Made,
    /// The file's name.
    file: String,
    sha256: Digest,
    stamp: cache::Stamp,
    /// The layer below; absent where that is the base.
    below: Option<Name>,
    base: DiskFile,
}

/// A layer by its key and the digest of its file.
pub(super) type Name = (Digest, Digest);

/// A layer whose file has its name already, and that is not recorded yet.
pub(super) struct Unrecorded {
    pub made: Made,
    pub path: PathBuf,
    pub below: Option<Name>,
    pub base: DiskFile,
}

/// Where the layers of a cache are.
pub(super) fn folder(settings: &QemuOptions) -> PathBuf {
    settings.cache.join("layers")
}

/// While this is held no layer is removed.
pub(super) fn hold(settings: &QemuOptions) -> Result<File, BuilderError> {
    let folder = folder(settings);
    fs::create_dir_all(&folder).map_err(BuilderError::file(&folder))?;
    let file = lock_file(&folder)?;
    file.lock_shared().map_err(BuilderError::file(&folder))?;
    Ok(file)
}

/// The layer that has most of `keys`, given shortest first, and is sound and young. Removes before what is too old, too
/// much, or of no use.
pub(super) async fn find(
    settings: &QemuOptions,
    base: &DiskFile,
    keys: &[Digest],
    now: Timestamp,
    interrupt: &Interrupt,
) -> Result<Option<Layer>, BuilderError> {
    prune(settings, Some(now))?;
    if !settings.layers.reuse {
        return Ok(None);
    }
    let held = hold(settings)?;
    let (folder, base, keys) = (folder(settings), base.clone(), keys.to_vec());
    let rules = settings.layers;
    cache::blocking(interrupt, move || {
        for count in (1..=keys.len()).rev() {
            if let Some(chain) = chain(&folder, &base, &keys[..count])?
                && chain.iter().all(|record| young(record, &rules, now))
            {
                return used(&folder, &chain, held).map(Some);
            }
        }
        Ok(None)
    })
    .await
}

/// The records of `keys`, where each builds on the one before, the first on `base`, and all files are what they were.
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
        let fits = record.schema == SCHEMA
            && record.made.key == *key
            && record.below == below
            && record.base == *base;
        if !fits || !is_sound(folder, &mut record)? {
            return Ok(None);
        }
        chain.push(record);
    }
    Ok(Some(chain))
}

/// Whether the file is what the record says; one that was touched is read once.
fn is_sound(folder: &Path, record: &mut Record) -> Result<bool, BuilderError> {
    let path = folder.join(&record.file);
    if !path.is_file() {
        return Ok(false);
    }
    let stamp = cache::Stamp::of(&path)?;
    if stamp == record.stamp {
        return Ok(true);
    }
    record.stamp = stamp;
    let found = Digest::of_file(&path).map_err(BuilderError::file(&path))?;
    Ok(found.0 == record.sha256)
}

fn young(record: &Record, rules: &LayerRules, now: Timestamp) -> bool {
    let age_s = now.as_second() - record.made.made_s;
    u64::try_from(age_s).is_ok_and(|age_s| Duration::from_secs(age_s) <= rules.max_age)
}

/// Notes the use of a chain, by the times of its records, and gives it.
fn used(folder: &Path, chain: &[Record], held: File) -> Result<Layer, BuilderError> {
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
        in_use: Some(Arc::new(held)),
    })
}

/// Records a layer, and gives its name. It counts from then on.
pub(super) fn record(layer: Unrecorded) -> Result<Name, BuilderError> {
    let Unrecorded {
        made,
        path,
        below,
        base,
    } = layer;
    // After a crash of this computer a file must not be other than its record says.
    let hashed = File::open(&path).and_then(|file| {
        file.sync_all()?;
        Digest::of_reader(file)
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

/// Removes the records of the layers that `run` left. Their files go with the next [`prune`]: a machine may still run on them.
pub(super) fn forget(settings: &QemuOptions, run: &str) -> Result<(), BuilderError> {
    for (path, record) in records(&folder(settings)) {
        if record.made.run == run {
            remove(&path)?;
        }
    }
    Ok(())
}

/// What the layers take.
pub(super) fn usage(settings: &QemuOptions) -> LayerUse {
    let folder = folder(settings);
    let mut usage = LayerUse::default();
    for record in records(&folder).values() {
        usage.layers += 1;
        usage.bytes += bytes(&folder.join(&record.file));
    }
    usage
}

/// Removes what is too much, and where the time is given what is too old; does nothing while layers are in use.
pub(super) fn prune(settings: &QemuOptions, now: Option<Timestamp>) -> Result<(), BuilderError> {
    let (folder, rules) = (folder(settings), &settings.layers);
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
        .map(|record| bytes(&folder.join(&record.file)))
        .sum();
    // From the top down: no layer goes before those that build on it.
    while let Some(path) = next_to_go(&records, (rules, total, now)) {
        let Some(record) = records.remove(&path) else {
            break;
        };
        total = total.saturating_sub(bytes(&folder.join(&record.file)));
        remove(&path)?;
    }
    // Of bakes that were killed, and of layers that others took the place of.
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

/// The record of the layer that goes next: one that nothing builds on; too old, in vain, or not used for longest.
fn next_to_go(
    records: &BTreeMap<PathBuf, Record>,
    (rules, total, now): (&LayerRules, u64, Option<Timestamp>),
) -> Option<PathBuf> {
    let mine = |record: &Record| (record.made.key, record.sha256);
    let built_on: BTreeSet<_> = records.values().filter_map(|record| record.below).collect();
    let top = |record: &Record| !built_on.contains(&mine(record));
    // What builds on nothing that is there, or on something old, is never continued from again.
    let useless = |top: &Record| {
        let mut next = Some(top);
        while let Some(record) = next {
            if now.is_some_and(|now| !young(record, rules, now)) {
                return true;
            }
            let Some(below) = record.below else {
                return false;
            };
            next = records.values().find(|one| mine(one) == below);
        }
        true
    };
    let last_used = |path: &Path| {
        let written = fs::metadata(path).and_then(|metadata| metadata.modified());
        written.unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let mut tops: Vec<_> = records.iter().filter(|(_, record)| top(record)).collect();
    tops.sort_by_key(|(path, _)| last_used(path));
    let in_vain = tops.iter().find(|(_, record)| useless(record));
    let too_much = (total > rules.max_bytes).then(|| tops.first()).flatten();
    let (path, _) = in_vain.or(too_much)?;
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

/// What a file takes on the disk.
fn bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

const SCHEMA: u32 = 1;
