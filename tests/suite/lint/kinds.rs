//! Violations in many spellings and places, valid configuration that looks similar, and the
//! findings.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use vault_bake::lint::{Configuration, Finding, Role, Severity};
use vault_bake::product::Product;

use super::cases::{at, consul, patched, vault};

mod commands;
mod places;
mod tables;
mod values;
mod variables;

/// Whole files with their violations: a folder below `tests/lint`, and the version.
const FILES: &[(&str, Option<&str>, &[&str])] = &[
    ("fn-api-addr-any-ipv6", None, &["vault.api-addr"]),
    (
        "fn-ha-backend",
        None,
        &[
            "vault.storage-local",
            "vault.storage-plaintext",
            "vault.storage-token",
        ],
    ),
    (
        "fn-image-secret-connect-ca",
        None,
        &["consul.secret-in-image"],
    ),
    (
        "fn-image-secret-legacy-acl",
        Some("1.8.7"),
        &["consul.secret-in-image"],
    ),
    (
        "fn-image-secret-metrics-proxy",
        None,
        &["consul.secret-in-image"],
    ),
    (
        "fn-image-secret-service-token",
        None,
        &["consul.secret-in-image"],
    ),
    (
        "fn-image-secret-telemetry",
        None,
        &["consul.secret-in-image"],
    ),
    ("fn-plugin-mode-number", None, &["vault.plugin-permissions"]),
    (
        "fn-raft-join-plaintext",
        None,
        &["vault.raft-join-plaintext", "vault.raft-join-secret"],
    ),
    ("fn-storage-secret-azure", None, &["vault.storage-secret"]),
    (
        "fn-storage-secret-postgresql",
        None,
        &["vault.storage-plaintext", "vault.storage-secret"],
    ),
    ("fn-storage-secret-s3", None, &["vault.storage-secret"]),
    ("fn-unknown-key-vault", None, &["vault.unknown-key"]),
    ("fp-cluster-addr-scheme", None, &[]),
    ("fp-legacy-acl-keys", Some("1.3.0"), &[]),
    ("fp-mlock-default", Some("1.15.6"), &[]),
    ("fp-plain-listener-on-loopback", None, &[]),
    ("fp-verify-server-hostname-in-defaults", Some("1.21.5"), &[]),
    (
        "fp-verify-server-hostname-in-defaults",
        Some("1.16.0"),
        &["consul.verify-server-hostname"],
    ),
];

/// Violations by rule.
fn unsafe_rules(found: &[Finding]) -> BTreeSet<&'static str> {
    let found = found.iter();
    let found = found.filter(|one| one.severity == Severity::Unsafe);
    found.map(|one| one.rule).collect()
}

#[test]
fn whole_files_have_the_findings_of_their_kind() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lint");
    let mut wrong = String::new();
    for (name, version, expected) in FILES {
        let product = Product::ALL
            .into_iter()
            .find(|product| file(&root, name, *product).is_some());
        let product = product.unwrap_or_else(|| panic!("{name}: no file"));
        let (file, text) = file(&root, name, product).unwrap();
        let role = match name.starts_with("fn-image") {
            true => Role::Image,
            false => Role::Node,
        };
        let version = version.map(|version| version.parse().unwrap());
        let mut configuration = Configuration::new(product, version, role);
        configuration.add(file, &text).unwrap();
        let found = unsafe_rules(&configuration.lint());
        if found != expected.iter().copied().collect() {
            writeln!(wrong, "{name}: {found:?}").unwrap();
        }
    }
    assert_eq!(wrong, "");
}

fn file(root: &Path, name: &str, product: Product) -> Option<(&'static str, String)> {
    let file = match product {
        Product::Consul => "consul.json",
        Product::Vault => "vault.hcl",
    };
    Some((file, fs::read_to_string(root.join(name).join(file)).ok()?))
}

/// A change of a valid configuration, and the expected violation.
pub struct Row {
    product: Product,
    version: Option<&'static str>,
    role: Role,
    patch: Value,
    expected: Vec<&'static str>,
}

impl Row {
    fn version(self, version: &'static str) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    fn image(self) -> Self {
        Self {
            role: Role::Image,
            ..self
        }
    }
}

fn row(product: Product, patch: Value, expected: &[&'static str]) -> Row {
    Row {
        product,
        version: None,
        role: Role::Node,
        patch,
        expected: expected.to_vec(),
    }
}

/// Tests each row, and returns those with another result.
fn try_rows(rows: &[Row]) -> String {
    let mut wrong = String::new();
    for row in rows {
        let mut whole = match row.product {
            Product::Consul => consul(),
            Product::Vault => vault(),
        };
        if row.role == Role::Image && row.product == Product::Consul {
            whole = patched(whole, &json!({ "encrypt": null }));
        }
        let whole = patched(whole, &row.patch);
        let version = row.version.map(|version| version.parse().unwrap());
        let mut configuration = Configuration::new(row.product, version, row.role);
        configuration.add("file.json", &whole.to_string()).unwrap();
        let found = configuration.lint();
        let rules = unsafe_rules(&found);
        if rules != row.expected.iter().copied().collect() {
            writeln!(wrong, "{}: {rules:?}, not {:?}", row.patch, row.expected).unwrap();
        }
        let printed = serde_json::to_string(&found).unwrap();
        if printed.contains(SECRET) {
            writeln!(wrong, "{}: shows the secret", row.patch).unwrap();
        }
    }
    wrong
}

/// The placeholder for a secret in rows; no finding may print it.
const SECRET: &str = "not-a-secret-9f8e";

fn vault_row(patch: Value, expected: &[&'static str]) -> Row {
    row(Product::Vault, patch, expected)
}

fn consul_row(patch: Value, expected: &[&'static str]) -> Row {
    row(Product::Consul, patch, expected)
}

/// Merges two patches.
fn both(mut one: Value, other: &Value) -> Value {
    let (Value::Object(all), Value::Object(other)) = (&mut one, other) else {
        return other.clone();
    };
    for (key, value) in other {
        let old = all.remove(key).unwrap_or(Value::Null);
        all.insert(key.clone(), both(old, value));
    }
    one
}

/// Replaces Consul by another storage.
fn stored(name: &str, body: Value) -> Value {
    let mut storage = json!({ "consul": null });
    storage[name] = body;
    json!({ "storage": storage })
}

/// Changes the first listener.
fn listening(body: &Value) -> Value {
    let tcp = patched(vault()["listener"][0]["tcp"].clone(), body);
    json!({ "listener": [{ "tcp": tcp }] })
}

/// Makes a patch with a secret at `a.b`.
fn secret_at(key: &str) -> Value {
    at(key, json!(SECRET))
}
