//! Signs records, and finds out which keys signed them and which roles these keys have.
//! Envelopes are DSSE, so openssl and other tools can check them. A key id only selects the key to
//! try. No keys are stored here.

mod envelope;
mod key;
mod signer;
mod statement;
mod trust;

pub use envelope::{Envelope, Signature, pre_authentication_encoding};
pub use key::{KeyId, PublicKey, SigningKey};
pub use signer::{Signer, sign};
pub use statement::{STATEMENT_PAYLOAD_TYPE, STATEMENT_TYPE, Statement, Subject};
pub use trust::{
    Grant, GrantScope, PolicyChangeError, Role, Shortage, SuccessionError, TRUST_SCHEMA, Trust,
    matches,
};

use std::path::PathBuf;

use crate::canonical::CanonicalError;
use crate::process::ProcessError;

/// Why a signature could not be made, or is not valid.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A key cannot be used.
    #[error("cannot use the key {what}: {why}")]
    Key {
        /// The file, or the owner of the key.
        what: String,
        /// The defect.
        why: String,
    },
    /// Other users can read the key file.
    #[error("cannot use the key {}: other users can read it", path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
    },
    /// The external signer failed.
    #[error("cannot sign with the external signer: {0}")]
    Command(#[from] ProcessError),
    /// The output of the external signer is not a signature by its key.
    #[error("cannot sign with the external signer {program}: {why}")]
    InvalidOutput {
        /// The program.
        program: String,
        /// The defect of its output.
        why: String,
    },
    /// The envelope is not canonical JSON.
    #[error("cannot parse the envelope: {0}")]
    Canonical(#[from] CanonicalError),
    /// An envelope, a statement or a policy does not have the required form.
    #[error("the {what} is not valid: {why}")]
    Shape {
        /// The kind of record.
        what: &'static str,
        /// The defect.
        why: String,
    },
    /// A signature is not valid, or the policy does not contain its key.
    #[error("the signature by key {key} {why}")]
    Invalid {
        /// The id of the key, according to the envelope.
        key: String,
        /// The defect.
        why: &'static str,
    },
}

impl SignError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Key { .. } => "Use an ed25519 or P-256 key in PEM. \
                Run `openssl genpkey -algorithm ed25519` to create one."
                .to_owned(),
            Self::Exposed { path } => format!("Run `chmod 600 {}`.", path.display()),
            Self::Command(error) => return error.hint(),
            _ => return None,
        })
    }
}
