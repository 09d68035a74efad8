//! Rules for Vault servers.
//!
//! From Vault's reference of configuration and its production hardening: <https://developer.hashicorp.com/vault/docs>.

mod listener;
mod server;
mod storage;

use serde_json::Value;

use super::tree::{Block, blocks, is, is_loopback, items, text};
use super::{Hit, Rule, Subject, hit};

/// All of them.
pub(super) const RULES: &[&[Rule]] = &[listener::RULES, storage::RULES, server::RULES];

const CONFIGURATION: &str = "https://developer.hashicorp.com/vault/docs/configuration";
const HARDENING: &str = "https://developer.hashicorp.com/vault/docs/concepts/production-hardening";
const LISTENER: &str = "https://developer.hashicorp.com/vault/docs/configuration/listener/tcp";
const CONSUL: &str = "https://developer.hashicorp.com/vault/docs/configuration/storage/consul";
const HA: &str = "https://developer.hashicorp.com/vault/docs/concepts/ha";

/// The port of the API where an address names none.
const API_PORT: &str = "8200";

fn missing(body: &Value, keys: &[&str]) -> Vec<Hit> {
    let missing = keys.iter().filter(|key| text(body, key).is_none());
    missing.map(|key| hit(key, "nothing")).collect()
}

/// A secret's place; what stands there is not shown.
fn secret(body: &Value, key: &str) -> Vec<Hit> {
    text(body, key)
        .map(|_| hit(key, "a secret"))
        .into_iter()
        .collect()
}

fn old_tls(body: &Value) -> Vec<Hit> {
    match text(body, "tls_min_version") {
        None | Some("tls12" | "tls13") => Vec::new(),
        Some(found) => vec![hit("tls_min_version", found)],
    }
}

/// What a check finds in each of `blocks`, with the whole key.
fn within<'a>(
    blocks: impl Iterator<Item = Block<'a>>,
    check: impl Fn(&Value) -> Vec<Hit>,
) -> Vec<Hit> {
    let mut all = Vec::new();
    for block in blocks {
        for found in check(block.body) {
            all.push(hit(&format!("{}.{}", block.key, found.key), found.found));
        }
    }
    all
}

fn of_listeners(s: &Subject, check: impl Fn(&Value) -> Vec<Hit>) -> Vec<Hit> {
    within(
        blocks(s.root, "listener")
            .into_iter()
            .filter(|one| one.label == "tcp"),
        check,
    )
}

/// A flag within a block of a listener that others can reach.
fn of_open_listeners(s: &Subject, key: &str) -> Vec<Hit> {
    of_listeners(s, |body| match text(body, "address") {
        Some(address) if is_loopback(address) => Vec::new(),
        _ => deep(body, key),
    })
}

/// A flag that is set within a block without a label, as in `telemetry.unauthenticated_metrics_access`.
fn deep(body: &Value, key: &str) -> Vec<Hit> {
    let (block, name) = key.split_once('.').unwrap_or((key, ""));
    let all = items(body.get(block), block).into_iter();
    all.filter(|(_, body)| is(body, name) == Some(true))
        .map(|(block, _)| hit(&format!("{block}.{name}"), "true"))
        .collect()
}

/// The storage, under either of its names.
fn storage<'a>(s: &Subject<'a>) -> Vec<Block<'a>> {
    ["storage", "backend", "ha_storage"]
        .iter()
        .flat_map(|name| blocks(s.root, name))
        .collect()
}

fn of_consul(s: &Subject, check: impl Fn(&Value) -> Vec<Hit>) -> Vec<Hit> {
    within(
        storage(s).into_iter().filter(|one| one.label == "consul"),
        check,
    )
}

fn over_tls(body: &Value) -> bool {
    text(body, "scheme") == Some("https")
        || text(body, "address").is_some_and(|one| one.starts_with("https://"))
}

fn advertised(s: &Subject, key: &str) -> Vec<Hit> {
    match text(s.root, key) {
        Some(found)
            if !found.starts_with("https://")
                || is_loopback(host(found))
                || host(found).starts_with("0.0.0.0") =>
        {
            vec![hit(key, found)]
        }
        Some(_) => Vec::new(),
        None => vec![hit(key, "nothing")],
    }
}

/// Host and port of an address, without its scheme.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// The port of an address; Go's templates may stand in it.
fn port(address: &str) -> &str {
    let host = host(address);
    match host.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => port,
        _ => API_PORT,
    }
}

fn is_below(folder: &str, above: &str) -> bool {
    folder
        .strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
