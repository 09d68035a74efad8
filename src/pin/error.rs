//! How pins fail, and which of that is somebody's doing.

use std::path::PathBuf;

use super::SCHEMA;
use crate::store::StoreError;

/// A pin file could not be read or written, does not prove what it says, or does not fit the store.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Reading or writing failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Not a pin file.
    #[error("{file}: {why}")]
    Shape {
        /// The file.
        file: String,
        /// What is wrong; an unknown or repeated key is named.
        why: String,
    },
    /// Made by another version.
    #[error(
        "{file} has the schema `{schema}`, expected `{SCHEMA}`; a newer vault-bake may know it"
    )]
    Schema {
        /// The file.
        file: String,
        /// What it says.
        schema: String,
    },
    /// What the file says is not what its proofs say.
    #[error("{file}: {of}: {field}: {why}")]
    Broken {
        /// The file.
        file: String,
        /// `pin NAME`, or `store`.
        of: String,
        /// Which part of it.
        field: String,
        /// What is wrong.
        why: String,
    },
    /// The reader's own policy is none of those in the file.
    #[error(
        "{file}: your trust policy (version {version}) is none of the {known} that the store had when the file was written"
    )]
    Distrusted {
        /// The file.
        file: String,
        /// Of the reader's policy.
        version: u64,
        /// How many policies the file proves.
        known: usize,
    },
    /// The store does not continue the log that the file remembers.
    #[error("{file}: this store is older than, or not, the one of the pin file: {why}")]
    OtherStore {
        /// The file.
        file: String,
        /// What tells them apart.
        why: String,
    },
    /// There is none of this name.
    #[error("{file}: no pin is called `{pin}`; there is {}", if .there.is_empty() { "none at all".to_owned() } else { .there.join(", ") })]
    NoPin {
        /// The file.
        file: String,
        /// The name.
        pin: String,
        /// All names.
        there: Vec<String>,
    },
    /// There is one already.
    #[error("{file}: there is a pin `{pin}` already; `vault-bake pin --update {pin}` moves it")]
    Taken {
        /// The file.
        file: String,
        /// The name.
        pin: String,
    },
    /// What the channel holds must not be deployed.
    #[error("{pin}: {why}")]
    Refused {
        /// The pin.
        pin: String,
        /// Why, and what to do instead.
        why: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PinError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }

    /// Whether something is not what was signed, or a store lacks what the file remembers: exit code 7.
    pub fn is_integrity(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Distrusted { .. } | Self::OtherStore { .. } => true,
            Self::Store(error) => error.is_integrity(),
            _ => false,
        }
    }

    /// Whether a guard says no: exit code 6.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Taken { .. } | Self::Refused { .. } => true,
            Self::Store(error) => error.is_conflict(),
            _ => false,
        }
    }

    /// Whether the file is none, or has no such pin: exit code 2.
    pub fn is_invalid(&self) -> bool {
        matches!(
            self,
            Self::Shape { .. } | Self::Schema { .. } | Self::NoPin { .. }
        )
    }
}
