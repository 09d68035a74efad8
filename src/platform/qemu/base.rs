//! Makes base disks from the signed packages of a distribution, and caches them.
//! Takes suites, packages and locked index digests; returns `base.qcow2` (BIOS, UEFI), its kernel.
//! On first boot, systemd-repart lets the root partition take what a larger disk has.

mod boot_sector;
mod isolation;
mod layout;
mod packages;

use std::fs;
use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::builder::{AccessBy, BuilderError, Content, Disk, DiskFile, Kernel};
use crate::definition::Firmware;
use crate::digest::Digest;
use crate::event::Events;
use crate::platform::qemu::definition::QemuBase;
use crate::platform::qemu::lock::PackageIndex;
use crate::platform::qemu::space::need_space;
use crate::platform::qemu::{QemuOptions, cache, disk_image};
use crate::teardown::{Teardown, Undo, run_of};
use crate::wait::Interrupt;

use packages::Sources;

/// The version of this procedure. A change makes all cached bases unused.
const RECIPE: u32 = 2;

/// The free space for making a base, in MiB: packages, root, raw disk and result.
const NEEDED_MIB: u64 = 3072;

/// All inputs of a base. The firmware is not one, because the disk boots with both.
#[derive(Serialize)]
struct KeyParts<'a> {
    recipe: u32,
    script: Digest,
    sources: &'a Sources,
}

/// The content of `base.json`, next to the disk.
#[derive(Serialize, Deserialize)]
struct Record {
    schema: u32,
    sha256: Digest,
    virtual_size_bytes: u64,
    stamp: cache::Stamp,
    sources: Sources,
    kernel: KernelRecord,
}

/// The kernel files next to the disk, for direct boot.
#[derive(Serialize, Deserialize)]
struct KernelRecord {
    image: cache::Stamp,
    initrd: cache::Stamp,
    arguments: String,
}

fn key(sources: &Sources) -> Digest {
    Digest::hash_value(&KeyParts {
        recipe: RECIPE,
        script: Digest::hash_bytes(layout::ROOT_SCRIPT),
        sources,
    })
}

/// Returns whether the cache has the base. Its digest is checked only when it is used.
pub(super) fn is_cached(options: &QemuOptions, base: PackageBase<'_>) -> bool {
    let Ok((sources, _)) = sources(base) else {
        return false;
    };
    let name = &key(&sources).hex()[..KEY_DIGITS];
    let folder = options.cache.join("bases").join(name);
    folder.join(RECORD).is_file() && folder.join(DISK).is_file()
}

/// Returns the base from the cache, or makes it.
pub(super) async fn find_or_make(
    options: &QemuOptions,
    base: PackageBase<'_>,
    teardown: &mut Teardown,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Disk, BuilderError> {
    let (sources, firmware) = sources(base)?;
    let key = key(&sources);
    let bases = options.cache.join("bases");
    let name = &key.hex()[..KEY_DIGITS];
    let _lock = cache::lock(&bases, name, events, interrupt).await?;
    let folder = bases.join(name);
    if let Some(disk) = find(&folder, firmware, interrupt).await? {
        events.note(format!("base {name} comes from the cache"));
        return Ok(disk);
    }
    need_space(&bases, NEEDED_MIB)?;
    let run = run_of(teardown.work());
    let temporary = bases.join(format!("{name}.{run}.new"));
    teardown.register(Undo::Folder {
        path: temporary.clone(),
    })?;
    fs::create_dir(&temporary).map_err(BuilderError::file(&temporary))?;
    let began = Instant::now();
    packages::install(options, &sources, &temporary, teardown, events, interrupt).await?;
    events.note(format!(
        "packages installed after {} s",
        began.elapsed().as_secs()
    ));
    let disk_made = layout::make_disk(options, &key, newest(&sources), &temporary, interrupt);
    disk_made.await?;
    publish(options, sources, &temporary, &folder, interrupt).await?;
    events.note(format!(
        "base {name} made in {} s",
        began.elapsed().as_secs()
    ));
    match find(&folder, firmware, interrupt).await? {
        Some(disk) => Ok(disk),
        None => Err(BuilderError::Image {
            path: folder,
            why: "the new base is missing from the cache".into(),
        }),
    }
}

/// Writes the record and moves the finished folder into the cache.
async fn publish(
    options: &QemuOptions,
    sources: Sources,
    temporary: &Path,
    folder: &Path,
    interrupt: &Interrupt,
) -> Result<(), BuilderError> {
    let path = temporary.join(DISK);
    let facts = disk_image::facts(&options.tools, &path, interrupt).await?;
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

/// Returns the base in `folder` if its disk matches the record.
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

/// Returns the kernel in `folder` if both of its files are unchanged. The disk also boots without
/// it.
fn kernel(folder: &Path, record: &KernelRecord) -> Result<Option<Kernel>, BuilderError> {
    let folder = fs::canonicalize(folder).map_err(BuilderError::file(folder))?;
    let unchanged = |name: &str, stamp: cache::Stamp| {
        let path = folder.join(name);
        (cache::Stamp::of(&path).ok() == Some(stamp)).then_some(path)
    };
    let files = (
        unchanged(KERNEL, record.image),
        unchanged(INITRD, record.initrd),
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
        Digest::hash_file(&path).map_err(BuilderError::file(&path))
    })
    .await
}

/// A base of packages, and its locked indexes.
type PackageBase<'a> = (&'a QemuBase, &'a [PackageIndex]);

/// Returns the sources of the base, and its firmware.
fn sources((wanted, index): PackageBase<'_>) -> Result<(Sources, Firmware), BuilderError> {
    let QemuBase::Packages {
        mirror,
        suite,
        extra,
        packages,
        firmware,
    } = wanted
    else {
        return Err(BuilderError::LockMismatch);
    };
    let sources = Sources::new(mirror, suite, extra, packages, index)?;
    Ok((sources, *firmware))
}

/// Returns the newest date of the indexes, in seconds since 1970. No file of the base is newer.
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
/// The file with the kernel command line of the boot loader on the disk.
const ARGUMENTS: &str = "arguments";
/// The length of a folder name: enough hex digits that two bases do not collide.
const KEY_DIGITS: usize = 32;
