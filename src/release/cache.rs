//! Returns files of releases from a content-addressed cache, or fetches them into it.
//! Every file is hashed before use, and fetched again if it is damaged.
//! Concurrent builds may share a cache: each file gets its name by a rename, when it is complete.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::ReleaseError;
use crate::digest::Digest;
use crate::event::Events;
use crate::http;
use crate::wait::Interrupt;

/// The folder of a cache for releases.
#[derive(Clone)]
pub(super) struct Cache(PathBuf);

/// A file that the lock file names.
pub(super) struct CachedFile {
    pub(super) file: String,
    /// The digest that the file must have.
    pub(super) digest: Digest,
    /// The source, if the cache does not have the file.
    pub(super) url: String,
    pub(super) limit_bytes: u64,
}

impl Cache {
    /// Returns the releases in the folder `cache`.
    pub(super) fn below(cache: &Path) -> Self {
        Self(cache.join("releases"))
    }

    /// Returns the folder for the content `digest`.
    pub(super) fn folder(&self, digest: Digest) -> PathBuf {
        self.0.join("sha256").join(digest.hex())
    }

    /// Returns the path of the certificate with this primary fingerprint.
    pub(super) fn certificate(&self, fingerprint: &str) -> PathBuf {
        self.0
            .join("keys")
            .join(format!("{}.asc", fingerprint.to_ascii_uppercase()))
    }

    /// Returns the path and the size in bytes of `expected`. Fetches it if needed.
    pub(super) async fn file(
        &self,
        expected: &CachedFile,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(PathBuf, u64), ReleaseError> {
        let path = self.folder(expected.digest).join(&expected.file);
        match digest_of(&path).await? {
            Some((digest, size_bytes)) if digest == expected.digest => {
                return Ok((path, size_bytes));
            }
            Some((found, _)) => events.warn(format!(
                "{} is damaged in the cache, fetching it again: expected {}, found {found}",
                expected.file, expected.digest
            )),
            None => {}
        }
        let download = self.temporary()?;
        http::fetch_file(
            &expected.url,
            download.path(),
            expected.limit_bytes,
            events,
            interrupt,
        )
        .await?;
        let (found, size_bytes) = digest_of(download.path())
            .await?
            .unwrap_or((Digest::hash_bytes([]), 0));
        if found != expected.digest {
            return Err(ReleaseError::Mismatch {
                what: expected.url.clone(),
                expected: expected.digest.to_string(),
                found: found.to_string(),
            });
        }
        persist(download, &path)?;
        Ok((path, size_bytes))
    }

    /// Returns the content of `expected`, a small file.
    pub(super) async fn bytes(
        &self,
        expected: &CachedFile,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Vec<u8>, ReleaseError> {
        let (path, _) = self.file(expected, events, interrupt).await?;
        fs::read(&path).map_err(|error| file_error(&path, error))
    }

    /// Creates a file that is deleted on drop, unless [`persist`] renames it.
    pub(super) fn temporary(&self) -> Result<NamedTempFile, ReleaseError> {
        let folder = self.0.join("tmp");
        make_folder(&folder)?;
        NamedTempFile::new_in(&folder).map_err(|error| file_error(&folder, error))
    }

    /// Creates a file with `content`, as [`Self::temporary`] does.
    pub(super) fn temporary_with(&self, content: &[u8]) -> Result<NamedTempFile, ReleaseError> {
        let mut file = self.temporary()?;
        file.write_all(content)
            .map_err(|error| file_error(file.path(), error))?;
        Ok(file)
    }
}

/// Flushes a complete file and renames it to `path`, replacing an existing file.
pub(super) fn persist(file: NamedTempFile, path: &Path) -> Result<(), ReleaseError> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    file.as_file()
        .sync_all()
        .map_err(|error| file_error(path, error))?;
    file.persist(path)
        .map_err(|error| file_error(path, error.error))?;
    Ok(())
}

/// Returns the digest and size in bytes of the file at `path`, or `None` if there is no file.
pub(super) async fn digest_of(path: &Path) -> Result<Option<(Digest, u64)>, ReleaseError> {
    let path = path.to_owned();
    off_thread(move || match Digest::hash_file(&path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(&path, error)),
    })
    .await
}

/// Runs blocking work on a thread of the blocking pool.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReleaseError> + Send + 'static,
) -> Result<T, ReleaseError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(
            error
                .try_into_panic()
                .unwrap_or_else(|error| Box::new(error.to_string())),
        ),
    }
}

pub(super) fn file_error(path: &Path, error: io::Error) -> ReleaseError {
    ReleaseError::File {
        path: path.to_owned(),
        error,
    }
}

fn make_folder(folder: &Path) -> Result<(), ReleaseError> {
    fs::create_dir_all(folder).map_err(|error| file_error(folder, error))
}
