//! Describes storage backends: their keys, their secrets, and when a connection is plaintext.
//! Source: Vault's documentation of each backend, and `physical/` of its source code.

mod table;

use serde_json::Value;

use crate::lint::address::{authority, has_scheme, is_loopback, is_socket};
use crate::lint::secrets;
use crate::lint::tree::{is, text};
use table::BACKENDS;

/// Keys of every backend, which Vault itself reads.
pub(super) const COMMON: &[&str] = &[
    "redirect_addr",
    "advertise_addr",
    "cluster_addr",
    "disable_clustering",
    "max_parallel",
    "ha_enabled",
];

/// A kind of storage.
pub(super) struct Backend {
    /// Label, as in `storage "raft"`.
    pub name: &'static str,
    /// Keys in the required spelling, without those of [`COMMON`].
    pub keys: &'static [&'static str],
    /// Keys whose value is a secret, although their names do not show it.
    pub secrets: &'static [&'static str],
    clear: Clear,
}

/// The condition for a plaintext connection.
enum Clear {
    /// No key makes the connection plaintext.
    Never,
    /// One of these keys has an address with this scheme.
    Scheme(&'static [&'static str], &'static str),
    /// The first key, which enables TLS, is not set for the hosts of the second key.
    Unless(&'static str, &'static str),
    /// `sslmode` of this connection string is weak. By default the driver falls back to plaintext.
    SslMode(&'static str),
    /// `disable_ssl` of S3 is set, or `endpoint` has the scheme http.
    DisableSsl,
}

/// Returns the backend with this label.
pub(super) fn named(label: &str) -> Option<&'static Backend> {
    BACKENDS.iter().find(|backend| backend.name == label)
}

impl Backend {
    /// Returns the key that makes the connection plaintext. `mode` is PostgreSQL's variable for
    /// `sslmode`.
    pub(super) fn clear_key(&self, body: &Value, mode: Option<&str>) -> Option<&'static str> {
        let hosts = |key: &str| text(body, key).map(|all| all.split(',').all(is_loopback));
        match &self.clear {
            Clear::Never => None,
            Clear::Scheme(keys, scheme) => keys.iter().copied().find(|key| {
                let mut all = text(body, key).into_iter().flat_map(|all| all.split(','));
                all.any(|one| has_scheme(one, scheme) && !is_loopback(one))
            }),
            // The default host of every backend is this machine.
            Clear::Unless(key, at) => {
                let on = is(body, key) == Some(true)
                    || (is(body, key).is_none() && text(body, key).is_some());
                (!on && hosts(at) == Some(false)).then_some(*at)
            }
            Clear::SslMode(key) => {
                let url = text(body, key).filter(|url| !secrets::is_placeholder(url))?;
                let given = url.split_once("sslmode=").map(|(_, mode)| mode);
                let mode = given.or(mode).unwrap_or_default();
                let mode = mode.trim_start_matches([' ', '\'']);
                let mode = mode.split(['&', ' ', '\'']).next()?;
                let weak = ["", "disable", "allow", "prefer"].contains(&mode);
                (weak && !is_local(url)).then_some(*key)
            }
            Clear::DisableSsl if is(body, "disable_ssl") == Some(true) => Some("disable_ssl"),
            Clear::DisableSsl => text(body, "endpoint")
                .filter(|one| has_scheme(one, "http") && !is_loopback(one))
                .map(|_| "endpoint"),
        }
    }
}

/// Tells if a connection string leads to this machine.
///
/// It is a URL, or words with `host=`. A URL may have several hosts, or none, or the host of a
/// socket as a parameter.
fn is_local(url: &str) -> bool {
    if url.contains("://") {
        let hosts = authority(url);
        let named = url
            .split(['?', '&'])
            .find_map(|one| one.strip_prefix("host="));
        return match (hosts, named) {
            ("", None) => true,
            ("", Some(host)) => host.starts_with(['/', '%']) || is_loopback(host),
            (hosts, _) => hosts.split(',').all(is_loopback),
        };
    }
    let host = url
        .split_whitespace()
        .find_map(|word| word.strip_prefix("host="));
    host.is_none_or(|host| host.starts_with('/') || is_loopback(host) || is_socket(host))
}
