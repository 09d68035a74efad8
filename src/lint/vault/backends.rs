//! Storage backends: which keys each of them reads, which of these are secrets, and when it speaks in clear.
//!
//! From Vault's documentation of each backend, and from what `physical/` of its source looks up.

mod table;

use serde_json::Value;

use crate::lint::address::{authority, has_scheme, is_loopback, is_socket};
use crate::lint::secrets;
use crate::lint::tree::{is, text};
use table::BACKENDS;

/// Keys of every backend, which Vault takes out before it gives the rest to the backend.
pub(super) const COMMON: &[&str] = &[
    "redirect_addr",
    "advertise_addr",
    "cluster_addr",
    "disable_clustering",
    "max_parallel",
    "ha_enabled",
];

/// One kind of storage.
pub(super) struct Backend {
    /// Its label, as in `storage "raft"`.
    pub name: &'static str,
    /// Its keys, which count in this spelling alone, without those of [`COMMON`].
    pub keys: &'static [&'static str],
    /// Those that are secrets although their names do not say so.
    pub secrets: &'static [&'static str],
    clear: Clear,
}

/// What makes a connection go in clear.
enum Clear {
    /// Nothing that a key says.
    Never,
    /// An address under this key with this scheme.
    Scheme(&'static [&'static str], &'static str),
    /// TLS that this key turns on, for the hosts under another.
    Unless(&'static str, &'static str),
    /// `sslmode` in a connection string. Without one the driver falls back to plaintext, as with `prefer`.
    SslMode(&'static str),
    /// S3, which has a flag and an endpoint.
    DisableSsl,
}

/// The backend with this label.
pub(super) fn named(label: &str) -> Option<&'static Backend> {
    BACKENDS.iter().find(|backend| backend.name == label)
}

impl Backend {
    /// The key by which credentials and data go over the network in clear. `mode` is that of a variable, for PostgreSQL.
    pub(super) fn clear_key(&self, body: &Value, mode: Option<&str>) -> Option<&'static str> {
        let hosts = |key: &str| text(body, key).map(|all| all.split(',').all(is_loopback));
        match &self.clear {
            Clear::Never => None,
            Clear::Scheme(keys, scheme) => keys.iter().copied().find(|key| {
                let mut all = text(body, key).into_iter().flat_map(|all| all.split(','));
                all.any(|one| has_scheme(one, scheme) && !is_loopback(one))
            }),
            // Without hosts it is this machine, by every default.
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
                (weak && !is_of_this_machine(url)).then_some(*key)
            }
            Clear::DisableSsl if is(body, "disable_ssl") == Some(true) => Some("disable_ssl"),
            Clear::DisableSsl => text(body, "endpoint")
                .filter(|one| has_scheme(one, "http") && !is_loopback(one))
                .map(|_| "endpoint"),
        }
    }
}

/// Whether a connection string is one for this machine: as a URL, or as words with `host=`. A URL may have several hosts, or
/// none, and that of a socket as its parameter.
fn is_of_this_machine(url: &str) -> bool {
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
