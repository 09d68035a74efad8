//! Errors of pin files, their hints, and their kinds: integrity, conflict or invalid input.

use std::path::PathBuf;

use super::SCHEMA;
use crate::store::StoreError;

/// Why a pin file could not be read, written, verified or updated.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The operating system failed.
    #[error("cannot access {}: {error}", path.display())]
    Io {
        /// The pin file.
        path: PathBuf,
        /// The error of the system.
        error: std::io::Error,
    },
    /// The file is not a valid pin file.
    #[error("{file} is not a valid pin file: {why}")]
    Shape {
        /// The pin file.
        file: String,
        /// The defect. It names an unknown or repeated key.
        why: String,
    },
    /// The file has a schema that this version does not know.
    #[error("{file} has the schema `{schema}`, expected `{SCHEMA}`")]
    Schema {
        /// The pin file.
        file: String,
        /// The schema of the file.
        schema: String,
    },
    /// A value in the file differs from its proof, or a proof is not valid.
    #[error("{file}: {of}: {field}: {why}")]
    InvalidProof {
        /// The pin file.
        file: String,
        /// `pin NAME`, or `store`.
        of: String,
        /// The field.
        field: String,
        /// The defect.
        why: String,
    },
    /// The given trust policy is not one of those in the file.
    #[error(
        "{file}: the given trust policy (version {version}) is not one of the {known} policies in the file"
    )]
    UntrustedPolicy {
        /// The pin file.
        file: String,
        /// The version of the given policy.
        version: u64,
        /// The number of policies that the file proves.
        known: usize,
    },
    /// The log of the store does not continue the log in the file.
    #[error("{file}: the store is older than the pin file, or is a different store: {why}")]
    OtherStore {
        /// The pin file.
        file: String,
        /// The difference.
        why: String,
    },
    /// No pin has this name.
    #[error("{file}: no pin has the name `{pin}`")]
    NoPin {
        /// The pin file.
        file: String,
        /// The requested name.
        pin: String,
        /// The names of all pins.
        there: Vec<String>,
    },
    /// A pin has this name already.
    #[error("{file}: the pin `{pin}` already exists")]
    Taken {
        /// The pin file.
        file: String,
        /// The name of the pin.
        pin: String,
    },
    /// The version that the channel points to must not be deployed.
    #[error("cannot pin {pin}: {why}")]
    Refused {
        /// The name of the pin.
        pin: String,
        /// The reason.
        why: String,
        /// The way out, as an imperative.
        hint: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PinError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Schema { .. } => Some("Use a newer vault-bake.".to_owned()),
            Self::OtherStore { .. } => {
                Some("Pass the store of the pin file, or restore it from a newer copy.".to_owned())
            }
            Self::NoPin { there, .. } if there.is_empty() => {
                Some("Run `vault-bake pin IMAGE:CHANNEL` to add a pin.".to_owned())
            }
            Self::NoPin { there, .. } => Some(format!("Use one of the pins {}.", there.join(", "))),
            Self::Taken { pin, .. } => {
                Some(format!("Run `vault-bake pin --update {pin}` to move it."))
            }
            Self::Refused { hint, .. } => Some(hint.clone()),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }

    /// Whether a record is not what was signed, or the store lacks entries that the file proves:
    /// exit code 7.
    pub fn is_integrity(&self) -> bool {
        match self {
            Self::InvalidProof { .. } | Self::UntrustedPolicy { .. } | Self::OtherStore { .. } => {
                true
            }
            Self::Store(error) => error.is_integrity(),
            _ => false,
        }
    }

    /// Whether a rule forbids it: exit code 6.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Taken { .. } | Self::Refused { .. } => true,
            Self::Store(error) => error.is_conflict(),
            _ => false,
        }
    }

    /// Whether the file is not valid, or has no such pin: exit code 2.
    pub fn is_invalid(&self) -> bool {
        matches!(
            self,
            Self::Shape { .. } | Self::Schema { .. } | Self::NoPin { .. }
        )
    }
}
