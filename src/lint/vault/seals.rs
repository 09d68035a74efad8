//! Seals: which keys each of them reads, and what is wrong with a seal.

use serde_json::Value;

use super::{secret_keys, within};
use crate::lint::address::{has_scheme, is_loopback};
use crate::lint::tree::{Block, blocks, items, text};
use crate::lint::{Hit, Rule, Severity, Subject, hit, must_not_be};

/// Names under which Vault reads seals.
pub(super) const STANZAS: &[&str] = &["seal", "hsm", "kms"];

/// Keys of every seal.
pub(super) const COMMON: &[&str] = &["disabled", "purpose", "priority", "name", "recover"];

/// A seal's label, and its keys.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    (
        "alicloudkms",
        &["region", "domain", "access_key", "secret_key", "kms_key_id"],
    ),
    (
        "awskms",
        &[
            "region",
            "access_key",
            "secret_key",
            "session_token",
            "kms_key_id",
            "endpoint",
            "shared_creds_filename",
            "shared_creds_profile",
            "role_arn",
            "role_session_name",
            "web_identity_token_file",
        ],
    ),
    (
        "azurekeyvault",
        &[
            "tenant_id",
            "client_id",
            "client_secret",
            "environment",
            "vault_name",
            "key_name",
            "resource",
        ],
    ),
    (
        "gcpckms",
        &[
            "credentials",
            "project",
            "region",
            "key_ring",
            "crypto_key",
            "user_agent",
        ],
    ),
    (
        "ocikms",
        &[
            "key_id",
            "crypto_endpoint",
            "management_endpoint",
            "auth_type_api_key",
        ],
    ),
    (
        "transit",
        &[
            "address",
            "token",
            "key_name",
            "mount_path",
            "namespace",
            "tls_ca_cert",
            "tls_client_cert",
            "tls_client_key",
            "tls_server_name",
            "tls_skip_verify",
            "disable_renewal",
            "key_id_prefix",
        ],
    ),
    (
        "pkcs11",
        &[
            "lib",
            "slot",
            "token_label",
            "pin",
            "key_label",
            "default_key_label",
            "key_id",
            "default_key_id",
            "hmac_key_label",
            "default_hmac_key_label",
            "hmac_key_id",
            "default_hmac_key_id",
            "mechanism",
            "hmac_mechanism",
            "generate_key",
            "regenerate_key",
            "force_rw_session",
            "rsa_encrypt_local",
            "rsa_oaep_hash",
            "max_parallel",
        ],
    ),
    ("shamir", &[]),
];

pub(in crate::lint) const RULES: &[Rule] = &[
    Rule {
        id: "vault.seal",
        severity: Severity::Note,
        reason: "after each start, operators unseal this node by hand with shares of the key",
        source: "https://developer.hashicorp.com/vault/docs/concepts/seal",
        fix: "add a `seal` if nodes restart unattended, for example \"azurekeyvault\" with a managed identity",
        check: |s| match all(s).is_empty() && bare(s).is_empty() {
            true => vec![hit("seal", "nothing")],
            false => Vec::new(),
        },
    },
    Rule {
        id: "vault.seal-secret",
        severity: Severity::Unsafe,
        reason: "who reads the file can unseal Vault",
        source: "https://developer.hashicorp.com/vault/docs/configuration/seal",
        fix: "leave it out, and give the machine a managed identity",
        check: |s| within(all(s).into_iter(), secrets),
    },
    Rule {
        id: "vault.seal-skip-verify",
        severity: Severity::Unsafe,
        reason: "Vault gives the key of its keys to any server that answers",
        source: "https://developer.hashicorp.com/vault/docs/configuration/seal/transit",
        fix: "remove `tls_skip_verify`, and set `tls_ca_cert`",
        check: |s| {
            within(all(s).into_iter(), |body| {
                must_not_be(body, true, &["tls_skip_verify"])
            })
        },
    },
    Rule {
        id: "vault.seal-plaintext",
        severity: Severity::Unsafe,
        reason: "the key of Vault's keys goes over the network in clear",
        source: "https://developer.hashicorp.com/vault/docs/configuration/seal/transit",
        fix: "use an address with https://",
        check: |s| within(all(s).into_iter(), plaintext),
    },
];

/// All seals with a label.
pub(super) fn all<'a>(s: &Subject<'a>) -> Vec<Block<'a>> {
    let names = STANZAS.iter();
    names.flat_map(|name| blocks(s.root, name)).collect()
}

/// Seals without a label, which older files have.
fn bare(s: &Subject) -> Vec<String> {
    let names = STANZAS.iter();
    names
        .flat_map(|name| items(s.root.get(*name), name))
        .map(|(key, _)| key)
        .collect()
}

fn secrets(body: &Value) -> Vec<Hit> {
    secret_keys(body, &|path| match path {
        "pin" | "current_key" | "previous_key" => Some(true),
        // The path of a file; Google's own format, if it begins so.
        "credentials" => text(body, path).map(|text| text.trim_start().starts_with('{')),
        _ => None,
    })
}

fn plaintext(body: &Value) -> Vec<Hit> {
    let keys = [
        "address",
        "endpoint",
        "crypto_endpoint",
        "management_endpoint",
    ];
    let clear = |key: &&str| {
        text(body, key).is_some_and(|one| has_scheme(one, "http") && !is_loopback(one))
    };
    let keys = keys.into_iter().filter(clear);
    keys.map(|key| hit(key, "http://")).collect()
}
