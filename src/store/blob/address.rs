//! The address of a container: `https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]`, or that
//! of another cloud or of the emulator. It never contains a credential.

use std::net::IpAddr;
use std::str::FromStr;

use azure_core::http::Url;

use crate::azure::{Cloud, CloudError};
use crate::store::backend::is_store_name;

/// A container, and the prefix of all names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobAddress {
    container: Url,
    /// Empty, or ends with a slash.
    prefix: String,
}

/// Why a text is not an address of a container. The messages never contain a possible credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is not a URL.
    #[error("the address of the store is not a URL, expected {EXPECTED}: {0}")]
    NotUrl(String),
    /// Its scheme is not `https`.
    #[error(
        "cannot use the store at {0} over `{1}`: only `https` is accepted, or `http` on a loopback address"
    )]
    Insecure(String, String),
    /// It contains a user, a query or a fragment.
    #[error("the address of the store contains a user, a query or a fragment")]
    Credential,
    /// It contains no valid name of a container.
    #[error(
        "the address of the store contains no container name (3 to 63 of `a` to `z`, `0` to `9` and `-`), expected {EXPECTED}"
    )]
    NoContainer,
    /// The prefix is not valid in the name of a blob.
    #[error(
        "`{0}` is not a valid prefix of names in a store, expected letters, digits, `-`, `_`, `.` and `/`"
    )]
    Prefix(String),
}

const EXPECTED: &str = "https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]";

impl BlobAddress {
    /// Returns the URL of the container.
    pub(super) fn container(&self) -> &Url {
        &self.container
    }

    /// Returns the prefix of the names of all blobs.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the whole address, for messages.
    pub fn location(&self) -> String {
        let whole = format!("{}/{}", self.container, self.prefix);
        whole.trim_end_matches('/').to_owned()
    }

    /// Returns the cloud that the host belongs to.
    pub fn cloud(&self) -> Result<Cloud, CloudError> {
        Cloud::from_blob_host(self.container.host_str().unwrap_or_default())
    }
}

impl FromStr for BlobAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let url = Url::parse(text).map_err(|error| AddressError::NotUrl(error.to_string()))?;
        let (user, secret) = (url.username(), url.password());
        let forbidden = [secret, url.query(), url.fragment()];
        if !user.is_empty() || forbidden.iter().any(Option::is_some) {
            return Err(AddressError::Credential);
        }
        let host = url.host_str().ok_or(AddressError::NoContainer)?;
        if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
            return Err(AddressError::Insecure(host.into(), url.scheme().into()));
        }
        // If the host does not contain the account, the account is the first part of the path.
        let account_in_path = ip(&url).is_some() || is_loopback(&url);
        let path = url.path().trim_matches('/').to_owned();
        let mut parts = path.splitn(if account_in_path { 3 } else { 2 }, '/');
        let account = if account_in_path { parts.next() } else { None };
        let container = parts.next().filter(|name| is_container(name));
        let container = container.ok_or(AddressError::NoContainer)?;
        let prefix = match parts.next() {
            None => String::new(),
            Some(prefix) if is_store_name(prefix) => format!("{prefix}/"),
            Some(prefix) => return Err(AddressError::Prefix(prefix.to_owned())),
        };
        let mut whole = url.clone();
        let account_folder = account.map(|account| format!("{account}/"));
        whole.set_path(&format!(
            "{}{container}",
            account_folder.unwrap_or_default()
        ));
        Ok(Self {
            container: whole,
            prefix,
        })
    }
}

fn is_container(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (3..=63).contains(&name.len()) && name.bytes().all(allowed)
}

fn ip(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_matches(['[', ']']).parse().ok()
}

fn is_loopback(url: &Url) -> bool {
    url.host_str() == Some("localhost") || ip(url).is_some_and(|ip| ip.is_loopback())
}
