//! Fetches and verifies releases of a product from a release server or a mirror folder.
//! Returns a [`LockedRelease`] for the lock file, and a [`Verified`] archive for a build.
//! No key is bundled, because it would expire: the key is fetched and checked by its fingerprint.
//!
//! A mirror is a folder or an HTTP server with the layout of HashiCorp's server.
//! `<product>/<version>/` contains `<product>_<version>_SHA256SUMS`, `…_SHA256SUMS.sig` and
//! `…_linux_amd64.zip` or `…_linux_arm64.zip`.
//! An optional `index.json` marks a release as withdrawn with
//! `"status": {"state": "withdrawn"}`. The signer's public key is a separate file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, HashingWriter};
use crate::event::Events;
use crate::product::publisher::HASHICORP;
use crate::wait::Interrupt;

mod archive;
mod armour;
mod cache;
mod error;
mod name;
mod publication;
pub mod signature;
pub mod sums;

pub use error::ReleaseError;
pub use name::{Architecture, ReleaseName};

use cache::{Cache, off_thread};
use publication::Publication;

/// A source of releases, and the key that must have signed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseMirror {
    /// The root: an `https://`, `http://` or `file://` URL, or a folder.
    pub base: String,
    /// The file of the signer's certificate; `None` fetches HashiCorp's.
    pub key_file: Option<PathBuf>,
    /// The pinned primary fingerprint of the certificate, 40 hex digits.
    pub fingerprint: String,
}

impl ReleaseMirror {
    /// Returns HashiCorp's release server and key.
    pub fn official() -> Self {
        Self {
            base: HASHICORP.base.to_owned(),
            key_file: None,
            fingerprint: HASHICORP.fingerprint.to_owned(),
        }
    }
}

/// One release in the lock file, with every digest that identifies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRelease {
    /// `vault` or `consul`.
    pub product: String,
    /// The version, spelled as on the server: `1.21.1`.
    pub version: String,
    /// The architecture of its programs. Absent for `x86_64`.
    #[serde(default, skip_serializing_if = "Architecture::is_default")]
    pub arch: Architecture,
    /// The archive's file name.
    pub file: String,
    /// The URL of the archive.
    pub url: String,
    /// The SHA-256 of the archive.
    pub sha256: Digest,
    /// The SHA-256 of the SHA256SUMS file.
    pub sums_sha256: Digest,
    /// The SHA-256 of the detached signature.
    pub signature_sha256: Digest,
    /// The primary fingerprint of the certificate.
    pub primary_fingerprint: String,
    /// The fingerprint of the key that signed: the primary key or a signing subkey.
    pub signing_fingerprint: String,
    /// The time of the signature, RFC 3339 UTC.
    pub signed_at: String,
    /// The certificate's first user id, as in `HashiCorp Security …`.
    pub signer: String,
    /// Whether the primary fingerprint is HashiCorp's.
    pub official: bool,
}

/// A verified archive, unpacked into the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRelease {
    /// The release in the lock file.
    pub locked: LockedRelease,
    /// The path of the archive in the cache.
    pub archive: PathBuf,
    /// The size of the archive in bytes.
    pub archive_size_bytes: u64,
    /// The path of the product's binary in the cache, as a gzip file.
    pub binary_gz: PathBuf,
    /// The SHA-256 of the uncompressed binary.
    pub binary_sha256: Digest,
    /// The size of the uncompressed binary in bytes.
    pub binary_size_bytes: u64,
    /// The licence and notice files of the archive: name, and path in the cache.
    pub licences: Vec<(String, PathBuf)>,
}

impl VerifiedRelease {
    /// Writes the uncompressed binary to the new file `to`. Blocks the thread.
    ///
    /// Fails if the gzip file in the cache changed since it was verified.
    pub fn unpack_binary(&self, to: &Path) -> io::Result<()> {
        let packed = BufReader::with_capacity(1 << 18, File::open(&self.binary_gz)?);
        let mut binary =
            HashingWriter::new(BufWriter::with_capacity(1 << 20, File::create_new(to)?));
        io::copy(&mut GzDecoder::new(packed), &mut binary)?;
        let (found, _, mut file) = binary.finish();
        file.flush()?;
        if found == self.binary_sha256 {
            return Ok(());
        }
        let expected = &self.binary_sha256;
        let reason = format!("the cached binary changed: expected {expected}, found {found}");
        Err(io::Error::new(io::ErrorKind::InvalidData, reason))
    }
}

