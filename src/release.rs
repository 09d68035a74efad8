//! SKELETON. Releases of a product: found, verified, and kept in a content-addressed cache.
//!
//! In: a source (a release server or a mirror folder), a product and a version. Out: a [`Verified`] archive.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::event::Events;
use crate::wait::Interrupt;

/// Where releases come from and whose signature they must bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `https://…`, `http://127.0.0.1…` or `file:///…`/a folder; laid out as HashiCorp's server is:
    /// `<base>/<product>/<version>/<product>_<version>_SHA256SUMS`.
    pub base: String,
    /// The signer's certificate, from a file; `None` fetches the official one and checks it against the pin.
    pub key_file: Option<PathBuf>,
    /// The primary fingerprint that the certificate must have, 40 upper-case hex digits.
    pub fingerprint: String,
}

/// What the lock says of one release: everything needed to know the very same bytes again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRelease {
    /// `vault` or `consul`.
    pub product: String,
    /// As the server names it, as in `1.21.1`.
    pub version: String,
    /// The archive's file name.
    pub file: String,
    /// Where it was found.
    pub url: String,
    /// Of the archive.
    pub sha256: Digest,
    /// Of the SHA256SUMS file.
    pub sums_sha256: Digest,
    /// Of the detached signature.
    pub signature_sha256: Digest,
    /// The primary fingerprint of the certificate.
    pub primary_fingerprint: String,
    /// The fingerprint of the key that signed: the primary or a signing subkey.
    pub signing_fingerprint: String,
    /// When it was signed, RFC 3339 UTC.
    pub signed_at: String,
    /// The certificate's first user id, as in `HashiCorp Security …`.
    pub signer: String,
    /// Whether the primary fingerprint is HashiCorp's.
    pub official: bool,
}

/// An archive that was verified, unpacked for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What the lock says of it.
    pub locked: LockedRelease,
    /// The archive in the cache.
    pub archive: PathBuf,
    /// Its size in bytes.
    pub archive_size_bytes: u64,
    /// The product's one binary as a gzip file in the cache (the archive's own deflate stream under another header).
    pub binary_gz: PathBuf,
    /// The SHA-256 of the binary itself, uncompressed.
    pub binary_sha256: Digest,
    /// The size in bytes of the binary itself, uncompressed.
    pub binary_size_bytes: u64,
    /// Licence and notice files of the archive: name and path in the cache.
    pub licences: Vec<(String, PathBuf)>,
}

/// A release that could not be had or trusted.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {}

/// Finds `product` `version` at `source`, verifies sums and signature (not yet the archive), for the lock.
pub async fn resolve(
    source: &Source,
    product: &str,
    version: &str,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<LockedRelease, ReleaseError> {
    unimplemented!()
}

/// Fetches what `locked` names into `cache`, verifies all of it, and unpacks it.
pub async fn fetch(
    source: &Source,
    locked: &LockedRelease,
    cache: &Path,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Verified, ReleaseError> {
    unimplemented!()
}
