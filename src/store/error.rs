//! How a store fails, and which of that is somebody else's doing.

use super::SCHEMA;
use super::backend::BackendError;
use crate::digest::Digest;
use crate::manifest::{CanonicalError, ManifestError};

/// The store failed, refused, or holds something that it should not.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// There is none.
    #[error("no store at {0}: a first build creates it")]
    NoStore(String),
    /// It was made by another version.
    #[error(
        "the store {of} has the schema `{schema}`, expected `{SCHEMA}`; a newer vault-bake may know it"
    )]
    Schema {
        /// Where.
        of: String,
        /// What it says.
        schema: String,
    },
    /// What is stored is not what was stored.
    #[error("integrity: {what}: {why}; restore it from a copy, and find out who altered it")]
    Integrity {
        /// The name of the object, entry or file.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A manifest that this version cannot read.
    #[error("{digest}: {error}")]
    Unreadable {
        /// Its digest.
        digest: Digest,
        /// Why.
        error: ManifestError,
    },
    /// An event that readers must know, and this version does not.
    #[error(
        "entry {seq} of the log is a `{kind}`, which readers must know; use a newer vault-bake"
    )]
    UnknownEvent {
        /// Its number.
        seq: u64,
        /// Its kind.
        kind: String,
    },
    /// The name is taken: versions are never published twice.
    #[error(
        "{name} is recorded already, as {digest}: pass another --version, or none for the next free one"
    )]
    VersionTaken {
        /// `image@version`.
        name: String,
        /// Of the manifest that has it.
        digest: Digest,
    },
    /// The scheme `YYYY.MMDD.N` has no number left.
    #[error("{0} has no version left for this day: pass --version")]
    NoVersionLeft(String),
    /// Nothing has this name.
    #[error("{0} is not in the store; `vault-bake images` lists what is")]
    NotFound(String),
    /// Several have this beginning.
    #[error("{reference} is the beginning of several digests ({}): give more digits", .candidates.join(", "))]
    Ambiguous {
        /// As given.
        reference: String,
        /// All of them.
        candidates: Vec<String>,
    },
    /// A feature that is yet to come.
    #[error("{0} names a channel, and channels are not there yet: use name@version or sha256:…")]
    NoChannels(String),
    /// A record names something that has to be stored before it.
    #[error("{what} has to be stored before the record that names it")]
    NotYetStored {
        /// What is missing.
        what: String,
    },
    /// A manifest that must not be stored.
    #[error("not recorded: {0}")]
    BadManifest(ManifestError),
    /// A test record that must not be stored.
    #[error("test record of {manifest}: {error}")]
    BadTest {
        /// What it is about.
        manifest: Digest,
        /// What is wrong.
        error: CanonicalError,
    },
}

impl StoreError {
    /// Whether something stored is not what it was: exit code 7.
    pub fn is_integrity(&self) -> bool {
        match self {
            Self::Integrity { .. } => true,
            Self::Unreadable { error, .. } => !matches!(
                error,
                ManifestError::Schema(_) | ManifestError::MustUnderstand(_)
            ),
            _ => false,
        }
    }

    /// Whether somebody else was first: exit code 6.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::VersionTaken { .. })
    }

    pub(super) fn integrity(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Integrity {
            what: what.into(),
            why: why.into(),
        }
    }
}
