//! Where a container is.
//!
//! In: `https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]`, or the like for another cloud or the emulator.
//! Out: an address that names a container over a connection that can be trusted, and that carries no credential.

use std::net::IpAddr;
use std::str::FromStr;

use azure_core::http::Url;

use crate::azure::{Cloud, CloudError};
use crate::store::backend::is_store_name;

/// A container, and what all names in it begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobAddress {
    container: Url,
    /// Empty, or ends with a slash.
    prefix: String,
}

/// Text that is no address of a container. Never repeats what could be a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a URL.
    #[error("the store's address is no URL ({0}); expected {EXPECTED}")]
    NotUrl(String),
    /// Not `https`.
    #[error(
        "the store at {0} is reached over `{1}`: only `https` is accepted, and `http` for a loopback address"
    )]
    Insecure(String, String),
    /// It carries a user, a query or a fragment.
    #[error(
        "the store's address carries more than a place; a shared access signature is given apart from it"
    )]
    Credential,
    /// There is no container in it.
    #[error(
        "the store's address names no container (3 to 63 of `a` to `z`, `0` to `9` and `-`); expected {EXPECTED}"
    )]
    NoContainer,
    /// The prefix is none that blobs of a store can have.
    #[error(
        "`{0}` cannot be the beginning of names in a store: use letters, digits, `-`, `_`, `.` and `/`"
    )]
    Prefix(String),
}

const EXPECTED: &str = "https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]";

impl BlobAddress {
    /// The container's URL.
    pub(super) fn container(&self) -> &Url {
        &self.container
    }

    /// What the names of all blobs begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The whole, for messages.
    pub fn place(&self) -> String {
        let whole = format!("{}/{}", self.container, self.prefix);
        whole.trim_end_matches('/').to_owned()
    }

    /// The cloud that it is in, as far as its host tells.
    pub fn cloud(&self) -> Result<Cloud, CloudError> {
        Cloud::of_blobs(self.container.host_str().unwrap_or_default())
    }
}

impl FromStr for BlobAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let url = Url::parse(text).map_err(|error| AddressError::NotUrl(error.to_string()))?;
        let (user, secret) = (url.username(), url.password());
        let more = [secret, url.query(), url.fragment()];
        if !user.is_empty() || more.iter().any(Option::is_some) {
            return Err(AddressError::Credential);
        }
        let host = url.host_str().ok_or(AddressError::NoContainer)?;
        if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
            return Err(AddressError::Insecure(host.into(), url.scheme().into()));
        }
        // Where the host is no name of an account, the account is the first part of the path.
        let by_path = ip(&url).is_some() || is_loopback(&url);
        let path = url.path().trim_matches('/').to_owned();
        let mut parts = path.splitn(if by_path { 3 } else { 2 }, '/');
        let account = match by_path {
            true => parts.next(),
            false => None,
        };
        let container = parts.next().filter(|name| is_container(name));
        let container = container.ok_or(AddressError::NoContainer)?;
        let prefix = match parts.next() {
            None => String::new(),
            Some(prefix) if is_store_name(prefix) => format!("{prefix}/"),
            Some(prefix) => return Err(AddressError::Prefix(prefix.to_owned())),
        };
        let mut whole = url.clone();
        let above = account.map(|account| format!("{account}/"));
        whole.set_path(&format!("{}{container}", above.unwrap_or_default()));
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
