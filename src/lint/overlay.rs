//! Applies environment variables that replace keys of Vault's files, or set missing ones.
//! Source: `command/server.go`, `command/log_flags.go`, `internalshared/configutil` and `physical/`
//! of Vault, and `api` of Consul for `CONSUL_` variables.

use serde_json::Value;

use super::document::{Inner, Node};
use crate::hcl1::Position;

/// The value that takes precedence if a file also sets the key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Precedence {
    Variable,
    File,
}

/// A variable, the blocks that it applies to, and the key in them. If several variables set one
/// key, the first is used.
type Override = (
    &'static str,
    &'static [&'static str],
    &'static str,
    Precedence,
);

const TOP: &[&str] = &[];
const CONSUL: &[&str] = &[
    "storage.consul",
    "backend.consul",
    "ha_storage.consul",
    "ha_backend.consul",
    "service_registration.consul",
];
const POSTGRESQL: &[&str] = &[
    "storage.postgresql",
    "backend.postgresql",
    "ha_storage.postgresql",
    "ha_backend.postgresql",
];
const TRANSIT: &[&str] = &["seal.transit"];

const OVERRIDES: &[Override] = &[
    ("VAULT_API_ADDR", TOP, "api_addr", Precedence::Variable),
    ("VAULT_REDIRECT_ADDR", TOP, "api_addr", Precedence::Variable),
    (
        "VAULT_ADVERTISE_ADDR",
        TOP,
        "api_addr",
        Precedence::Variable,
    ),
    (
        "VAULT_CLUSTER_ADDR",
        TOP,
        "cluster_addr",
        Precedence::Variable,
    ),
    (
        "VAULT_DISABLE_MLOCK",
        TOP,
        "disable_mlock",
        Precedence::Variable,
    ),
    ("VAULT_UI", TOP, "ui", Precedence::Variable),
    ("VAULT_LOG_LEVEL", TOP, "log_level", Precedence::Variable),
    (
        "VAULT_PG_CONNECTION_URL",
        POSTGRESQL,
        "connection_url",
        Precedence::Variable,
    ),
    (
        "COUCHDB_ENDPOINT",
        &["storage.couchdb", "backend.couchdb"],
        "endpoint",
        Precedence::Variable,
    ),
    (
        "AWS_S3_ENDPOINT",
        &["storage.s3", "backend.s3"],
        "endpoint",
        Precedence::Variable,
    ),
    (
        "AWS_DYNAMODB_ENDPOINT",
        &[
            "storage.dynamodb",
            "backend.dynamodb",
            "ha_storage.dynamodb",
        ],
        "endpoint",
        Precedence::Variable,
    ),
    (
        "MANTA_URL",
        &["storage.manta", "backend.manta"],
        "url",
        Precedence::Variable,
    ),
    ("CONSUL_HTTP_ADDR", CONSUL, "address", Precedence::File),
    ("CONSUL_HTTP_SSL", CONSUL, "scheme", Precedence::File),
    ("VAULT_ADDR", TRANSIT, "address", Precedence::File),
];

/// Writes the values of `variables` into a document of `files` files. Files of variables are
/// numbered after those, and a value is spelled as its variable.
pub(super) fn apply(document: &mut Node, variables: &[(String, Value)], files: usize) {
    for (at, (name, blocks, key, precedence)) in OVERRIDES.iter().enumerate() {
        let Some((number, value)) = last_value(variables, name) else {
            continue;
        };
        let earlier = OVERRIDES[..at].iter().any(|(other, place, same, _)| {
            place == blocks && same == key && last_value(variables, other).is_some()
        });
        let value = match (*name, value) {
            ("CONSUL_HTTP_SSL", "1" | "t" | "T" | "true" | "TRUE" | "True") => "https",
            ("CONSUL_HTTP_SSL", _) => continue,
            (_, value) => value,
        };
        if earlier {
            continue;
        }
        let leaf = Node {
            file: files + number,
            at: Position::START,
            spelled: (*name).to_owned(),
            inner: Inner::Leaf(value.into()),
        };
        if blocks.is_empty() {
            insert_at(document, &[key], &leaf, *precedence);
        }
        for block in *blocks {
            let path: Vec<&str> = block.split('.').chain([*key]).collect();
            insert_at(document, &path, &leaf, *precedence);
        }
    }
}

/// Returns the value of a variable and the index of its last file. An empty value counts as unset.
fn last_value<'a>(variables: &'a [(String, Value)], name: &str) -> Option<(usize, &'a str)> {
    let all = variables.iter().enumerate();
    let (number, value) = all
        .filter_map(|(number, (_, one))| Some((number, one.get(name)?.as_str()?)))
        .next_back()?;
    (!value.is_empty()).then_some((number, value))
}

/// Sets a key in each existing body at `path`.
fn insert_at(node: &mut Node, path: &[&str], leaf: &Node, precedence: Precedence) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    match &mut node.inner {
        Inner::Object(all) if rest.is_empty() => {
            if precedence == Precedence::Variable || !all.contains_key(*key) {
                all.insert((*key).to_owned(), leaf.clone());
            }
        }
        Inner::Object(all) => {
            if let Some(inner) = all.get_mut(*key) {
                insert_at(inner, rest, leaf, precedence);
            }
        }
        Inner::List(all) | Inner::Blocks(all) => {
            for one in all {
                insert_at(one, path, leaf, precedence);
            }
        }
        Inner::Leaf(_) => {}
    }
}
