//! How a store fails, and which of that is somebody else's doing.

use std::path::PathBuf;

use super::SCHEMA;
use super::backend::BackendError;
use crate::digest::Digest;
use crate::manifest::ManifestError;
use crate::sign::{Role, Shortage, SignError};

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
    /// It does not have what it had when it was last read here.
    #[error(
        "integrity: the store {place} is older than what was seen of it here before: its entry {seq} is gone or another; restore it from a newer copy, or, if going back is meant, delete {}",
        memory.display()
    )]
    WentBack {
        /// Where.
        place: String,
        /// The number of the last entry that is remembered.
        seq: u64,
        /// The folder that remembers.
        memory: PathBuf,
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
    /// A channel that nothing was ever promoted to.
    #[error(
        "{0} is not there: `vault-bake promote` makes a channel, `vault-bake channel` lists them"
    )]
    NoChannel(String),
    /// No entry of this number revokes.
    #[error("entry {0} of the log is no revocation; `vault-bake revoke --list` shows them")]
    NoRevocation(u64),
    /// No entry of this number plans to remove artifacts.
    #[error("entry {0} of the log is no plan to remove artifacts; `vault-bake gc` shows them")]
    NoGcPlan(u64),
    /// There is nobody to sign.
    #[error("no signing key: give --signing-key")]
    NoSigner,
    /// Signing failed, or a signature does not hold.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The keys at hand may not say so.
    #[error("cannot act as {role} for {of}: {shortage}")]
    NotAllowed {
        /// What would be needed.
        role: Role,
        /// An image, or an image and a channel.
        of: String,
        /// Which keys signed, and which the trust policy asks for.
        shortage: Shortage,
    },
    /// A trust policy that may not follow the one in force.
    #[error("trust policy refused: {0}")]
    Policy(String),
    /// A guard says no.
    #[error("{what}: {why}")]
    Refused {
        /// What was asked to change.
        what: String,
        /// Why not, and the way out.
        why: String,
    },
    /// Somebody else moved the channel.
    #[error("{channel} is at generation {found}, expected {expected}: look again, then repeat")]
    ChannelMoved {
        /// `image:channel`.
        channel: String,
        /// The generation that the caller had seen.
        expected: u64,
        /// The generation that it is at.
        found: u64,
    },
    /// An artifact that something holds.
    #[error("the artifact of {name} is held by {by}")]
    Held {
        /// `image@version`.
        name: String,
        /// What holds it.
        by: String,
    },
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
        error: SignError,
    },
}

impl StoreError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }

    /// Whether something stored is not what it was: exit code 7.
    pub fn is_integrity(&self) -> bool {
        match self {
            Self::Integrity { .. }
            | Self::WentBack { .. }
            | Self::Sign(SignError::Invalid { .. }) => true,
            Self::Unreadable { error, .. } => !matches!(
                error,
                ManifestError::Schema(_) | ManifestError::MustUnderstand(_)
            ),
            _ => false,
        }
    }

    /// Whether somebody else was first, or a guard says no: exit code 6.
    pub fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::VersionTaken { .. }
                | Self::ChannelMoved { .. }
                | Self::Refused { .. }
                | Self::NotAllowed { .. }
                | Self::Policy(_)
                | Self::Held { .. }
        )
    }

    pub(super) fn integrity(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Integrity {
            what: what.into(),
            why: why.into(),
        }
    }
}
