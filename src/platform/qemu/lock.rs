//! Locks a base for QEMU: the exact index of each suite, or a cloud image by its digest.
//! A [`PackageIndex`] comes from the signed part of an `InRelease` file, which `gpgv` verifies.

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::definition::QemuBase;
use crate::definition::platform::{BaseError, BaseErrorKind, LockContext};
use crate::digest::Digest;
use crate::http::{self, FetchError};
use crate::process::{ProcessError, Program};
use crate::wait::Interrupt;

/// Path of the keyring in Debian's package `debian-archive-keyring`.
pub const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The exact base of a build on QEMU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LockedBase {
    /// Packages of signed indexes.
    Packages {
        /// Index of each suite, the main one first.
        index: Vec<PackageIndex>,
    },
    /// A cloud image.
    CloudImage {
        /// Address or path of the image.
        url: String,
        /// Digest of the image, 128 hex digits.
        sha512: String,
    },
}

/// The signed index of a suite, which has the digest of every package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageIndex {
    /// Package mirror, as in `http://deb.debian.org/debian`.
    pub mirror: String,
    /// Suite, as in `trixie`.
    pub suite: String,
    /// Date of the index, RFC 3339 in UTC.
    pub date: String,
    /// Digest of the suite's `InRelease` file.
    pub sha256: Digest,
}

/// Looks up the signed index of a suite. Implemented by [`SignedSuites`], and by fakes in tests.
pub trait Suites: Send + Sync {
    /// Fetches and verifies the index of `suite` at `mirror`.
    fn index<'a>(
        &'a self,
        mirror: &'a str,
        suite: &'a str,
        context: LockContext<'a>,
    ) -> BoxFuture<'a, Result<PackageIndex, BaseError>>;
}

/// The suites of real mirrors.
pub struct SignedSuites {
    /// Keyring with the keys that may sign an index, as in [`DEBIAN_KEYRING`].
    pub keyring: PathBuf,
}

impl Suites for SignedSuites {
    fn index<'a>(
        &'a self,
        mirror: &'a str,
        suite: &'a str,
        context: LockContext<'a>,
    ) -> BoxFuture<'a, Result<PackageIndex, BaseError>> {
        Box::pin(async move { Ok(self.fetch(mirror, suite, context).await?) })
    }
}

/// The index of a suite that cannot be used.
#[derive(Debug, thiserror::Error)]
enum SuiteError {
    /// It could not be fetched.
    #[error("cannot fetch the index of {suite}: {error}")]
    Fetch { suite: String, error: FetchError },
    /// It has no valid signature.
    #[error("cannot verify the index of {suite} at {url} with {}: {error}", keyring.display())]
    Signature {
        suite: String,
        url: String,
        keyring: PathBuf,
        error: Box<ProcessError>,
    },
    /// It is signed, but is expired or belongs to another suite.
    #[error("cannot use the index of {suite} at {url}: {reason}")]
    Index {
        suite: String,
        url: String,
        reason: String,
    },
}

impl From<SuiteError> for BaseError {
    fn from(error: SuiteError) -> Self {
        let message = error.to_string();
        let (kind, hint) = match error {
            SuiteError::Fetch { error, .. } => match error {
                FetchError::Interrupted(_) => (BaseErrorKind::Interrupted, None),
                error => (BaseErrorKind::Failed, error.hint()),
            },
            SuiteError::Signature { .. } => (
                BaseErrorKind::Integrity,
                Some("Check the mirror, or install the distribution's current keyring (Debian: `debian-archive-keyring`).".to_owned()),
            ),
            SuiteError::Index { .. } => (
                BaseErrorKind::Failed,
                Some("Use a mirror that has this suite and is up to date.".to_owned()),
            ),
        };
        Self {
            kind,
            message,
            hint,
        }
    }
}

impl SignedSuites {
    async fn fetch(
        &self,
        mirror: &str,
        suite: &str,
        context: LockContext<'_>,
    ) -> Result<PackageIndex, SuiteError> {
        let LockContext {
            now,
            events,
            interrupt,
        } = context;
        let url = format!("{mirror}/dists/{suite}/InRelease");
        let bytes = http::fetch_bytes(&url, LARGEST_INDEX_BYTES, events, interrupt)
            .await
            .map_err(|error| SuiteError::Fetch {
                suite: suite.to_owned(),
                error,
            })?;
        let sha256 = Digest::hash_bytes(&bytes);
        let signed = verify(bytes, &self.keyring, interrupt)
            .await
            .map_err(|error| SuiteError::Signature {
                suite: suite.to_owned(),
                url: url.clone(),
                keyring: self.keyring.clone(),
                error: Box::new(error),
            })?;
        let date = read_date(&signed, suite, now).map_err(|reason| SuiteError::Index {
            suite: suite.to_owned(),
            url,
            reason,
        })?;
        Ok(PackageIndex {
            mirror: mirror.to_owned(),
            suite: suite.to_owned(),
            date: date.to_string(),
            sha256,
        })
    }
}

/// Locks a base.
pub(super) async fn lock(
    wanted: &QemuBase,
    suites: &dyn Suites,
    context: LockContext<'_>,
) -> Result<LockedBase, BaseError> {
    match wanted {
        QemuBase::CloudImage { url, sha512, .. } => Ok(LockedBase::CloudImage {
            url: url.clone(),
            sha512: sha512.clone(),
        }),
        QemuBase::Packages { .. } => {
            let mut index = Vec::new();
            for (mirror, suite) in wanted.suites() {
                index.push(suites.index(mirror, suite, context).await?);
            }
            Ok(LockedBase::Packages { index })
        }
    }
}

/// Verifies `bytes` and returns the signed part.
async fn verify(
    bytes: Vec<u8>,
    keyring: &Path,
    interrupt: &Interrupt,
) -> Result<String, ProcessError> {
    let signed = Program::new("gpgv")
        .arg("--keyring")
        .arg(keyring)
        .args(["--output", "-", "-"])
        .input(bytes)
        .run(interrupt)
        .await?;
    Ok(String::from_utf8_lossy(&signed).into_owned())
}

/// Returns the date of an index. Fails if it is for another suite, or has expired at `now`.
fn read_date(signed: &str, suite: &str, now: Timestamp) -> Result<Timestamp, String> {
    let field = |name: &str| {
        signed
            .lines()
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim())
    };
    let names = [field("Codename"), field("Suite")];
    if !names.contains(&Some(suite)) {
        let [codename, alias] = names.map(|name| name.unwrap_or("nothing"));
        return Err(format!(
            "it is the index of {codename} ({alias}); expected {suite}"
        ));
    }
    if let Some(until) = field("Valid-Until")
        && parse_time(until)? < now
    {
        return Err(format!("it expired at {until}"));
    }
    parse_time(field("Date").ok_or("it has no `Date`")?)
}

/// Parses a time of an index: `Sat, 11 Jul 2026 10:16:37 UTC`.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    let numeric = text.replace("UTC", "+0000");
    jiff::fmt::rfc2822::parse(&numeric)
        .map(|time| time.timestamp())
        .map_err(|error| format!("`{text}` is no date: {error}"))
}

const LARGEST_INDEX_BYTES: u64 = 4 << 20;
