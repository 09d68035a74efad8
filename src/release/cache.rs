//! The content-addressed cache of what releases are made of.
//!
//! In: a digest, and a way to get the bytes. Out: a file that has that digest, just now. A file that was damaged in the
//! cache is replaced by a fresh one. Several bakes may use one cache at once: every file comes to its place by a
//! rename, complete. Deliberately trusts no file for its name alone.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::ReleaseError;
use crate::digest::Digest;
use crate::event::Events;
use crate::http;
use crate::wait::Interrupt;

/// The part of a cache that holds releases.
#[derive(Clone)]
pub(super) struct Cache(PathBuf);

/// What is wanted: a file of this name and digest, which the lock names.
pub(super) struct CachedFile {
    /// The file's name.
    pub(super) file: String,
    /// The digest that it must have.
    pub(super) digest: Digest,
    /// Where it comes from, where the cache has it not.
    pub(super) url: String,
    /// The most that it may be, in bytes.
    pub(super) limit_bytes: u64,
}

impl Cache {
    /// The releases below `cache`.
    pub(super) fn below(cache: &Path) -> Self {
        Self(cache.join("releases"))
    }

    /// The folder of everything that belongs to the content `digest`.
    pub(super) fn folder(&self, digest: Digest) -> PathBuf {
        self.0.join("sha256").join(digest.hex())
    }

    /// Where the certificate with this primary fingerprint is kept.
    pub(super) fn certificate(&self, fingerprint: &str) -> PathBuf {
        self.0
            .join("keys")
            .join(format!("{}.asc", fingerprint.to_ascii_uppercase()))
    }

    /// The file that is `wanted`, from the cache or from where it comes from, and its size in bytes.
    pub(super) async fn file(
        &self,
        wanted: &CachedFile,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(PathBuf, u64), ReleaseError> {
        let path = self.folder(wanted.digest).join(&wanted.file);
        match digest_of(&path).await? {
            Some((digest, size_bytes)) if digest == wanted.digest => return Ok((path, size_bytes)),
            Some((found, _)) => events.warn(format!(
                "{}: damaged in the cache ({found}), fetching it again",
                wanted.file
            )),
            None => {}
        }
        let fresh = self.temporary()?;
        http::fetch_file(
            &wanted.url,
            fresh.path(),
            wanted.limit_bytes,
            events,
            interrupt,
        )
        .await?;
        let (found, size_bytes) = digest_of(fresh.path())
            .await?
            .unwrap_or((Digest::of([]), 0));
        if found != wanted.digest {
            return Err(ReleaseError::Mismatch {
                what: wanted.url.clone(),
                expected: wanted.digest.to_string(),
                found: found.to_string(),
            });
        }
        put(fresh, &path)?;
        Ok((path, size_bytes))
    }

    /// The bytes of a small file that is `wanted`.
    pub(super) async fn bytes(
        &self,
        wanted: &CachedFile,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Vec<u8>, ReleaseError> {
        let (path, _) = self.file(wanted, events, interrupt).await?;
        fs::read(&path).map_err(|error| at(&path, error))
    }

    /// A new file that is removed unless it is [`put`] in its place.
    pub(super) fn temporary(&self) -> Result<NamedTempFile, ReleaseError> {
        let folder = self.0.join("tmp");
        make_folder(&folder)?;
        NamedTempFile::new_in(&folder).map_err(|error| at(&folder, error))
    }

    /// A new file with this content, as [`Self::temporary`] makes it.
    pub(super) fn temporary_with(&self, content: &[u8]) -> Result<NamedTempFile, ReleaseError> {
        let mut fresh = self.temporary()?;
        fresh
            .write_all(content)
            .map_err(|error| at(fresh.path(), error))?;
        Ok(fresh)
    }
}

/// Gives a complete file its final name, in place of whatever had it.
pub(super) fn put(fresh: NamedTempFile, path: &Path) -> Result<(), ReleaseError> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    fresh
        .as_file()
        .sync_all()
        .map_err(|error| at(path, error))?;
    fresh.persist(path).map_err(|error| at(path, error.error))?;
    Ok(())
}

/// The digest and size in bytes of the file at `path`, where there is one.
pub(super) async fn digest_of(path: &Path) -> Result<Option<(Digest, u64)>, ReleaseError> {
    let path = path.to_owned();
    off_thread(move || match Digest::of_file(&path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(&path, error)),
    })
    .await
}

/// Runs work that takes long without waiting for anything beside the threads that wait.
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

/// An error about a file of ours.
pub(super) fn at(path: &Path, error: io::Error) -> ReleaseError {
    ReleaseError::File {
        path: path.to_owned(),
        error,
    }
}

fn make_folder(folder: &Path) -> Result<(), ReleaseError> {
    fs::create_dir_all(folder).map_err(|error| at(folder, error))
}
