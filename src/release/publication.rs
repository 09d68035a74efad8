//! Fetches and verifies the published files of one release.
//! Takes a source, a product and a version; returns checksums.
//! The content of the archive is checked elsewhere.

use jiff::Timestamp;
use serde::Deserialize;

use super::cache::{Cache, CachedFile, persist};
use super::signature::{self, Signed};
use super::sums::Sums;
use super::{LockedRelease, ReleaseError, ReleaseMirror, ReleaseName};
use crate::digest::Digest;
use crate::event::Events;
use crate::http::{self, FetchError};
use crate::product::publisher::HASHICORP;
use crate::wait::Interrupt;

/// One release at a source.
pub(super) struct Publication<'a> {
    source: &'a ReleaseMirror,
    name: ReleaseName<'a>,
}

impl<'a> Publication<'a> {
    /// Refuses names that could change the path.
    pub(super) fn new(
        source: &'a ReleaseMirror,
        name: ReleaseName<'a>,
    ) -> Result<Self, ReleaseError> {
        let (product, version) = (name.product, name.version);
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !product.starts_with(|c: char| c.is_ascii_lowercase()) || !product.bytes().all(plain) {
            return Err(ReleaseError::InvalidName {
                what: "product",
                value: product.to_owned(),
                expected: "lower-case letters, digits and dashes, as in `vault`",
            });
        }
        if semver::Version::parse(version).is_err() {
            return Err(ReleaseError::InvalidName {
                what: "version",
                value: version.to_owned(),
                expected: "MAJOR.MINOR.PATCH as on the server, as in `1.21.1` or `1.21.1+ent`",
            });
        }
        let pin = source.fingerprint.as_bytes();
        if pin.len() != 40 || !pin.iter().all(u8::is_ascii_hexdigit) {
            return Err(ReleaseError::InvalidName {
                what: "fingerprint",
                value: source.fingerprint.clone(),
                expected: "the 40 hex digits of the signer's primary key, without spaces",
            });
        }
        Ok(Self { source, name })
    }

    pub(super) fn archive_url(&self) -> String {
        self.url(&self.name.archive_file())
    }

    /// Fails if the publisher withdrew the release.
    pub(super) async fn refuse_withdrawn(
        &self,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), ReleaseError> {
        let official = self.source.base.trim_end_matches('/') == HASHICORP.base;
        let url = if official {
            format!(
                "{}/{}/{}",
                HASHICORP.status,
                self.name.product,
                escaped(self.name.version)
            )
        } else {
            self.url("index.json")
        };
        let text = match http::fetch_bytes(&url, STATUS_LIMIT_BYTES, events, interrupt).await {
            Ok(text) => text,
            // The status is optional on a mirror. HashiCorp's server always has it.
            Err(error) if !official && is_absent(&error) => return Ok(()),
            Err(error) => return Err(self.not_found(error)),
        };
        let status: Status =
            serde_json::from_slice(&text).map_err(|error| ReleaseError::Status {
                url: url.clone(),
                reason: error.to_string(),
            })?;
        match status.status {
            Some(status) if status.state == "withdrawn" => Err(ReleaseError::Withdrawn {
                product: self.name.product.to_owned(),
                version: self.name.version.to_owned(),
                url,
            }),
            _ => Ok(()),
        }
    }

