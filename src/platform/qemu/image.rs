//! Downloads cloud images, verifies them against the SHA-512 of the lock file, and caches them.
//! Takes a URL and a SHA-512; returns a disk whose VM gets its keys from cloud-init.
//! Reads a file only after its digest is verified. Refuses images that refer to other files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};

use crate::builder::{AccessBy, BuilderError, Content, Disk, DiskFile};
use crate::definition::Firmware;
use crate::digest::{Digest, HashingWriter, hex};
use crate::event::Events;
use crate::http;
use crate::platform::qemu::{QemuOptions, cache, disk_image};
use crate::teardown::{Teardown, Undo, run_of};
use crate::wait::Interrupt;

/// An image in the lock file.
pub(super) struct ImageRequest<'a> {
    /// The URL.
    pub url: &'a str,
    /// The SHA-512, as 128 hex digits.
    pub sha512: &'a str,
    /// The firmware that boots it.
    pub firmware: Firmware,
}

/// The content of `image.json`, next to the image.
#[derive(Serialize, Deserialize)]
struct Record {
    schema: u32,
    url: String,
    sha512: String,
    sha256: Digest,
    format: String,
    stamp: cache::Stamp,
}

/// Returns the image from the cache, or downloads it.
pub(super) async fn find_or_fetch(
    options: &QemuOptions,
    request: &ImageRequest<'_>,
    teardown: &mut Teardown,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Disk, BuilderError> {
    let sha512 = request.sha512.to_ascii_lowercase();
    if sha512.len() != 128 || !sha512.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(BuilderError::Image {
            path: request.url.into(),
            why: format!("the locked SHA-512 `{sha512}` is not 128 hex digits"),
        });
    }
    let images = options.cache.join("images");
    let name = &sha512[..32];
    let _lock = cache::lock(&images, name, events, interrupt).await?;
    let folder = images.join(name);
    if let Some(disk) = find(&folder, &sha512, request.firmware, interrupt).await? {
        events.note(format!("image {name} comes from the cache"));
        return Ok(disk);
    }
    let run = run_of(teardown.work());
    let temporary = images.join(format!("{name}.{run}.new"));
    teardown.register(Undo::Folder {
        path: temporary.clone(),
    })?;
    fs::create_dir(&temporary).map_err(BuilderError::file(&temporary))?;
    let path = temporary.join(IMAGE);
    http::fetch_file(request.url, &path, LIMIT_BYTES, events, interrupt).await?;
    let (found, sha256) = hashes(&path, interrupt).await?;
    if found != sha512 {
        return Err(BuilderError::WrongDigest {
            what: request.url.to_owned(),
            expected: sha512,
            found,
        });
    }
    let facts = disk_image::facts(&options.tools, &path, interrupt).await?;
    let record = Record {
        schema: 1,
        url: request.url.to_owned(),
        sha512: sha512.clone(),
        sha256,
        format: facts.format,
        stamp: cache::Stamp::of(&path)?,
    };
    cache::write_record(&temporary.join(RECORD), &record)?;
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(BuilderError::file(&folder))?;
    }
    fs::rename(&temporary, &folder).map_err(BuilderError::file(&folder))?;
    Ok(disk(&folder, record, request.firmware))
}

/// Returns the image in `folder` if it matches the lock file.
async fn find(
    folder: &Path,
    sha512: &str,
    firmware: Firmware,
    interrupt: &Interrupt,
) -> Result<Option<Disk>, BuilderError> {
    let record_path = folder.join(RECORD);
    let path = folder.join(IMAGE);
    let Some(mut record) = cache::read_record::<Record>(&record_path) else {
        return Ok(None);
    };
    if record.sha512 != sha512 || !path.is_file() {
        return Ok(None);
    }
    let stamp = cache::Stamp::of(&path)?;
    if stamp != record.stamp {
        if hashes(&path, interrupt).await?.0 != sha512 {
            return Ok(None);
        }
        record.stamp = stamp;
        cache::write_record(&record_path, &record)?;
    }
    Ok(Some(disk(folder, record, firmware)))
}

fn disk(folder: &Path, record: Record, firmware: Firmware) -> Disk {
    let path = folder.join(IMAGE);
    let file = DiskFile {
        path: fs::canonicalize(&path).unwrap_or(path),
        format: record.format,
        sha256: record.sha256,
    };
    Disk {
        content: Content::File(file),
        firmware,
        access: AccessBy::CloudInit,
        kernel: None,
    }
}

/// Returns the SHA-512 (hex) and the SHA-256 of a file, in one pass.
async fn hashes(path: &Path, interrupt: &Interrupt) -> Result<(String, Digest), BuilderError> {
    let path = path.to_owned();
    cache::blocking(interrupt, move || {
        hash_file(&path).map_err(BuilderError::file(&path))
    })
    .await
}

fn hash_file(path: &Path) -> io::Result<(String, Digest)> {
    let mut file = File::open(path)?;
    let mut sha512 = Sha512::new();
    let mut sha256 = HashingWriter::new(io::sink());
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hex(&sha512.finalize()), sha256.finish().0));
        }
        sha512.update(&buffer[..read]);
        io::Write::write_all(&mut sha256, &buffer[..read])?;
    }
}

/// The limit of a download. Cloud images of distributions are much smaller.
const LIMIT_BYTES: u64 = 16 << 30;
pub(super) const IMAGE: &str = "image";
pub(super) const RECORD: &str = "image.json";
