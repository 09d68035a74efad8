//! Finds the disk that a build started from, by its digest.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::cache::{blocking, read_record};
use super::{base, image};
use crate::builder::{BuilderError, DiskFile};
use crate::digest::Digest;
use crate::wait::Interrupt;

/// Finds a base or cloud image by the digest of its disk, and hashes the disk again to verify it.
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
                let Some(entry_record) = read_record::<DiskRecord>(&entry.path().join(record))
                else {
                    continue;
                };
                let path = entry.path().join(disk);
                let is_intact = || Digest::hash_file(&path).is_ok_and(|(found, _)| found == sha256);
                if entry_record.sha256 == sha256 && is_intact() {
                    return Ok(Some(DiskFile {
                        path,
                        format: entry_record.format.unwrap_or_else(|| "qcow2".to_owned()),
                        sha256,
                    }));
                }
            }
        }
        Ok(None)
    })
    .await
}

/// The fields that records of bases and of cloud images share.
#[derive(Deserialize)]
struct DiskRecord {
    sha256: Digest,
    format: Option<String>,
}
