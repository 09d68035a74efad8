//! Sends everything that the steps need, in one stream: the same bytes for the same plan.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Guest, ProvisionError};
use crate::plan::PlannedStep;
use crate::release::Verified;
use crate::ssh::{Archive, Packing, Session};

/// One file to send.
struct Entry {
    path: String,
    mode: u32,
    content: Content,
}

enum Content {
    Bytes(Vec<u8>),
    /// A file of this machine, whether compressed already, and its size in bytes.
    File(PathBuf, Packing, u64),
}

/// Uploads `lib.sh`, the files of every step, and the releases that steps from the one at `first` on are given.
pub async fn upload(
    guest: &Guest<'_>,
    session: &Session,
    first: usize,
) -> Result<(), ProvisionError> {
    let later = guest.steps.get(first..).unwrap_or_default();
    let given = |release: &&Verified| {
        let mut later = later.iter();
        later.any(|step| step.releases.contains(&release.locked.product))
    };
    let mut entries = vec![Entry {
        path: "lib.sh".to_owned(),
        mode: 0o644,
        content: Content::Bytes(guest.lib.to_vec()),
    }];
    for release in guest.archives.iter().filter(given) {
        entries.extend(release_entries(release).map_err(|(path, error)| {
            ProvisionError::Local {
                step: "upload".to_owned(),
                path: path.display().to_string(),
                error,
            }
        })?);
    }
    entries.extend(guest.steps.iter().flat_map(step_entries));
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let total_bytes = Some(entries.iter().map(Entry::size_bytes).sum());
    let entries = Arc::new(entries);
    let writing = || {
        let entries = Arc::clone(&entries);
        move |archive: &mut Archive<'_>| write(archive, &entries)
    };
    let (work, events, interrupt) = (guest.work, guest.events, guest.interrupt);
    let failed = |error| ProvisionError::ssh(session.endpoint(), error);
    if let Some(disk) = guest.upload_disk {
        let uploading =
            session.upload_by_disk((work, disk), total_bytes, writing(), events, interrupt);
        if uploading.await.map_err(failed)? {
            return Ok(());
        }
        events.note("the machine sees no disk for uploads; they go by SSH");
    }
    let uploading = session.upload(work, total_bytes, writing(), events, interrupt);
    uploading.await.map_err(failed)
}

impl Entry {
    fn size_bytes(&self) -> u64 {
        match &self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(_, _, size_bytes) => *size_bytes,
        }
    }
}

fn release_entries(release: &Verified) -> Result<Vec<Entry>, (PathBuf, io::Error)> {
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
                path: format!("releases/{product}/{name}"),
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
