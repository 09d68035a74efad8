//! Finds keys that Vault does not know. Vault ignores them silently.

mod tables;

use serde_json::Value;

use super::raft::{JOIN_KEYS, joins};
use super::{CONFIGURATION, STORAGES, backends, listeners, seals, storage};
use crate::lint::tree::{blocks, items};
use crate::lint::{Hit, Rule, Severity, Subject, hit};
use tables::{
    INFLIGHT, KUBERNETES, LISTENER, METRICS, PROFILING, QUIT, TELEMETRY, TOP, USER_LOCKOUT,
};

/// Share of letters in which two similar names may differ.
const MAX_TYPO_RATIO: f64 = 0.3;

pub(super) const RULES: &[Rule] = &[Rule {
    id: "vault.unknown-key",
    severity: Severity::Unsafe,
    reason: "Vault ignores a key that it does not know, and says nothing at start",
    source: CONFIGURATION,
    fix: "write the key as in Vault's documentation; `vault operator diagnose` also lists unknown keys",
    check: unknown,
}];

/// Names of blocks and their keys, for the suggestion.
const PLACES: &[(&str, &[&str])] = &[
    ("the top of the file", TOP),
    ("`listener`", LISTENER),
    ("`telemetry`", TELEMETRY),
    ("`user_lockout`", USER_LOCKOUT),
    ("`retry_join`", JOIN_KEYS),
];

fn unknown(s: &Subject) -> Vec<Hit> {
    let mut hits = Vec::new();
    check(&mut hits, "", s.root, &[TOP]);
    for kind in ["tcp", "unix"] {
        for one in listeners(s, kind) {
            check(&mut hits, &one.key, one.body, &[LISTENER]);
            for (name, keys) in [
                ("telemetry", METRICS),
                ("profiling", PROFILING),
                ("inflight_requests_logging", INFLIGHT),
                ("agent_api", QUIT),
                ("proxy_api", QUIT),
            ] {
                for (key, body) in items(one.body.get(name), &format!("{}.{name}", one.key)) {
                    check(&mut hits, &key, body, &[keys]);
                }
            }
        }
    }
    for (key, body) in items(s.root.get("telemetry"), "telemetry") {
        check(&mut hits, &key, body, &[TELEMETRY]);
    }
    for one in blocks(s.root, "user_lockout") {
        check(&mut hits, &one.key, one.body, &[USER_LOCKOUT]);
    }
    of_storages(s, &mut hits);
    of_seals(s, &mut hits);
    for one in blocks(s.root, "service_registration") {
        let keys = match one.label {
            "consul" => backends::named("consul").map(|table| table.keys),
            "kubernetes" => Some(KUBERNETES),
            _ => None,
        };
        if let Some(keys) = keys {
            check(&mut hits, &one.key, one.body, &[keys]);
        }
    }
    hits
}

fn of_storages(s: &Subject, hits: &mut Vec<Hit>) {
    for one in storage(s) {
        let Some(table) = backends::named(one.label) else {
            continue;
        };
        check(hits, &one.key, one.body, &[table.keys, backends::COMMON]);
        if one.label == "raft" {
            for (key, join) in joins(&one.key, one.body) {
                check(hits, &key, &join, &[JOIN_KEYS]);
            }
        }
    }
}

fn of_seals(s: &Subject, hits: &mut Vec<Hit>) {
    for one in seals::all(s) {
        let known = seals::KEYS.iter().find(|(label, _)| *label == one.label);
        if let Some((_, keys)) = known {
            check(hits, &one.key, one.body, &[keys, seals::COMMON]);
        }
    }
}

/// Reports the keys of `body` that are in none of `known`.
fn check(hits: &mut Vec<Hit>, place: &str, body: &Value, known: &[&[&str]]) {
    for key in body.as_object().into_iter().flat_map(|all| all.keys()) {
        let is_known = known.iter().any(|keys| keys.contains(&key.as_str()));
        if is_known || is_comment(key) {
            continue;
        }
        let path = match place {
            "" => key.clone(),
            place => format!("{place}.{key}"),
        };
        hits.push(hit(&path, suggestion(key, known)));
    }
}

/// Tells if a key is a comment, which JSON files write as an unknown key.
fn is_comment(key: &str) -> bool {
    key.starts_with(['_', '/', '#', '$']) || matches!(key, "comment" | "comments" | "description")
}

/// Suggests a similar key of the same block, or the block that the key belongs to.
fn suggestion(key: &str, known: &[&[&str]]) -> String {
    let all = known.iter().copied().flatten().copied();
    if let Some(name) = nearest(key, all) {
        return format!("unknown; expected `{name}`");
    }
    let same = key.replace('-', "_");
    let elsewhere = PLACES
        .iter()
        .find(|(_, keys)| keys.contains(&same.as_str()));
    if let Some((place, _)) = elsewhere {
        return format!("unknown here; `{same}` belongs in {place}");
    }
    let storage = STORAGES.first().copied().unwrap_or_default();
    let backend = backends::named("consul").filter(|table| table.keys.contains(&same.as_str()));
    match backend {
        Some(table) => format!(
            "unknown here; `{same}` belongs in `{storage} \"{}\"`",
            table.name
        ),
        None => "unknown".to_owned(),
    }
}

fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
    let typos = known.map(|name| {
        let typos = strsim::damerau_levenshtein(&plain(key), &plain(name));
        (typos, name)
    });
    #[expect(
        clippy::cast_precision_loss,
        reason = "names are far shorter than 2^52 letters"
    )]
    let close = |(typos, name): &(usize, &str)| {
        let shortened = key.len() > 4 && plain(name).starts_with(&plain(key));
        shortened || (*typos as f64) < MAX_TYPO_RATIO * plain(name).len() as f64
    };
    typos
        .filter(close)
        .min_by_key(|(typos, _)| *typos)
        .map(|(_, name)| name)
}
