//! Looks up suites, images and releases at their servers.
//! A [`PackageIndex`] comes from the signed part of an `InRelease` file, which `gpgv` verifies.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Index, LockError, LockedImage, PackageIndex};
use crate::azure::ArmClient;
use crate::definition::AzureSpec;
use crate::digest::Digest;
use crate::event::Events;
use crate::http;
use crate::process::{ProcessError, Program};
use crate::release::{self, LockedRelease, ReleaseMirror, ReleaseName};
use crate::wait::Interrupt;

/// Path of the keyring in Debian's package `debian-archive-keyring`.
pub const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Looks up bases and releases at the real servers.
pub struct Network {
    /// Keyring with the keys that may sign the index of a suite, as in [`DEBIAN_KEYRING`].
    pub keyring: PathBuf,
    /// Current time, which decides if an index has expired.
    pub now: Timestamp,
    /// Client of the subscription, if one is configured.
    pub azure: Option<ArmClient>,
}

impl Index for Network {
    async fn image(
        &self,
        wanted: &AzureSpec,
        events: &Events,
        _interrupt: &Interrupt,
    ) -> Result<LockedImage, LockError> {
        let arm = self.azure.as_ref().ok_or(LockError::NoSubscription)?;
        super::azure::image(arm, wanted, events).await
    }

    async fn suite(
        &self,
        mirror: &str,
        suite: &str,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<PackageIndex, LockError> {
        let url = format!("{mirror}/dists/{suite}/InRelease");
        let bytes = http::fetch_bytes(&url, LARGEST_INDEX_BYTES, events, interrupt)
            .await
            .map_err(|error| LockError::Fetch {
                suite: suite.to_owned(),
                error,
            })?;
        let sha256 = Digest::hash_bytes(&bytes);
        let signed = verify(bytes, &self.keyring, interrupt)
            .await
            .map_err(|error| LockError::Signature {
                suite: suite.to_owned(),
                url: url.clone(),
                keyring: self.keyring.clone(),
                error: Box::new(error),
            })?;
        let date = read_date(&signed, suite, self.now).map_err(|reason| LockError::Index {
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

    async fn release(
        &self,
        source: &ReleaseMirror,
        name: ReleaseName<'_>,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<LockedRelease, LockError> {
        Ok(release::resolve(source, name, self.now, events, interrupt).await?)
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
