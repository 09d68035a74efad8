//! SKELETON. Exact versions and digests of every input: `images/<name>/image.lock`.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::release::LockedRelease;

/// The lock of one definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// 1.
    pub schema: u32,
    /// The digest of what was locked: base and releases of the definition. Another one means: lock again.
    pub wanted: Digest,
    /// The base for QEMU.
    pub qemu: Option<LockedBase>,
    /// The releases, by product.
    #[serde(rename = "release")]
    pub releases: Vec<LockedRelease>,
}

/// A base, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LockedBase {
    /// Packages: what the signed indexes were.
    Packages {
        /// One for each suite.
        index: Vec<PackageIndex>,
    },
    /// A cloud image.
    CloudImage {
        /// Where.
        url: String,
        /// 128 hex digits.
        sha512: String,
    },
}

/// A suite's signed index: it names the digest of every package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageIndex {
    /// As in `http://deb.debian.org/debian`.
    pub mirror: String,
    /// As in `bookworm`.
    pub suite: String,
    /// Its `Date`, RFC 3339 UTC.
    pub date: String,
    /// Of the suite's `InRelease` file.
    pub sha256: Digest,
}
