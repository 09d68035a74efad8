//! Rules for Vault servers, from Vault's configuration reference and its guide to production
//! hardening: <https://developer.hashicorp.com/vault/docs>.

mod backends;
mod environment;
mod keys;
mod listener;
mod names;
mod overrides;
mod raft;
mod seals;
mod server;
mod storage;

use serde_json::Value;

use crate::lint::address::{authority, has_scheme, is_loopback, is_wildcard};
use crate::lint::tree::{Block, blocks, is, items, text};
use crate::lint::{Hit, Profile, Repeated, Rule, Subject, hit, secrets};

pub(super) static PROFILE: Profile = Profile {
    name: "vault",
    title: "Vault",
    unparsed_rule_id: "vault.unreadable",
    source: CONFIGURATION,
    rules: RULES,
    names: names::NAMES,
    detects_json_by_name: false,
    repeated: Repeated {
        in_hcl: "Vault uses the last one, and from 1.21 on refuses the file",
        in_json: "Vault uses the last one",
        other_spelling: "Vault reads both as the same key, and uses the last one",
    },
    overrides: overrides::OVERRIDES,
};

/// All rules, in the order of their findings.
const RULES: &[&[Rule]] = &[
    listener::RULES,
    storage::RULES,
    raft::RULES,
    seals::RULES,
    server::RULES,
    environment::RULES,
    keys::RULES,
];

const CONFIGURATION: &str = "https://developer.hashicorp.com/vault/docs/configuration";
const HARDENING: &str = "https://developer.hashicorp.com/vault/docs/concepts/production-hardening";
const LISTENER: &str = "https://developer.hashicorp.com/vault/docs/configuration/listener/tcp";
const CONSUL: &str = "https://developer.hashicorp.com/vault/docs/configuration/storage/consul";
const RAFT: &str = "https://developer.hashicorp.com/vault/docs/configuration/storage/raft";
const STORAGE: &str = "https://developer.hashicorp.com/vault/docs/configuration/storage";
const HA: &str = "https://developer.hashicorp.com/vault/docs/concepts/ha";

/// Default port of the API.
const API_PORT: &str = "8200";

fn missing(body: &Value, keys: &[&str]) -> Vec<Hit> {
    let missing = keys.iter().filter(|key| text(body, key).is_none());
    missing.map(|key| hit(key, "nothing")).collect()
}

/// Reports the secret at `key` without its value.
fn secret(body: &Value, key: &str) -> Vec<Hit> {
    text(body, key)
        .filter(|text| !secrets::is_placeholder(text))
        .map(|_| hit(key, "a secret"))
        .into_iter()
        .collect()
}

/// Reports every secret below `body`. `known` decides for a path, independent of its name.
fn secret_keys(body: &Value, known: &dyn Fn(&str) -> Option<bool>) -> Vec<Hit> {
    let keys = secrets::keys(body, known).into_iter();
    keys.map(|key| hit(&key, "a secret")).collect()
}

fn old_tls(body: &Value) -> Vec<Hit> {
    match text(body, "tls_min_version") {
        None | Some("tls12" | "tls13") => Vec::new(),
        Some(found) => vec![hit("tls_min_version", found)],
    }
}

/// Applies a check to each of `blocks`, and returns hits with the full key.
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

/// Returns all listeners of a kind, which is a label or the key `type`.
fn listeners<'a>(s: &Subject<'a>, kind: &str) -> Vec<Block<'a>> {
    let labelled = blocks(s.root, "listener").into_iter();
    let mut all: Vec<Block> = labelled
        .filter(|one| one.label == kind && one.body.is_object())
        .collect();
    for (key, body) in items(s.root.get("listener"), "listener") {
        if let Some(label) = text(body, "type")
            && label.eq_ignore_ascii_case(kind)
        {
            all.push(Block { label, key, body });
        }
    }
    all
}

fn of_listeners(s: &Subject, check: impl Fn(&Value) -> Vec<Hit>) -> Vec<Hit> {
    within(listeners(s, "tcp").into_iter(), check)
}

/// Tells if only this machine can reach a listener. By default Vault listens on 127.0.0.1.
fn is_local(listener: &Value) -> bool {
    text(listener, "address").is_none_or(is_loopback)
}

/// Reports a flag in a block of each listener that other machines can reach.
fn of_open_listeners(s: &Subject, key: &str) -> Vec<Hit> {
    of_listeners(s, |body| {
        if is_local(body) {
            Vec::new()
        } else {
            nested_flag(body, key)
        }
    })
}

/// Reports a flag that is set in a block without a label, as in
/// `telemetry.unauthenticated_metrics_access`.
fn nested_flag(body: &Value, key: &str) -> Vec<Hit> {
    let (block, name) = key.split_once('.').unwrap_or((key, ""));
    let all = items(body.get(block), block).into_iter();
    all.filter(|(_, body)| is(body, name) == Some(true))
        .map(|(block, _)| hit(&format!("{block}.{name}"), "true"))
        .collect()
}

/// Names of storage blocks.
const STORAGES: &[&str] = &["storage", "backend", "ha_storage", "ha_backend"];

/// Returns all storages, under any of these names.
fn storage<'a>(s: &Subject<'a>) -> Vec<Block<'a>> {
    STORAGES
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
    text(body, "scheme").is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
        || text(body, "address").is_some_and(|one| has_scheme(one, "https"))
}

/// Tells if an address that other machines get would lead them to themselves, or nowhere.
fn is_misleading(address: &str) -> bool {
    is_loopback(address) || is_wildcard(address)
}

/// Returns the port of an address, which may have templates of Go.
fn port(address: &str) -> &str {
    match authority(address).rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => port,
        _ => API_PORT,
    }
}

fn is_below(folder: &str, above: &str) -> bool {
    folder
        .strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
