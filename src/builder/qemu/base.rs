//! Native bases: a disk made on the spot from the distribution's signed packages, kept in the cache.
//!
//! In: a suite, a mirror, packages, and the digests of the signed indexes that were locked. Out: `base.qcow2`, which
//! boots by BIOS and by UEFI, with its kernel beside it. Deliberately uses no loop device, no mount
//! of ours and no privileges. Only the disk's size changes after the first boot: its last partition, the root file
//! system, grows with the disk (by systemd-repart, where the distribution's systemd package has it, as Debian 12's).

mod boot_sector;
mod isolation;
mod layout;
mod packages;

use std::fs;
use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::builder::qemu::{QemuOptions, cache, capture, disk_image};
use crate::builder::{AccessBy, BuilderError, Content, Disk, DiskFile, Kernel};
use crate::definition::{Firmware, QemuBase};
use crate::digest::Digest;
use crate::event::Events;
use crate::lock::LockedBase;
use crate::plan::PlannedBase;
use crate::teardown::{Teardown, Undo};
use crate::wait::Interrupt;

use packages::Sources;

/// Counts the ways in which bases were made; another one makes another disk of the same packages.
const RECIPE: u32 = 1;

/// Free space that making a base takes, in MiB: packages, root, raw disk and result together.
const NEEDED_MIB: u64 = 3072;

/// All that decides what a base is. The firmware does not: the disk boots by both.
#[derive(Serialize)]
struct KeyParts<'a> {
    recipe: u32,
    script: Digest,
    sources: &'a Sources,
}

/// `base.json`, beside the disk.
#[derive(Serialize, Deserialize)]
struct Record {
    schema: u32,
    sha256: Digest,
    virtual_size_bytes: u64,
    stamp: cache::Stamp,
    sources: Sources,
    kernel: KernelRecord,
}

/// What lies beside the disk to start it at once.
#[derive(Serialize, Deserialize)]
struct KernelRecord {
    image: cache::Stamp,
    initrd: cache::Stamp,
    arguments: String,
}

fn key(sources: &Sources) -> Digest {
    Digest::of_value(&KeyParts {
        recipe: RECIPE,
        script: Digest::of(layout::ROOT_SCRIPT),
        sources,
    })
}

/// Whether the base was made before. Whether it is still what it was shows only once it is used.
pub(super) fn is_cached(settings: &QemuOptions, base: &PlannedBase) -> bool {
    let Ok((sources, _)) = sources(base) else {
        return false;
    };
    let name = &key(&sources).hex()[..KEY_DIGITS];
    let folder = settings.cache.join("bases").join(name);
    folder.join(RECORD).is_file() && folder.join(DISK).is_file()
}

/// The base, from the cache or made.
pub(super) async fn find_or_make(
    settings: &QemuOptions,
    base: &PlannedBase,
    teardown: &mut Teardown,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Disk, BuilderError> {
    let (sources, firmware) = sources(base)?;
    let key = key(&sources);
    let bases = settings.cache.join("bases");
    let name = &key.hex()[..KEY_DIGITS];
    let _lock = cache::lock(&bases, name, events, interrupt).await?;
    let folder = bases.join(name);
    if let Some(disk) = find(&folder, firmware, interrupt).await? {
        events.note(format!("base {name} is in the cache"));
        return Ok(disk);
    }
    capture::need_space(&bases, NEEDED_MIB)?;
    let run = super::machine::run_of(teardown.work());
    let temporary = bases.join(format!("{name}.{run}.new"));
    teardown.register(Undo::Folder {
        path: temporary.clone(),
    })?;
    fs::create_dir(&temporary).map_err(BuilderError::file(&temporary))?;
    let began = Instant::now();
    packages::install(settings, &sources, &temporary, teardown, events, interrupt).await?;
    events.note(format!(
        "packages installed after {} s",
        began.elapsed().as_secs()
    ));
    let disk_made = layout::make_disk(settings, &key, newest(&sources), &temporary, interrupt);
    disk_made.await?;
    seal(settings, sources, &temporary, &folder, interrupt).await?;
    events.note(format!(
        "base {name} made in {} s",
        began.elapsed().as_secs()
    ));
    match find(&folder, firmware, interrupt).await? {
        Some(disk) => Ok(disk),
        None => Err(BuilderError::Image {
            path: folder,
            why: "the base vanished from the cache as soon as it was made".into(),
        }),
    }
}

/// Writes the record and gives the finished folder its name.
async fn seal(
    settings: &QemuOptions,
    sources: Sources,
    temporary: &Path,
    folder: &Path,
    interrupt: &Interrupt,
) -> Result<(), BuilderError> {
    let path = temporary.join(DISK);
    let facts = disk_image::facts(&settings.tools, &path, interrupt).await?;
    let (sha256, _) = hash(&path, interrupt).await?;
    let record = Record {
        schema: 1,
        sha256,
        virtual_size_bytes: facts.virtual_size_bytes,
        stamp: cache::Stamp::of(&path)?,
        sources,
        kernel: KernelRecord {
            image: cache::Stamp::of(&temporary.join(KERNEL))?,
            initrd: cache::Stamp::of(&temporary.join(INITRD))?,
            arguments: fs::read_to_string(temporary.join(ARGUMENTS))
                .map_err(BuilderError::file(&temporary.join(ARGUMENTS)))?
                .trim()
                .to_owned(),
        },
    };
    cache::write_record(&temporary.join(RECORD), &record)?;
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(BuilderError::file(folder))?;
    }
    fs::rename(temporary, folder).map_err(BuilderError::file(folder))
}