    /// Fetches the SHA256SUMS file and its signature.
    pub(super) async fn sums_and_signature(
        &self,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(Vec<u8>, Vec<u8>), ReleaseError> {
        let sums = http::fetch_bytes(&self.sums_url(), SUMS_LIMIT_BYTES, events, interrupt)
            .await
            .map_err(|error| self.not_found(error))?;
        let signature = self.signature_url();
        let signature =
            http::fetch_bytes(&signature, SIGNATURE_LIMIT_BYTES, events, interrupt).await?;
        Ok((sums, signature))
    }

    /// Fetches the signer's certificate.
    pub(super) async fn certificate(
        &self,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Vec<u8>, ReleaseError> {
        let url = match &self.source.key_file {
            Some(file) => file.to_string_lossy().into_owned(),
            None => HASHICORP.key.to_owned(),
        };
        Ok(http::fetch_bytes(&url, CERTIFICATE_LIMIT_BYTES, events, interrupt).await?)
    }

    /// Verifies the signature of the SHA256SUMS file.
    pub(super) fn verify(
        &self,
        sums: &[u8],
        signature: &[u8],
        certificate: &[u8],
        now: Timestamp,
    ) -> Result<Signed, ReleaseError> {
        signature::verify(sums, signature, certificate, &self.source.fingerprint, now).map_err(
            |error| ReleaseError::Signature {
                url: self.signature_url(),
                error,
            },
        )
    }

    /// Verifies the signature with the key file, if one is set.
    /// Otherwise uses the cached key, and the published key if that fails.
    pub(super) async fn verify_with_cached_key(
        &self,
        cache: &Cache,
        sums: &[u8],
        signature: &[u8],
        now: Timestamp,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Signed, ReleaseError> {
        let cached = cache.certificate(&self.source.fingerprint);
        if self.source.key_file.is_none()
            && let Ok(certificate) = std::fs::read(&cached)
            && let Ok(signed) = self.verify(sums, signature, &certificate, now)
        {
            return Ok(signed);
        }
        let certificate = self.certificate(events, interrupt).await?;
        let signed = self.verify(sums, signature, &certificate, now)?;
        if self.source.key_file.is_none() {
            persist(cache.temporary_with(&certificate)?, &cached)?;
        }
        Ok(signed)
    }

    /// Returns the digest of the archive in the SHA256SUMS file.
    pub(super) fn listed(&self, sums: &[u8]) -> Result<Digest, ReleaseError> {
        let url = self.sums_url();
        let parsed = Sums::parse(sums).map_err(|error| ReleaseError::Sums {
            url: url.clone(),
            error,
        })?;
        let file = self.name.archive_file();
        parsed
            .digest_of(&file)
            .ok_or(ReleaseError::NotListed { sums: url, file })
    }

    /// Fails if the lock file differs from the verified release.
    pub(super) fn compare(
        &self,
        locked: &LockedRelease,
        sums: &[u8],
        signed: &Signed,
    ) -> Result<(), ReleaseError> {
        let listed = self.listed(sums)?.to_string();
        let (file, sha256) = (self.name.archive_file(), locked.sha256.to_string());
        let signed_at = signed.signed_at.to_string();
        let fields: [(&str, &str, &str); 5] = [
            ("file name", &locked.file, &file),
            ("digest in SHA256SUMS", &sha256, &listed),
            (
                "primary fingerprint",
                &locked.primary_fingerprint,
                &signed.primary_fingerprint,
            ),
            (
                "signing fingerprint",
                &locked.signing_fingerprint,
                &signed.signing_fingerprint,
            ),
            ("time of signing", &locked.signed_at, &signed_at),
        ];
        match fields.iter().find(|(_, expected, found)| expected != found) {
            None => Ok(()),
            Some((field, expected, found)) => Err(ReleaseError::Mismatch {
                what: format!("{file}: {field} in the lock file"),
                expected: (*expected).to_owned(),
                found: (*found).to_owned(),
            }),
        }
    }

    /// Returns the SHA256SUMS file in the lock file.
    pub(super) fn locked_sums(&self, locked: &LockedRelease) -> CachedFile {
        CachedFile {
            file: self.sums_file(),
            digest: locked.sums_sha256,
            url: self.sums_url(),
            limit_bytes: SUMS_LIMIT_BYTES,
        }
    }

    /// Returns the signature in the lock file.
    pub(super) fn locked_signature(&self, locked: &LockedRelease) -> CachedFile {
        CachedFile {
            file: format!("{}.sig", self.sums_file()),
            digest: locked.signature_sha256,
            url: self.signature_url(),
            limit_bytes: SIGNATURE_LIMIT_BYTES,
        }
    }

    /// Returns the archive in the lock file.
    pub(super) fn locked_archive(&self, locked: &LockedRelease) -> CachedFile {
        CachedFile {
            file: self.name.archive_file(),
            digest: locked.sha256,
            url: self.archive_url(),
            limit_bytes: ARCHIVE_LIMIT_BYTES,
        }
    }

    fn sums_file(&self) -> String {
        format!("{}_{}_SHA256SUMS", self.name.product, self.name.version)
    }

    fn sums_url(&self) -> String {
        self.url(&self.sums_file())
    }

    fn signature_url(&self) -> String {
        self.url(&format!("{}.sig", self.sums_file()))
    }

    fn url(&self, file: &str) -> String {
        let base = self.source.base.trim_end_matches('/');
        let path = format!("{}/{}/{file}", self.name.product, self.name.version);
        if http::local_path(base).is_some() {
            format!("{base}/{path}")
        } else {
            format!("{base}/{}", escaped(&path))
        }
    }

    fn not_found(&self, error: FetchError) -> ReleaseError {
        if !is_absent(&error) {
            return error.into();
        }
        ReleaseError::NoSuchRelease {
            product: self.name.product.to_owned(),
            version: self.name.version.to_owned(),
            error,
        }
    }
}

/// The status document of a release.
#[derive(Deserialize)]
struct Status {
    status: Option<State>,
}

#[derive(Deserialize)]
struct State {
    /// `supported`, `unsupported` or `withdrawn`.
    state: String,
}

/// Escapes plus signs, because the object stores of release servers read them as spaces.
fn escaped(path: &str) -> String {
    path.replace('+', "%2B")
}

/// Whether the source answered that it has no such file. Some object stores answer 403 then.
fn is_absent(error: &FetchError) -> bool {
    match error {
        FetchError::Refused { status, .. } => matches!(status, 403 | 404 | 410),
        FetchError::File { error, .. } => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

const STATUS_LIMIT_BYTES: u64 = 4 << 20;
const SUMS_LIMIT_BYTES: u64 = 1 << 20;
const SIGNATURE_LIMIT_BYTES: u64 = 64 << 10;
const CERTIFICATE_LIMIT_BYTES: u64 = 1 << 20;
/// The size limit of an archive. Vault's are below 200 MB.
const ARCHIVE_LIMIT_BYTES: u64 = 2 << 30;
