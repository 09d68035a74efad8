//! What a source publishes of one release: which files, where, and whether they agree with each other and the lock.
//!
//! In: a source, a product and a version. Out: verified sums. Deliberately knows nothing of what an archive holds.

use jiff::Timestamp;
use serde::Deserialize;

use super::cache::{Cache, CachedFile, put};
use super::signature::{self, Signed};
use super::sums::Sums;
use super::{LockedRelease, OFFICIAL_BASE, OFFICIAL_KEY_URL, ReleaseError, ReleaseMirror};
use crate::digest::Digest;
use crate::event::Events;
use crate::http::{self, FetchError};
use crate::wait::Interrupt;

/// One release at a source.
pub(super) struct Publication<'a> {
    source: &'a ReleaseMirror,
    product: &'a str,
    version: &'a str,
}

impl<'a> Publication<'a> {
    /// The release `version` of `product`; names that would lead elsewhere are refused.
    pub(super) fn new(
        source: &'a ReleaseMirror,
        product: &'a str,
        version: &'a str,
    ) -> Result<Self, ReleaseError> {
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
                expected: "MAJOR.MINOR.PATCH as the server names it, as in `1.21.1` or `1.21.1+ent`",
            });
        }
        let pin = source.fingerprint.as_bytes();
        if pin.len() != 40 || !pin.iter().all(u8::is_ascii_hexdigit) {
            return Err(ReleaseError::InvalidName {
                what: "fingerprint",
                value: source.fingerprint.clone(),
                expected: "all 40 hex digits of the signer's primary key, without blanks",
            });
        }
        Ok(Self {
            source,
            product,
            version,
        })
    }

    /// The archive's file name.
    pub(super) fn archive_file(&self) -> String {
        format!("{}_{}_linux_amd64.zip", self.product, self.version)
    }

    /// Where the archive is.
    pub(super) fn archive_url(&self) -> String {
        self.url(&self.archive_file())
    }

    /// An error where the publisher took the release back.
    pub(super) async fn refuse_withdrawn(
        &self,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), ReleaseError> {
        let official = self.source.base.trim_end_matches('/') == OFFICIAL_BASE;
        let url = if official {
            format!(
                "{OFFICIAL_STATUS}/{}/{}",
                self.product,
                escaped(self.version)
            )
        } else {
            self.url("index.json")
        };
        let text = match http::fetch_bytes(&url, STATUS_LIMIT_BYTES, events, interrupt).await {
            Ok(text) => text,
            // A mirror need not say; HashiCorp's own server always does.
            Err(error) if !official && is_absent(&error) => return Ok(()),
            Err(error) => return Err(self.missing(error)),
        };
        let status: Status =
            serde_json::from_slice(&text).map_err(|error| ReleaseError::Status {
                url: url.clone(),
                reason: error.to_string(),
            })?;
        match status.status {
            Some(status) if status.state == "withdrawn" => Err(ReleaseError::Withdrawn {
                product: self.product.to_owned(),
                version: self.version.to_owned(),
                url,
            }),
            _ => Ok(()),
        }
    }

    /// The sums file and its signature, as the source has them now.
    pub(super) async fn sums_and_signature(
        &self,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(Vec<u8>, Vec<u8>), ReleaseError> {
        let sums = http::fetch_bytes(&self.sums_url(), SUMS_LIMIT_BYTES, events, interrupt)
            .await
            .map_err(|error| self.missing(error))?;
        let signature = self.signature_url();
        let signature =
            http::fetch_bytes(&signature, SIGNATURE_LIMIT_BYTES, events, interrupt).await?;
        Ok((sums, signature))
    }

    /// The signer's certificate, as it is now.
    pub(super) async fn certificate(
        &self,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Vec<u8>, ReleaseError> {
        let url = match &self.source.key_file {
            Some(file) => file.to_string_lossy().into_owned(),
            None => OFFICIAL_KEY_URL.to_owned(),
        };
        Ok(http::fetch_bytes(&url, CERTIFICATE_LIMIT_BYTES, events, interrupt).await?)
    }

    /// Verifies the signature over the sums.
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

    /// Verifies the signature with the key file, else with the key of the cache, else with the published one.
    pub(super) async fn verify_with_kept_key(
        &self,
        cache: &Cache,
        sums: &[u8],
        signature: &[u8],
        now: Timestamp,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Signed, ReleaseError> {
        let kept = cache.certificate(&self.source.fingerprint);
        if self.source.key_file.is_none()
            && let Ok(certificate) = std::fs::read(&kept)
            && let Ok(signed) = self.verify(sums, signature, &certificate, now)
        {
            return Ok(signed);
        }
        let certificate = self.certificate(events, interrupt).await?;
        let signed = self.verify(sums, signature, &certificate, now)?;
        if self.source.key_file.is_none() {
            put(cache.temporary_with(&certificate)?, &kept)?;
        }
        Ok(signed)
    }

    /// The digest of our archive by the sums.
    pub(super) fn listed(&self, sums: &[u8]) -> Result<Digest, ReleaseError> {
        let url = self.sums_url();
        let parsed = Sums::parse(sums).map_err(|error| ReleaseError::Sums {
            url: url.clone(),
            error,
        })?;
        let file = self.archive_file();
        parsed
            .of(&file)
            .ok_or(ReleaseError::NotListed { sums: url, file })
    }

    /// An error where the lock says another thing than what was just verified.
    pub(super) fn compare(
        &self,
        locked: &LockedRelease,
        sums: &[u8],
        signed: &Signed,
    ) -> Result<(), ReleaseError> {
        let listed = self.listed(sums)?.to_string();
        let (file, sha256) = (self.archive_file(), locked.sha256.to_string());
        let signed_at = signed.signed_at.to_string();
        let said: [(&str, &str, &str); 5] = [
            ("file name", &locked.file, &file),
            ("digest by the sums", &sha256, &listed),
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
        match said.iter().find(|(_, expected, found)| expected != found) {
            None => Ok(()),
            Some((what, expected, found)) => Err(ReleaseError::Mismatch {
                what: format!("{file}: the lock's {what}"),
                expected: (*expected).to_owned(),
                found: (*found).to_owned(),
            }),
        }
    }

    /// The sums file that the lock names.
    pub(super) fn locked_sums(&self, locked: &LockedRelease) -> CachedFile {
        CachedFile {
            file: self.sums_file(),
            digest: locked.sums_sha256,
            url: self.sums_url(),
            limit_bytes: SUMS_LIMIT_BYTES,
        }
    }

    /// The signature that the lock names.
    pub(super) fn locked_signature(&self, locked: &LockedRelease) -> CachedFile {
        CachedFile {
            file: format!("{}.sig", self.sums_file()),
            digest: locked.signature_sha256,
            url: self.signature_url(),
            limit_bytes: SIGNATURE_LIMIT_BYTES,
        }
    }

    /// The archive that the lock names.
    pub(super) fn locked_archive(&self, locked: &LockedRelease) -> CachedFile {
        CachedFile {
            file: self.archive_file(),
            digest: locked.sha256,
            url: self.archive_url(),
            limit_bytes: ARCHIVE_LIMIT_BYTES,
        }
    }

    fn sums_file(&self) -> String {
        format!("{}_{}_SHA256SUMS", self.product, self.version)
    }

    fn sums_url(&self) -> String {
        self.url(&self.sums_file())
    }

    fn signature_url(&self) -> String {
        self.url(&format!("{}.sig", self.sums_file()))
    }

    /// Where the release's `file` is.
    fn url(&self, file: &str) -> String {
        let base = self.source.base.trim_end_matches('/');
        let path = format!("{}/{}/{file}", self.product, self.version);
        if http::local_path(base).is_some() {
            format!("{base}/{path}")
        } else {
            format!("{base}/{}", escaped(&path))
        }
    }

    fn missing(&self, error: FetchError) -> ReleaseError {
        if !is_absent(&error) {
            return error.into();
        }
        ReleaseError::NoSuchRelease {
            product: self.product.to_owned(),
            version: self.version.to_owned(),
            error,
        }
    }
}

/// What is read of the description of a release.
#[derive(Deserialize)]
struct Status {
    status: Option<State>,
}

/// The status of a release: `supported`, `unsupported` or `withdrawn`.
#[derive(Deserialize)]
struct State {
    state: String,
}

/// The object stores behind release servers take a bare plus for a space.
fn escaped(path: &str) -> String {
    path.replace('+', "%2B")
}

/// Whether the source answers, and has no such file. Some object stores answer 403 for a file that is not there.
fn is_absent(error: &FetchError) -> bool {
    match error {
        FetchError::Refused { status, .. } => matches!(status, 403 | 404 | 410),
        FetchError::File { error, .. } => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Where HashiCorp says whether a release was withdrawn.
const OFFICIAL_STATUS: &str = "https://api.releases.hashicorp.com/v1/releases";
const STATUS_LIMIT_BYTES: u64 = 4 << 20;
const SUMS_LIMIT_BYTES: u64 = 1 << 20;
const SIGNATURE_LIMIT_BYTES: u64 = 64 << 10;
const CERTIFICATE_LIMIT_BYTES: u64 = 1 << 20;
/// Vault's archives are below 200 MB.
const ARCHIVE_LIMIT_BYTES: u64 = 2 << 30;
