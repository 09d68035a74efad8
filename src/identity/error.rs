//! The errors of identities.

use openssl::error::ErrorStack;

use crate::process::ProcessError;
use crate::wait::Interrupted;

/// An identity that cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// An error of OpenSSL.
    #[error("cannot generate {what}: {error}")]
    Crypto {
        /// The key or certificate.
        what: String,
        /// The errors of OpenSSL.
        error: ErrorStack,
    },
    /// A name that is not a valid DNS label.
    #[error(
        "`{0}` is not a valid name of a node or datacenter: expected 1 to 63 lower-case letters, digits and `-`, beginning and ending with a letter or digit"
    )]
    Name(String),
    /// A malformed version of Consul.
    #[error("`{0}` is not a version of Consul: expected MAJOR.MINOR.PATCH, as in 1.21.1")]
    ConsulVersion(String),
    /// A value that the image would refuse.
    #[error("cannot make the identity of {node}: {key} is {found}, expected {expected}")]
    Value {
        /// The name of the node.
        node: String,
        /// The key in the archive.
        key: String,
        /// Description of the value, without secrets.
        found: String,
        /// Description of valid values.
        expected: &'static str,
    },
    /// A certificate authority that cannot issue certificates.
    #[error("cannot use the certificate authority: {0}")]
    Authority(String),
    /// A certificate that is not the requested one.
    #[error("cannot use the certificate from {issuer}: {reason}")]
    Certificate {
        /// The program that issued it, or the authority.
        issuer: String,
        /// The first defect.
        reason: String,
    },
    /// A failure of the program that issues certificates.
    #[error("cannot get a certificate for {subject}: {error}")]
    Command {
        /// The first name of the certificate.
        subject: String,
        /// The failure.
        error: ProcessError,
    },
    /// A text that is no certificate.
    #[error("cannot read a certificate: {0}")]
    Pem(String),
    /// A file that is no identity archive.
    #[error("cannot read the identity archive: {0}")]
    Archive(String),
    /// An archive that a node would refuse.
    #[error("cannot accept the identity archive: {0}")]
    Refused(String),
    /// An archive whose certificates the authority cannot renew.
    #[error("cannot renew the identity of {node}: {reason}")]
    Renewal {
        /// The name of the node.
        node: String,
        /// The reason.
        reason: String,
    },
    /// Programs that the check of an archive needs.
    #[error("cannot check the identity archive: missing programs: {0}")]
    MissingPrograms(String),
    /// A check that could not run.
    #[error("cannot check the identity archive: {0}")]
    Checker(ProcessError),
    /// An interrupt by the user.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl IdentityError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused(_) => "Make the archive again. docs/identity.md has its rules.",
            Self::MissingPrograms(_) => "Install the packages jq, openssl and tar.",
            Self::Command {
                error: ProcessError::Start { .. },
                ..
            } => "Correct the command of `identity.authority` in cluster.toml.",
            Self::Checker(error) => return error.hint(),
            Self::Certificate { .. } => {
                "Repair the command or the policy of your authority: it must sign the request as it is."
            }
            Self::Renewal { .. } => "Use the authority that the archive was made with.",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether an input of the user is invalid.
    pub fn is_invalid(&self) -> bool {
        matches!(
            self,
            Self::Name(_)
                | Self::ConsulVersion(_)
                | Self::Value { .. }
                | Self::Authority(_)
                | Self::Pem(_)
                | Self::Archive(_)
        )
    }

    /// Whether a program of the user ended by an interrupt.
    pub fn is_interrupt(&self) -> bool {
        matches!(
            self,
            Self::Interrupted(_)
                | Self::Command {
                    error: ProcessError::Interrupted(_),
                    ..
                }
                | Self::Checker(ProcessError::Interrupted(_))
        )
    }

    pub(super) fn crypto(what: &str) -> impl Fn(ErrorStack) -> Self {
        let what = what.to_owned();
        move |error| Self::Crypto {
            what: what.clone(),
            error,
        }
    }
}
