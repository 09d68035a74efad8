//! What servers say: suites' signed indexes, and releases.
//!
//! In: a mirror and a suite. Out: a [`PackageIndex`] whose signature `gpgv` has verified. Deliberately reads nothing
//! of an index but the part that is signed.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Index, LockError, LockedImage, PackageIndex};
use crate::azure::ArmClient;
use crate::definition::AzureSpec;
use crate::digest::Digest;
use crate::event::Events;
use crate::http;
use crate::process::{ProcessError, Program};
use crate::release::{self, LockedRelease, ReleaseMirror};
use crate::wait::Interrupt;

/// The keyring of Debian's package `debian-archive-keyring`.
pub const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The real servers.
pub struct Network {
    /// The keys that may sign a suite's index, as in [`DEBIAN_KEYRING`].
    pub keyring: PathBuf,
    /// The time by which an index has expired or not.
    pub now: Timestamp,
    /// The door to the subscription, where there is one.
    pub azure: Option<ArmClient>,
}

impl Index for Network {
    async fn image(
        &self,
        wanted: &AzureSpec,
        _events: &Events,
        _interrupt: &Interrupt,
    ) -> Result<LockedImage, LockError> {
        let arm = self.azure.as_ref().ok_or_else(|| LockError::Image {
            image: "on azure".to_owned(),
            why: "no subscription is configured; set AZURE_SUBSCRIPTION_ID, or `subscription` in `[azure]` of vault-bake.toml; `lock --builder qemu` looks up the base for QEMU alone".to_owned(),
        })?;
        super::azure::image(arm, wanted).await
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
        let sha256 = Digest::of(&bytes);
        let signed = verified(bytes, &self.keyring, interrupt)
            .await
            .map_err(|error| LockError::Signature {
                suite: suite.to_owned(),
                url: url.clone(),
                keyring: self.keyring.clone(),
                error: Box::new(error),
            })?;
        let date = evaluate(&signed, suite, self.now).map_err(|reason| LockError::Index {
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
        product: &str,
        version: &str,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<LockedRelease, LockError> {
        Ok(release::resolve(source, product, version, self.now, events, interrupt).await?)
    }
}

/// The part of `bytes` that is signed.
async fn verified(
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

/// The date of an index, where it is the one of `suite` and has not expired at `now`.
fn evaluate(signed: &str, suite: &str, now: Timestamp) -> Result<Timestamp, String> {
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
        && moment(until)? < now
    {
        return Err(format!(
            "it expired at {until}; expected a mirror that is kept up to date"
        ));
    }
    moment(field("Date").ok_or("it has no `Date`; expected one")?)
}

/// A moment as indexes write it: `Sat, 11 Jul 2026 10:16:37 UTC`.
fn moment(text: &str) -> Result<Timestamp, String> {
    let numeric = text.replace("UTC", "+0000");
    jiff::fmt::rfc2822::parse(&numeric)
        .map(|moment| moment.timestamp())
        .map_err(|error| format!("`{text}` is no date: {error}"))
}

const LARGEST_INDEX_BYTES: u64 = 4 << 20;
