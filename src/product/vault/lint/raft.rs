//! Rules for nodes that join a cluster with integrated storage.

use serde_json::Value;

use super::{RAFT, storage};
use crate::lint::address::{has_scheme, is_loopback};
use crate::lint::tree::{at, items, text};
use crate::lint::{Hit, Rule, Severity, Subject, hit, join};
use crate::product::vault::changes::MLOCK;

/// Keys of a `retry_join`.
pub(super) const JOIN_KEYS: &[&str] = &[
    "auto_join",
    "auto_join_scheme",
    "auto_join_port",
    "leader_api_addr",
    "leader_ca_cert",
    "leader_client_cert",
    "leader_client_key",
    "leader_ca_cert_file",
    "leader_client_cert_file",
    "leader_client_key_file",
    "leader_tls_servername",
];

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "vault.raft-join-plaintext",
        severity: Severity::Unsafe,
        reason: "the node joins the leader in plaintext: another machine may answer, and the keys of the cluster's own TLS go over this connection",
        source: RAFT,
        fix: "use https:// in `leader_api_addr` and leave `auto_join_scheme` out, with `leader_ca_cert_file` and `leader_tls_servername`",
        check: |s| of_joins(s, plaintext),
    },
    Rule {
        id: "vault.raft-join-secret",
        severity: Severity::Unsafe,
        reason: "a cloud secret, or the private key of a node, is readable in the file and copied with it",
        source: RAFT,
        fix: "give the machine a managed identity, and use `leader_client_key_file` for a key",
        check: |s| of_joins(s, secrets),
    },
    Rule {
        id: "vault.mlock-unset",
        severity: Severity::Unsafe,
        reason: "since 1.20, Vault with integrated storage does not start unless `disable_mlock` is set",
        source: "https://developer.hashicorp.com/vault/docs/configuration#disable_mlock",
        fix: "set `disable_mlock` to true on a machine without swap, otherwise to false",
        check: |s| {
            let mut storage = storage(s).into_iter();
            let raft = storage.any(|one| one.label == "raft" && !one.key.starts_with("ha_"));
            let set = at(s.root, "disable_mlock").is_some();
            if raft && !set && s.has(&MLOCK) {
                vec![hit("disable_mlock", "nothing")]
            } else {
                Vec::new()
            }
        },
    },
];

fn of_joins(s: &Subject, check: impl Fn(&Value) -> Vec<Hit>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for storage in storage(s).into_iter().filter(|one| one.label == "raft") {
        for (key, join) in joins(&storage.key, storage.body) {
            let found = check(&join).into_iter();
            hits.extend(found.map(|one| hit(&format!("{key}.{}", one.key), one.found)));
        }
    }
    hits
}

/// Returns the joins of a storage: HCL blocks, a JSON object or list, or a text with a JSON list.
///
/// Vault converts all of these to JSON, which compares keys without case.
pub(super) fn joins(storage: &str, body: &Value) -> Vec<(String, Value)> {
    let name = format!("{storage}.retry_join");
    let in_text = text(body, "retry_join").map(serde_json::from_str::<Value>);
    let joins = match &in_text {
        Some(json) => json.as_ref().ok(),
        None => body.get("retry_join"),
    };
    let all = items(joins, &name).into_iter();
    all.map(|(key, join)| (key, lower_keys(join))).collect()
}

fn lower_keys(value: &Value) -> Value {
    match value {
        Value::Object(all) => {
            let all = all.iter();
            let lower = all.map(|(key, value)| (key.to_ascii_lowercase(), value.clone()));
            Value::Object(lower.collect())
        }
        other => other.clone(),
    }
}

fn plaintext(join: &Value) -> Vec<Hit> {
    let mut hits = Vec::new();
    if let Some(leader) = text(join, "leader_api_addr")
        && has_scheme(leader, "http")
        && !is_loopback(leader)
    {
        hits.push(hit("leader_api_addr", leader));
    }
    if let Some(scheme) = text(join, "auto_join_scheme")
        && scheme.eq_ignore_ascii_case("http")
    {
        hits.push(hit("auto_join_scheme", scheme));
    }
    hits
}

fn secrets(join: &Value) -> Vec<Hit> {
    let mut hits = Vec::new();
    if text(join, "auto_join").is_some_and(join::has_secret) {
        hits.push(hit("auto_join", "a secret"));
    }
    if text(join, "leader_client_key").is_some() {
        hits.push(hit("leader_client_key", "a secret"));
    }
    hits
}