/// The base in `folder`, where there is one whose disk is what the record says.
async fn find(
    folder: &Path,
    firmware: Firmware,
    interrupt: &Interrupt,
) -> Result<Option<Disk>, BuilderError> {
    let path = folder.join(DISK);
    let record_path = folder.join(RECORD);
    let Some(mut record) = cache::read_record::<Record>(&record_path) else {
        return Ok(None);
    };
    if !path.is_file() {
        return Ok(None);
    }
    let stamp = cache::Stamp::of(&path)?;
    if stamp != record.stamp {
        if hash(&path, interrupt).await?.0 != record.sha256 {
            return Ok(None);
        }
        record.stamp = stamp;
        cache::write_record(&record_path, &record)?;
    }
    let file = DiskFile {
        path: fs::canonicalize(&path).map_err(BuilderError::file(&path))?,
        format: "qcow2".into(),
        sha256: record.sha256,
    };
    Ok(Some(Disk {
        content: Content::File(file),
        firmware,
        access: AccessBy::Credentials,
        kernel: kernel(folder, &record.kernel)?,
    }))
}

/// The kernel in `folder`, where both of its files were left alone. Its disk starts without it as well.
fn kernel(folder: &Path, record: &KernelRecord) -> Result<Option<Kernel>, BuilderError> {
    let folder = fs::canonicalize(folder).map_err(BuilderError::file(folder))?;
    let untouched = |name: &str, stamp: cache::Stamp| {
        let path = folder.join(name);
        (cache::Stamp::of(&path).ok() == Some(stamp)).then_some(path)
    };
    let files = (
        untouched(KERNEL, record.image),
        untouched(INITRD, record.initrd),
    );
    let (Some(image), Some(initrd)) = files else {
        return Ok(None);
    };
    Ok(Some(Kernel {
        image,
        initrd,
        arguments: record.arguments.clone(),
    }))
}

async fn hash(path: &Path, interrupt: &Interrupt) -> Result<(Digest, u64), BuilderError> {
    let path = path.to_owned();
    cache::blocking(interrupt, move || {
        Digest::of_file(&path).map_err(BuilderError::file(&path))
    })
    .await
}

/// What the base is made of, and how it is to start.
fn sources(base: &PlannedBase) -> Result<(Sources, Firmware), BuilderError> {
    let PlannedBase::Qemu {
        wanted:
            QemuBase::Packages {
                mirror,
                suite,
                extra,
                packages,
                firmware,
            },
        locked: LockedBase::Packages { index },
    } = base
    else {
        return Err(BuilderError::LockOfAnotherBase);
    };
    let sources = Sources::new(mirror, suite, extra, packages, index)?;
    Ok((sources, *firmware))
}

/// The newest date of the indexes, in seconds since 1970: no file of the base is newer.
fn newest(sources: &Sources) -> i64 {
    sources
        .indexes
        .iter()
        .filter_map(|index| index.date.parse::<Timestamp>().ok())
        .map(Timestamp::as_second)
        .max()
        .unwrap_or(0)
}

pub(super) const DISK: &str = "base.qcow2";
pub(super) const RECORD: &str = "base.json";
const KERNEL: &str = "vmlinuz";
const INITRD: &str = "initrd.img";
/// The kernel's arguments, as the loader on the disk gives them.
const ARGUMENTS: &str = "arguments";
/// Enough of a digest that two bases never share a folder.
const KEY_DIGITS: usize = 32;