/// The content of an archive, in the cache.
struct Unpacked {
    binary_gz: PathBuf,
    binary_sha256: Digest,
    binary_size_bytes: u64,
    licences: Vec<(String, PathBuf)>,
}

impl LockedRelease {
    /// Returns its name.
    pub fn name(&self) -> ReleaseName<'_> {
        ReleaseName {
            product: &self.product,
            version: &self.version,
            architecture: self.arch,
        }
    }
}

/// Finds the release `name` at `source`, and verifies its checksums and signature.
///
/// The archive is neither fetched nor verified. The key is fetched again each time, so that a
/// revocation is noticed. A withdrawn release is an error.
pub async fn resolve(
    source: &ReleaseMirror,
    name: ReleaseName<'_>,
    now: Timestamp,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<LockedRelease, ReleaseError> {
    let publication = Publication::new(source, name)?;
    publication.refuse_withdrawn(events, interrupt).await?;
    let (sums, signature) = publication.sums_and_signature(events, interrupt).await?;
    let certificate = publication.certificate(events, interrupt).await?;
    let signed = publication.verify(&sums, &signature, &certificate, now)?;
    let sha256 = publication.listed(&sums)?;
    let (product, version) = (name.product, name.version);
    events.note(format!(
        "{product} {version}: signed {} by {} ({})",
        signed.signed_at, signed.signer, signed.primary_fingerprint
    ));
    Ok(LockedRelease {
        product: product.to_owned(),
        version: version.to_owned(),
        arch: name.architecture,
        file: name.archive_file(),
        url: publication.archive_url(),
        sha256,
        sums_sha256: Digest::hash_bytes(&sums),
        signature_sha256: Digest::hash_bytes(&signature),
        official: signed.primary_fingerprint == HASHICORP.fingerprint,
        primary_fingerprint: signed.primary_fingerprint,
        signing_fingerprint: signed.signing_fingerprint,
        signed_at: signed.signed_at.to_string(),
        signer: signed.signer,
    })
}

/// Fetches the release `locked` into `cache`, verifies every file, and unpacks it.
///
/// Files in the cache are hashed again, not fetched again. If the cache has all of them, no network
/// is needed. The cached key suffices, because the lock file pins every byte: a key that is stolen
/// later cannot change them.
pub async fn fetch(
    source: &ReleaseMirror,
    locked: &LockedRelease,
    cache: &Path,
    now: Timestamp,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<VerifiedRelease, ReleaseError> {
    let publication = Publication::new(source, locked.name())?;
    let cache = Cache::below(cache);
    let sums = publication.locked_sums(locked);
    let sums = cache.bytes(&sums, events, interrupt).await?;
    let signature = publication.locked_signature(locked);
    let signature = cache.bytes(&signature, events, interrupt).await?;
    let signed = publication
        .verify_with_cached_key(&cache, &sums, &signature, now, events, interrupt)
        .await?;
    publication.compare(locked, &sums, &signed)?;

    let archive = publication.locked_archive(locked);
    let (archive, archive_size_bytes) = cache.file(&archive, events, interrupt).await?;
    let folder = cache.folder(locked.sha256);
    let unpacked = {
        let (archive, product) = (archive.clone(), locked.product.clone());
        off_thread(move || archive::unpack(&cache, &archive, &product, &folder)).await?
    };
    Ok(VerifiedRelease {
        locked: locked.clone(),
        archive,
        archive_size_bytes,
        binary_gz: unpacked.binary_gz,
        binary_sha256: unpacked.binary_sha256,
        binary_size_bytes: unpacked.binary_size_bytes,
        licences: unpacked.licences,
    })
}
