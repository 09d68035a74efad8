//! Why a release could not be had, or was not trusted.

use std::path::PathBuf;

use super::signature::SignatureError;
use super::sums::SumsError;
use crate::http::FetchError;
use crate::wait::Interrupted;

/// A release that could not be had or trusted.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A product, version or file name that cannot be one.
    #[error("`{value}` is no {what}; expected {expected}")]
    InvalidName {
        /// Product, version or file.
        what: &'static str,
        /// What was given.
        value: String,
        /// What it looks like.
        expected: &'static str,
    },
    /// The source does not have it.
    #[error("there is no {product} {version}: {error}; are product and version right?")]
    NoSuchRelease {
        /// The product.
        product: String,
        /// The version.
        version: String,
        /// What was looked for, and the answer.
        error: FetchError,
    },
    /// Its sums do not list an archive for our platform.
    #[error("{sums} does not list {file}: there is no such archive of this release")]
    NotListed {
        /// Where the sums file is.
        sums: String,
        /// The archive.
        file: String,
    },
    /// The publisher took it back.
    #[error(
        "{product} {version} was withdrawn by its publisher ({url}); choose another version and lock again"
    )]
    Withdrawn {
        /// The product.
        product: String,
        /// The version.
        version: String,
        /// Where that is said.
        url: String,
    },
    /// What says whether it was withdrawn cannot be understood.
    #[error("{url}: not the description of a release: {reason}")]
    Status {
        /// Where it is.
        url: String,
        /// Why not.
        reason: String,
    },
    /// Its sums file is not one.
    #[error("{url}: not a sums file: {error}")]
    Sums {
        /// Where it is.
        url: String,
        /// What is wrong.
        error: SumsError,
    },
    /// Its signature does not hold.
    #[error("{url}: the signature is refused: {error}")]
    Signature {
        /// Where the signature is.
        url: String,
        /// Why.
        error: SignatureError,
    },
    /// Something is not what the lock says.
    #[error("{what}: expected {expected}, found {found}")]
    Mismatch {
        /// The file, or what was said of it.
        what: String,
        /// What the lock says.
        expected: String,
        /// What there is.
        found: String,
    },
    /// An archive that is signed for and still not acceptable.
    #[error("{file}: the archive is refused: {reason}")]
    Archive {
        /// The archive.
        file: String,
        /// Why.
        reason: String,
    },
    /// It could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A file of the cache could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

impl ReleaseError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }

    /// Whether something was there and cannot be trusted, as opposed to something that could not be had.
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
