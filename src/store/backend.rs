//! The storage interface: names whose bytes are created once and never change.
//! It offers only what a write-once blob container can do. The exception is removing an artifact;
//! see [`ArtifactName`].

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// Whether `create` wrote the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The name was free and now has our bytes, durably.
    New,
    /// The name already has bytes, ours or others. Nothing changed.
    Exists,
}

/// A flat space of names. A name is a relative path: parts of letters, digits, `-`, `_` and `.`,
/// joined by `/`.
pub trait Backend: Send + Sync + 'static {
    /// Returns the location, for messages.
    fn location(&self) -> String;

    /// Reads the bytes under `name`.
    fn get(&self, name: &str)
    -> impl Future<Output = Result<Option<Vec<u8>>, BackendError>> + Send;

    /// Hashes the bytes under `name`, which need not fit into memory.
    fn digest(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Digest>, BackendError>> + Send;

    /// Whether `name` exists.
    fn exists(&self, name: &str) -> impl Future<Output = Result<bool, BackendError>> + Send;

    /// Returns the size of `name` in bytes. A folder is [`BackendError::NoFile`].
    fn size(&self, name: &str) -> impl Future<Output = Result<Option<u64>, BackendError>> + Send;

    /// Writes `bytes` under `name` if it is free. Readers see all bytes or none. Returns once they
    /// are durable.
    fn create(
        &self,
        name: &str,
        bytes: &[u8],
    ) -> impl Future<Output = Result<Created, BackendError>> + Send;

    /// Lists all names that begin with `prefix`, sorted. `prefix` ends with `/`.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Vec<String>, BackendError>> + Send;

    /// Stores the file `from`, of any size, under `name` if it is free. The caller must not change
    /// the file any more, and it may be gone afterwards. If the bytes are read on the way and do
    /// not have the given `digest`, fails with [`BackendError::OtherContent`] and stores nothing.
    fn create_file(
        &self,
        name: &str,
        from: &Path,
        digest: &Digest,
    ) -> impl Future<Output = Result<Created, BackendError>> + Send;

    /// Copies the bytes under `name` to the new file `to`, and returns their digest. After an
    /// error, the content of `to` is undefined.
    fn fetch_file(
        &self,
        name: &str,
        to: &Path,
    ) -> impl Future<Output = Result<Option<Digest>, BackendError>> + Send;

    /// Removes an artifact, durably. Succeeds if it does not exist.
    fn remove(&self, name: &ArtifactName) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Whether storing a file needs no network and runs to its end once begun.
    fn is_local(&self) -> bool {
        false
    }

    /// Returns the local file with the bytes under `name`, if the backend has one.
    fn local_file(&self, name: &str) -> Result<Option<PathBuf>, BackendError> {
        let _ = name;
        Ok(None)
    }
}

/// The folder of the artifacts.
pub(in crate::store) const ARTIFACTS: &str = "artifacts/";

/// The name of an artifact. Only artifacts can be removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactName(String);

impl ArtifactName {
    /// Checks that `name` is a name below `artifacts/`; otherwise fails with
    /// [`BackendError::Permanent`].
    pub fn new(name: &str) -> Result<Self, BackendError> {
        if name.starts_with(ARTIFACTS) && is_store_name(name) {
            Ok(Self(name.to_owned()))
        } else {
            Err(BackendError::Permanent(name.to_owned()))
        }
    }

    /// Returns the whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a backend could not read, write or remove.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The operating system failed.
    #[error("cannot access {name} in the store: {error}")]
    Io {
        /// The name or path.
        name: String,
        /// The error of the system.
        error: io::Error,
    },
    /// The blob service refused, failed, or could not be reached.
    #[error("cannot access {name} in {place}: {why}")]
    Service {
        /// The container, as a URL without any credential.
        place: String,
        /// The name in the store.
        name: String,
        /// The answer of the service.
        why: String,
        /// The way out, if there is one.
        hint: Option<&'static str>,
    },
    /// The file to store does not have the given digest.
    #[error("cannot store {name}: the file has the digest {found}")]
    OtherContent {
        /// The name.
        name: String,
        /// The digest of the file.
        found: Digest,
    },
    /// A folder has the name of a file.
    #[error("{0} in the store is not a file")]
    NoFile(String),
    /// Only artifacts can be removed.
    #[error("cannot remove `{0}` from the store: only artifacts can be removed")]
    Permanent(String),
    /// The name could lead out of the store.
    #[error("`{0}` is not a valid name in a store")]
    Name(String),
    /// The file system can neither link nor rename without replacing.
    #[error(
        "cannot create {place}: the file system supports neither hard links nor rename without replacing: {error}"
    )]
    Unsupported {
        /// The file to create.
        place: String,
        /// The error of the system.
        error: io::Error,
    },
}

impl BackendError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Service { hint, .. } => hint.map(str::to_owned),
            Self::Unsupported { .. } => {
                Some("Keep the store on a local file system, for example ext4 or xfs.".to_owned())
            }
            _ => None,
        }
    }
}

/// Whether `name` is a relative path that stays within the store.
pub(crate) fn is_store_name(name: &str) -> bool {
    let part = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        !part.is_empty() && part != "." && part != ".." && part.bytes().all(allowed)
    };
    name.split('/').all(part)
}
