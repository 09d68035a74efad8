//! Rules for seals, and the keys of each seal.

use serde_json::Value;

use super::{secret_keys, within};
use crate::lint::address::{has_scheme, is_loopback};
use crate::lint::tree::{Block, blocks, items, text};
use crate::lint::{Hit, Rule, Severity, Subject, hit, must_not_be};

/// Names of seal stanzas.
pub(super) const STANZAS: &[&str] = &["seal", "hsm", "kms"];

/// Keys of every seal.
pub(super) const COMMON: &[&str] = &["disabled", "purpose", "priority", "name", "recover"];

/// Keys of each seal, by label.
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

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "vault.seal",
        severity: Severity::Note,
        reason: "after each start, operators must unseal this node by hand with key shares",
        source: "https://developer.hashicorp.com/vault/docs/concepts/seal",
        fix: "add a `seal` if nodes restart unattended, for example \"azurekeyvault\" with a managed identity",
        check: |s| {
            if all(s).is_empty() && unlabelled(s).is_empty() {
                vec![hit("seal", "nothing")]
            } else {
                Vec::new()
            }
        },
    },
    Rule {
        id: "vault.seal-secret",
        severity: Severity::Unsafe,
        reason: "anyone who can read the file can unseal Vault",
        source: "https://developer.hashicorp.com/vault/docs/configuration/seal",
        fix: "leave it out, and give the machine a managed identity",
        check: |s| within(all(s).into_iter(), secrets),
    },
    Rule {
        id: "vault.seal-skip-verify",
        severity: Severity::Unsafe,
        reason: "Vault gives its root key to any server that answers",
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
        reason: "Vault's root key goes over the network in plaintext",
        source: "https://developer.hashicorp.com/vault/docs/configuration/seal/transit",
        fix: "use an address with https://",
        check: |s| within(all(s).into_iter(), plaintext),
    },
];

/// Returns all seals with a label.
pub(super) fn all<'a>(s: &Subject<'a>) -> Vec<Block<'a>> {
    let names = STANZAS.iter();
    names.flat_map(|name| blocks(s.root, name)).collect()
}

/// Returns the keys of seals without a label, as in older files.
fn unlabelled(s: &Subject) -> Vec<String> {
    let names = STANZAS.iter();
    names
        .flat_map(|name| items(s.root.get(*name), name))
        .map(|(key, _)| key)
        .collect()
}

fn secrets(body: &Value) -> Vec<Hit> {
    secret_keys(body, &|path| match path {
        "pin" | "current_key" | "previous_key" => Some(true),
        // A path, or Google's credentials as JSON.
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
    let is_plaintext = |key: &&str| {
        text(body, key).is_some_and(|one| has_scheme(one, "http") && !is_loopback(one))
    };
    let keys = keys.into_iter().filter(is_plaintext);
    keys.map(|key| hit(key, "http://")).collect()
}
