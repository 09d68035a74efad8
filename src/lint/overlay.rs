//! Variables that count instead of a key of Vault's files, or where the files leave it out.
//!
//! From `command/server.go`, `command/log_flags.go`, `internalshared/configutil` and `physical/` of Vault's source, and from
//! Consul's `api` for those of `CONSUL_`.

use serde_json::Value;

use super::document::{Inner, Node};
use crate::hcl1::Position;

/// Which of the two counts if a file sets the key as well.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Variable,
    File,
}

/// A variable, the blocks by all their names, and the key in them. Of several for one key the first counts that is set.
type Override = (&'static str, &'static [&'static str], &'static str, Counts);

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
    ("VAULT_API_ADDR", TOP, "api_addr", Counts::Variable),
    ("VAULT_REDIRECT_ADDR", TOP, "api_addr", Counts::Variable),
    ("VAULT_ADVERTISE_ADDR", TOP, "api_addr", Counts::Variable),
    ("VAULT_CLUSTER_ADDR", TOP, "cluster_addr", Counts::Variable),
    (
        "VAULT_DISABLE_MLOCK",
        TOP,
        "disable_mlock",
        Counts::Variable,
    ),
    ("VAULT_UI", TOP, "ui", Counts::Variable),
    ("VAULT_LOG_LEVEL", TOP, "log_level", Counts::Variable),
    (
        "VAULT_PG_CONNECTION_URL",
        POSTGRESQL,
        "connection_url",
        Counts::Variable,
    ),
    (
        "COUCHDB_ENDPOINT",
        &["storage.couchdb", "backend.couchdb"],
        "endpoint",
        Counts::Variable,
    ),
    (
        "AWS_S3_ENDPOINT",
        &["storage.s3", "backend.s3"],
        "endpoint",
        Counts::Variable,
    ),
    (
        "AWS_DYNAMODB_ENDPOINT",
        &[
            "storage.dynamodb",
            "backend.dynamodb",
            "ha_storage.dynamodb",
        ],
        "endpoint",
        Counts::Variable,
    ),
    (
        "MANTA_URL",
        &["storage.manta", "backend.manta"],
        "url",
        Counts::Variable,
    ),
    ("CONSUL_HTTP_ADDR", CONSUL, "address", Counts::File),
    ("CONSUL_HTTP_SSL", CONSUL, "scheme", Counts::File),
    ("VAULT_ADDR", TRANSIT, "address", Counts::File),
];

/// Puts what `variables` set, file by file, into a document of `files` files. Such a value has the number of its file, counted on
/// from those, and is spelled as the variable.
pub(super) fn apply(document: &mut Node, variables: &[(String, Value)], files: usize) {
    for (at, (name, blocks, key, counts)) in OVERRIDES.iter().enumerate() {
        let Some((number, value)) = set(variables, name) else {
            continue;
        };
        let earlier = OVERRIDES[..at].iter().any(|(other, place, same, _)| {
            place == blocks && same == key && set(variables, other).is_some()
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
            put(document, &[key], &leaf, *counts);
        }
        for block in *blocks {
            let path: Vec<&str> = block.split('.').chain([*key]).collect();
            put(document, &path, &leaf, *counts);
        }
    }
}

/// Which of the files sets a variable in the end, and to what. An empty one is as good as none.
fn set<'a>(variables: &'a [(String, Value)], name: &str) -> Option<(usize, &'a str)> {
    let all = variables.iter().enumerate();
    let (number, value) = all
        .filter_map(|(number, (_, one))| Some((number, one.get(name)?.as_str()?)))
        .next_back()?;
    (!value.is_empty()).then_some((number, value))
}

/// Sets a key in each body at `path`; makes none.
fn put(node: &mut Node, path: &[&str], leaf: &Node, counts: Counts) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    match &mut node.inner {
        Inner::Object(all) if rest.is_empty() => {
            if counts == Counts::Variable || !all.contains_key(*key) {
                all.insert((*key).to_owned(), leaf.clone());
            }
        }
        Inner::Object(all) => {
            if let Some(inner) = all.get_mut(*key) {
                put(inner, rest, leaf, counts);
            }
        }
        Inner::List(all) | Inner::Blocks(all) => {
            for one in all {
                put(one, path, leaf, counts);
            }
        }
        Inner::Leaf(_) => {}
    }
}
