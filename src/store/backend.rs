//! What a store is kept in: a flat space of names that bytes are created under, once.
//!
//! Small on purpose: what cannot be done in a write-once blob container has no place here, but for one thing. The bytes of an
//! artifact may be removed; which names those are is for [`ArtifactName`] to say, once for all backends.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// Whether a name was free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was, and now has our bytes, durably.
    New,
    /// It has bytes already, ours or another's. Nothing was changed.
    Exists,
}

/// Names and bytes. Names are relative paths: parts of letters, digits, `-`, `_` and `.`, joined by `/`.
pub trait Backend: Send + Sync + 'static {
    /// Where this is, for messages.
    fn place(&self) -> String;

    /// The bytes under `name`.
    fn get(&self, name: &str)
    -> impl Future<Output = Result<Option<Vec<u8>>, BackendError>> + Send;

    /// The digest of the bytes under `name`, which may be too many to hold in memory.
    fn digest(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Digest>, BackendError>> + Send;

    /// Whether there is something under `name`.
    fn exists(&self, name: &str) -> impl Future<Output = Result<bool, BackendError>> + Send;

    /// How many bytes are under `name`. What is there and is no file is [`BackendError::NoFile`].
    fn size(&self, name: &str) -> impl Future<Output = Result<Option<u64>, BackendError>> + Send;

    /// Puts `bytes` under `name` if it is free. Readers see all of the bytes or none. Returns once they are durable.
    fn create(
        &self,
        name: &str,
        bytes: &[u8],
    ) -> impl Future<Output = Result<Created, BackendError>> + Send;

    /// All names that begin with `prefix`, which ends with `/`, sorted.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Vec<String>, BackendError>> + Send;

    /// Puts the file `from`, of any size, under `name` if it is free, as [`Self::create`] does with bytes. Nobody may
    /// change the file any more, and it may be gone afterwards. Where its bytes are read on the way and have another
    /// digest than `digest`, nothing is put: [`BackendError::OtherContent`].
    fn create_file(
        &self,
        name: &str,
        from: &Path,
        digest: &Digest,
    ) -> impl Future<Output = Result<Created, BackendError>> + Send;

    /// Writes the bytes under `name` to the new file `to`, and returns their digest. Where it fails, what is at `to`
    /// is not to be used.
    fn fetch_file(
        &self,
        name: &str,
        to: &Path,
    ) -> impl Future<Output = Result<Option<Digest>, BackendError>> + Send;

    /// Removes the artifact `name`, durably. One that is not there is removed already.
    fn remove(&self, name: &ArtifactName) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Whether taking in a file is short: a matter of this machine, always finished once begun.
    fn is_near(&self) -> bool {
        false
    }

    /// The file of this machine that holds the bytes under `name`, where the backend keeps them in one.
    fn local_file(&self, name: &str) -> Result<Option<PathBuf>, BackendError> {
        let _ = name;
        Ok(None)
    }
}

/// Where artifacts are.
pub(in crate::store) const ARTIFACTS: &str = "artifacts/";

/// The name of an artifact: the only names that anything can be removed from. Records have none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactName(String);

impl ArtifactName {
    /// `name`, if it is one below `artifacts/`; else [`BackendError::Permanent`].
    pub fn new(name: &str) -> Result<Self, BackendError> {
        if name.starts_with(ARTIFACTS) && is_store_name(name) {
            Ok(Self(name.to_owned()))
        } else {
            Err(BackendError::Permanent(name.to_owned()))
        }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Reading, writing or removing failed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The system says so.
    #[error("store: {name}: {error}")]
    Io {
        /// The name or path.
        name: String,
        /// What it says.
        error: io::Error,
    },
    /// The blob service refused, failed, or could not be reached.
    #[error("store: {place}: {name}: {why}")]
    Service {
        /// The container, as a URL without any credential.
        place: String,
        /// The name in the store.
        name: String,
        /// What it says, and what to do about it.
        why: String,
    },
    /// A file that was to be put into the store is not what it was said to be.
    #[error("store: {name}: the file to be put there has the digest {found}")]
    OtherContent {
        /// The name.
        name: String,
        /// Of the file.
        found: Digest,
    },
    /// Something that cannot have bytes is there, as a folder.
    #[error("store: {0} is no file")]
    NoFile(String),
    /// Something else than an artifact was to be removed.
    #[error("store: `{0}` is no artifact, and nothing else is ever removed")]
    Permanent(String),
    /// A name that could lead out of the store.
    #[error("store: `{0}` is not a name of the store")]
    Name(String),
    /// The file system can neither link nor rename without replacing.
    #[error(
        "store: {place} is on a file system that can create a file neither by hard link nor by rename without replacing ({error}); keep the store on a local one, as ext4 or xfs"
    )]
    Unsupported {
        /// Where.
        place: String,
        /// What the system says.
        error: io::Error,
    },
}

impl BackendError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

/// Whether `name` stays within the store.
pub fn is_store_name(name: &str) -> bool {
    let part = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        !part.is_empty() && part != "." && part != ".." && part.bytes().all(allowed)
    };
    name.split('/').all(part)
}
