//! Errors of fetching and verifying a release.

use std::path::PathBuf;

use super::signature::SignatureError;
use super::sums::SumsError;
use crate::http::FetchError;
use crate::wait::Interrupted;

/// A release that cannot be fetched or is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A product, version or fingerprint that is malformed.
    #[error("`{value}` is not a valid {what}: expected {expected}")]
    InvalidName {
        /// `product`, `version` or `fingerprint`.
        what: &'static str,
        /// The malformed text.
        value: String,
        /// The expected form.
        expected: &'static str,
    },
    /// A release that the source does not have.
    #[error("cannot find {product} {version}: {error}")]
    NoSuchRelease {
        /// The product.
        product: String,
        /// The version.
        version: String,
        /// The URL, and the answer of the server.
        error: FetchError,
    },
    /// A SHA256SUMS file without an archive for Linux on x86-64.
    #[error("{sums} does not list {file}: the release has no such archive")]
    NotListed {
        /// The URL of the SHA256SUMS file.
        sums: String,
        /// The file name of the archive.
        file: String,
    },
    /// A release that its publisher withdrew.
    #[error("{product} {version} was withdrawn by its publisher ({url})")]
    Withdrawn {
        /// The product.
        product: String,
        /// The version.
        version: String,
        /// The URL of the release's status.
        url: String,
    },
    /// A release status that is malformed.
    #[error("{url}: cannot parse the status of the release: {reason}")]
    Status {
        /// The URL of the release's status.
        url: String,
        /// The message of the JSON parser.
        reason: String,
    },
    /// A SHA256SUMS file that is malformed.
    #[error("{url}: malformed SHA256SUMS file: {error}")]
    Sums {
        /// The URL of the SHA256SUMS file.
        url: String,
        /// The defect.
        error: SumsError,
    },
    /// A signature that is not accepted.
    #[error("{url}: cannot verify the signature: {error}")]
    Signature {
        /// The URL of the signature.
        url: String,
        /// The defect.
        error: SignatureError,
    },
    /// A file or property that differs from the lock file.
    #[error("{what}: expected {expected}, found {found}")]
    Mismatch {
        /// The file, or its property.
        what: String,
        /// The value in the lock file.
        expected: String,
        /// The actual value.
        found: String,
    },
    /// An archive that is signed but has unacceptable content.
    #[error("{file}: cannot use the archive: {reason}")]
    Archive {
        /// The file name of the archive.
        file: String,
        /// The defect.
        reason: String,
    },
    /// A failed fetch.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A file of the cache that cannot be read or written.
    #[error("cannot access {}: {error}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        error: std::io::Error,
    },
}

impl ReleaseError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoSuchRelease { .. } => {
                "Check the product and the version under `[releases]` of the definition."
            }
            Self::Withdrawn { .. } => {
                "Choose another version in the definition, then run `vault-bake lock`."
            }
            Self::Signature { error, .. } => return error.hint(),
            Self::Fetch(error) => return error.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether the release was found but is not trusted.
    pub fn is_integrity(&self) -> bool {
        match self {
            Self::Sums { .. }
            | Self::Signature { .. }
            | Self::Mismatch { .. }
            | Self::Archive { .. }
            | Self::Fetch(FetchError::TooLarge { .. }) => true,
            Self::InvalidName { .. }
            | Self::NoSuchRelease { .. }
            | Self::NotListed { .. }
            | Self::Withdrawn { .. }
            | Self::Status { .. }
            | Self::Fetch(_)
            | Self::File { .. } => false,
        }
    }
}

impl From<Interrupted> for ReleaseError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Fetch(interrupted.into())
    }
}
