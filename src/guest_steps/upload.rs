//! Uploads the files and releases that the steps need.
//! Over SSH this is one stream, with equal bytes for equal plans.
//! A local VM gets a disk with unpacked releases, which is much faster under emulation.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::{ProvisionError, StepContext};
use crate::plan::PlannedStep;
use crate::release::VerifiedRelease;
use crate::ssh::{Archive, Packing, Session};

/// One file to send.
struct Entry {
    path: String,
    mode: u32,
    content: Content,
}

enum Content {
    Bytes(Vec<u8>),
    /// A file on this computer, with its size in bytes.
    File(PathBuf, Packing, u64),
}

/// Uploads `lib.sh`, the files of all steps, and the releases for the steps from index `first`.
pub async fn upload(
    guest: &StepContext<'_>,
    session: &Session,
    first: usize,
) -> Result<(), ProvisionError> {
    let (work, events, interrupt) = (guest.work, guest.events, guest.interrupt);
    let ssh_error = |error| ProvisionError::ssh(session.endpoint(), error);
    if guest.uses_upload_disk {
        let uploaded = session.upload_from_disk(work, interrupt).await;
        if uploaded.map_err(ssh_error)? {
            return Ok(());
        }
        events.note("the build VM has no upload disk; uploading over SSH");
    }
    let later = guest.steps.get(first..).unwrap_or_default();
    let is_needed = |release: &&VerifiedRelease| {
        let mut later = later.iter();
        later.any(|step| step.releases.contains(&release.locked.product))
    };
    let mut entries = small_entries(guest);
    for release in guest.archives.iter().filter(is_needed) {
        let of_release = release_entries(release);
        entries.extend(of_release.map_err(|(path, error)| file_error(&path, error))?);
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let total_bytes = Some(entries.iter().map(Entry::size_bytes).sum());
    let writing = move |archive: &mut Archive<'_>| write(archive, &entries);
    let uploading = session.upload(work, total_bytes, writing, events, interrupt);
    uploading.await.map_err(ssh_error)
}

/// Unpacks the releases into the new folder `folder`, for the upload disk. Blocks the thread.
pub fn unpack(releases: &[VerifiedRelease], folder: &Path) -> Result<(), ProvisionError> {
    for release in releases {
        let product = &release.locked.product;
        let to = folder.join(RELEASES).join(product);
        let unpacked = fs::create_dir_all(&to).and_then(|()| {
            release.unpack_binary(&to.join(product))?;
            for (name, licence) in &release.licences {
                fs::copy(licence, to.join(name))?;
            }
            Ok(())
        });
        unpacked.map_err(|error| file_error(&to, error))?;
    }
    Ok(())
}

/// Adds `lib.sh` and the files of all steps to a folder that [`unpack`] filled.
pub fn pack(guest: &StepContext<'_>, folder: &Path) -> Result<(), ProvisionError> {
    let path = folder.join("work.tar");
    let mut entries = small_entries(guest);
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let write_all = || {
        fs::create_dir_all(folder)?;
        let mut file = BufWriter::new(File::create(&path)?);
        let mut no_progress = |_bytes| {};
        let mut archive = Archive::plain(&mut file, &mut no_progress);
        write(&mut archive, &entries)?;
        archive.finish()?;
        file.flush()
    };
    write_all().map_err(|error| file_error(&path, error))
}

/// Returns `lib.sh` and the files of all steps.
fn small_entries(guest: &StepContext<'_>) -> Vec<Entry> {
    let lib = Entry {
        path: "lib.sh".to_owned(),
        mode: 0o644,
        content: Content::Bytes(guest.lib.to_vec()),
    };
    let steps = guest.steps.iter().flat_map(step_entries);
    std::iter::once(lib).chain(steps).collect()
}

fn file_error(path: &Path, error: io::Error) -> ProvisionError {
    ProvisionError::Local {
        step: "upload".to_owned(),
        path: path.display().to_string(),
        error,
    }
}

/// The folder with one subfolder for each release.
const RELEASES: &str = "releases";

impl Entry {
    fn size_bytes(&self) -> u64 {
        match &self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(_, _, size_bytes) => *size_bytes,
        }
    }
}

fn release_entries(release: &VerifiedRelease) -> Result<Vec<Entry>, (PathBuf, io::Error)> {
    let product = &release.locked.product;
    let binary = (format!("{product}.gz"), &release.binary_gz, Packing::Stored);
    let licences = release
        .licences
        .iter()
        .map(|(name, path)| (name.clone(), path, Packing::Compressed));
    std::iter::once(binary)
        .chain(licences)
        .map(|(name, from, packing)| {
            let metadata = std::fs::metadata(from).map_err(|error| (from.clone(), error))?;
            Ok(Entry {
                path: format!("{RELEASES}/{product}/{name}"),
                mode: 0o644,
                content: Content::File(from.clone(), packing, metadata.len()),
            })
        })
        .collect()
}

fn step_entries(step: &PlannedStep) -> impl Iterator<Item = Entry> {
    step.files.iter().map(|file| Entry {
        path: format!("steps/{}/{}", step.name, file.path),
        mode: file.mode,
        content: Content::Bytes(file.content.clone()),
    })
}

fn write(archive: &mut Archive<'_>, entries: &[Entry]) -> io::Result<()> {
    archive.folders_above(entries.iter().map(|entry| entry.path.as_str()))?;
    for entry in entries {
        match &entry.content {
            Content::Bytes(bytes) => archive.bytes(&entry.path, entry.mode, bytes)?,
            Content::File(from, packing, _) => {
                archive.file(&entry.path, entry.mode, from, *packing)?;
            }
        }
    }
    Ok(())
}
