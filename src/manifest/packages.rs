//! The packages of an image: a list too long for the manifest, so an object of its own.

use serde::{Deserialize, Serialize};

use crate::canonical::shape;
use crate::canonical::{self, CanonicalError};
use crate::digest::{Digest, canonical_json};

/// The packages of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// How many.
    pub count: u64,
    /// Of the list, an object in the store: see [`packages_bytes`].
    pub digest: Digest,
    /// `dpkg`.
    pub manager: String,
}

/// A package of an image. Sorted by name, then architecture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// As in `libc6`.
    pub name: String,
    /// As in `amd64`.
    pub arch: String,
    /// As in `2.36-9+deb12u13`.
    pub version: String,
    /// The source package that it was built from: what advisories speak of.
    pub source: String,
}

/// The canonical JSON of a package list, sorted.
pub fn packages_bytes(packages: &[Package]) -> Vec<u8> {
    let mut sorted = packages.to_vec();
    sorted.sort();
    canonical_json(&sorted)
}

/// Reads what [`packages_bytes`] wrote.
pub fn parse_packages(bytes: &[u8]) -> Result<Vec<Package>, CanonicalError> {
    // Ten thousand packages are about a megabyte.
    let value = canonical::parse(bytes, 16 * 1024 * 1024)?;
    shape::check(&value, &["*"])?;
    Ok(serde_json::from_value(value)?)
}
