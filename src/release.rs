//! Releases of a product: found, verified, and kept in a content-addressed cache.
//!
//! In: a source (a release server or a mirror folder), a product and a version. Out: a [`LockedRelease`] for the lock,
//! and at the bake a [`Verified`] archive. Everything the lock names is verified again before anything runs it.
//!
//! A closed network needs a folder or an HTTP server laid out as HashiCorp's is, with the files
//! `<product>_<version>_SHA256SUMS`, `…_SHA256SUMS.sig` and `…_linux_amd64.zip` in `<product>/<version>/`, and the signer's
//! key in a file. An `index.json` beside them may say `"status": {"state": "withdrawn"}`.
//!
//! Deliberately bundles no key: a bundled copy expires. The key is fetched and recognised by its primary fingerprint.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hashing};
use crate::event::Events;
use crate::wait::Interrupt;

mod archive;
mod armour;
mod cache;
mod certificate;
mod error;
mod publication;
pub mod signature;
pub mod sums;

pub use error::ReleaseError;

use cache::{Cache, off_thread};
use publication::Publication;

/// HashiCorp's release server.
pub const OFFICIAL_BASE: &str = "https://releases.hashicorp.com";
/// Where HashiCorp publishes its key.
pub const OFFICIAL_KEY_URL: &str = "https://www.hashicorp.com/.well-known/pgp-key.txt";
/// The primary fingerprint of HashiCorp's key.
pub const OFFICIAL_FINGERPRINT: &str = "C874011F0AB405110D02105534365D9472D7468F";

/// Where releases come from and whose signature they must bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseMirror {
    /// `https://…`, `http://127.0.0.1…` or `file:///…`/a folder; laid out as HashiCorp's server is:
    /// `<base>/<product>/<version>/<product>_<version>_SHA256SUMS`.
    pub base: String,
    /// The signer's certificate, from a file; `None` fetches the official one and checks it against the pin.
    pub key_file: Option<PathBuf>,
    /// The primary fingerprint that the certificate must have, 40 hex digits.
    pub fingerprint: String,
}

impl ReleaseMirror {
    /// HashiCorp's release server and key.
    pub fn official() -> Self {
        Self {
            base: OFFICIAL_BASE.to_owned(),
            key_file: None,
            fingerprint: OFFICIAL_FINGERPRINT.to_owned(),
        }
    }
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

impl Verified {
    /// Writes the binary itself to `to`, a new file. Blocks; fails where it is not the one that was verified.
    pub fn unpack(&self, to: &Path) -> io::Result<()> {
        let packed = BufReader::with_capacity(1 << 18, File::open(&self.binary_gz)?);
        let mut binary = Hashing::new(BufWriter::with_capacity(1 << 20, File::create_new(to)?));
        io::copy(&mut GzDecoder::new(packed), &mut binary)?;
        let (found, _, mut file) = binary.finish();
        file.flush()?;
        if found == self.binary_sha256 {
            return Ok(());
        }
        let expected = &self.binary_sha256;
        let words = format!("it was {expected} when it was verified, and is {found} now");
        Err(io::Error::new(io::ErrorKind::InvalidData, words))
    }
}

/// What an archive holds, in the cache.
struct Unpacked {
    binary_gz: PathBuf,
    binary_sha256: Digest,
    binary_size_bytes: u64,
    licences: Vec<(String, PathBuf)>,
}

/// Finds `product` `version` at `source`, verifies sums and signature (not yet the archive), for the lock.
///
/// The key is fetched anew, so that a revocation is noticed; a release that was withdrawn is refused.
pub async fn resolve(
    source: &ReleaseMirror,
    product: &str,
    version: &str,
    now: Timestamp,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<LockedRelease, ReleaseError> {
    let publication = Publication::new(source, product, version)?;
    publication.refuse_withdrawn(events, interrupt).await?;
    let (sums, signature) = publication.sums_and_signature(events, interrupt).await?;
    let certificate = publication.certificate(events, interrupt).await?;
    let signed = publication.verify(&sums, &signature, &certificate, now)?;
    let sha256 = publication.listed(&sums)?;
    events.note(format!(
        "{product} {version}: signed {} by {} ({})",
        signed.signed_at, signed.signer, signed.primary_fingerprint
    ));
    Ok(LockedRelease {
        product: product.to_owned(),
        version: version.to_owned(),
        file: publication.archive_file(),
        url: publication.archive_url(),
        sha256,
        sums_sha256: Digest::of(&sums),
        signature_sha256: Digest::of(&signature),
        official: signed.primary_fingerprint == OFFICIAL_FINGERPRINT,
        primary_fingerprint: signed.primary_fingerprint,
        signing_fingerprint: signed.signing_fingerprint,
        signed_at: signed.signed_at.to_string(),
        signer: signed.signer,
    })
}

/// Fetches what `locked` names into `cache`, verifies all of it, and unpacks it.
///
/// What the cache has is hashed again and not fetched again; a release that is all there needs no network. The key
/// of the cache is good enough here: the lock names every byte, so that a key that was stolen later changes none.
pub async fn fetch(
    source: &ReleaseMirror,
    locked: &LockedRelease,
    cache: &Path,
    now: Timestamp,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Verified, ReleaseError> {
    let publication = Publication::new(source, &locked.product, &locked.version)?;
    let cache = Cache::below(cache);
    let sums = publication.locked_sums(locked);
    let sums = cache.bytes(&sums, events, interrupt).await?;
    let signature = publication.locked_signature(locked);
    let signature = cache.bytes(&signature, events, interrupt).await?;
    let signed = publication
        .verify_with_kept_key(&cache, &sums, &signature, now, events, interrupt)
        .await?;
    publication.compare(locked, &sums, &signed)?;

    let archive = publication.locked_archive(locked);
    let (archive, archive_size_bytes) = cache.file(&archive, events, interrupt).await?;
    let folder = cache.folder(locked.sha256);
    let unpacked = {
        let (archive, product) = (archive.clone(), locked.product.clone());
        off_thread(move || archive::unpack(&cache, &archive, &product, &folder)).await?
    };
    Ok(Verified {
        locked: locked.clone(),
        archive,
        archive_size_bytes,
        binary_gz: unpacked.binary_gz,
        binary_sha256: unpacked.binary_sha256,
        binary_size_bytes: unpacked.binary_size_bytes,
        licences: unpacked.licences,
    })
}
