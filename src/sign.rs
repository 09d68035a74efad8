//! Signatures of records: who says so, and who may.
//!
//! In: bytes of a record and a [`Signer`], or a stored [`Envelope`] and a [`Trust`] policy. Out: an envelope, or the keys
//! that signed it and the roles that they hold. Envelopes are DSSE, so they can be checked with openssl and any other
//! tool that knows the format. Deliberately keeps no key of its own and believes no key id: an id only says which key to
//! try.

mod envelope;
mod key;
mod signer;
mod statement;
mod trust;

pub use envelope::{Envelope, Signature, pre_authentication_encoding};
pub use key::{KeyId, PublicKey, SigningKey};
pub use signer::{Signer, sign};
pub use statement::{STATEMENT_PAYLOAD_TYPE, STATEMENT_TYPE, Statement, Subject};
pub use trust::{Grant, Role, Shortage, TRUST_SCHEMA, Trust, matches};

use std::path::PathBuf;

use crate::canonical::CanonicalError;
use crate::process::ProcessError;

/// A signature could not be made, or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A key that cannot be read.
    #[error(
        "{what}: {why}; expected an ed25519 or P-256 key in PEM, as `openssl genpkey -algorithm ed25519` writes it"
    )]
    Key {
        /// The file, or whose key it is.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A key file that somebody else could read.
    #[error("{}: readable by others than its owner: chmod 600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The external signer failed.
    #[error("external signer: {0}")]
    Command(#[from] ProcessError),
    /// The external signer gave something that is no signature by its key.
    #[error("external signer {program}: {why}")]
    NotASignature {
        /// The program.
        program: String,
        /// What is wrong.
        why: String,
    },
    /// An envelope that is none.
    #[error("envelope: {0}")]
    Canonical(#[from] CanonicalError),
    /// An envelope, a statement or a policy without the shape that it must have.
    #[error("{what}: {why}")]
    Shape {
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A signature that does not hold, or is by a key that the policy does not know.
    #[error("the signature by key {key} {why}")]
    Invalid {
        /// The id of the key, as the envelope says it.
        key: String,
        /// What is wrong.
        why: &'static str,
    },
}

impl SignError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}
