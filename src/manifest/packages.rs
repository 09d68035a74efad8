//! The package list of an image, an object of its own because of its size.

use serde::{Deserialize, Serialize};

use crate::canonical::shape;
use crate::canonical::{self, CanonicalError};
use crate::digest::{Digest, canonical_json};

/// The packages of an image, without the list itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// The number of packages.
    pub count: u64,
    /// The digest of the list, see [`packages_bytes`].
    pub digest: Digest,
    /// The package manager: `dpkg`.
    pub manager: String,
}

/// A package of an image. Sorted by name, then architecture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// The name, for example `libc6`.
    pub name: String,
    /// The architecture, for example `amd64`.
    pub arch: String,
    /// The version, for example `2.36-9+deb12u13`.
    pub version: String,
    /// The source package, which security advisories refer to.
    pub source: String,
}

/// Returns the canonical JSON of a package list, sorted.
pub fn packages_bytes(packages: &[Package]) -> Vec<u8> {
    let mut sorted = packages.to_vec();
    sorted.sort();
    canonical_json(&sorted)
}

/// Parses the output of [`packages_bytes`].
pub fn parse_packages(bytes: &[u8]) -> Result<Vec<Package>, CanonicalError> {
    // Ten thousand packages are about a megabyte.
    let value = canonical::parse(bytes, 16 * 1024 * 1024)?;
    shape::check(&value, &["*"])?;
    Ok(serde_json::from_value(value)?)
}
