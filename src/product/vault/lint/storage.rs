//! Rules for Vault's storage and service registration.

use serde_json::Value;

use super::{
    CONFIGURATION, CONSUL, STORAGE, STORAGES, backends, missing, of_consul, old_tls, over_tls,
    secret, secret_keys, storage, within,
};
use crate::lint::address::{is_loopback, is_socket};
use crate::lint::tree::{blocks, text};
use crate::lint::{Hit, Rule, Severity, Subject, hit, must_not_be};
use crate::product::consul::changes::{VAULT_KEYS_RULE, refuses_vault_keys};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "vault.storage",
        severity: Severity::Unsafe,
        reason: "data is lost with the process or the machine, and no other node can take over",
        source: STORAGE,
        fix: "use `storage \"consul\"`",
        check: |s| {
            let all = storage(s);
            // A storage only for high availability stores no data.
            if all.iter().all(|one| one.key.starts_with("ha_")) {
                return vec![hit("storage", "nothing")];
            }
            let volatile = all
                .iter()
                .filter(|one| matches!(one.label, "inmem" | "file" | "inmem_ha"));
            volatile.map(|one| hit(&one.key, one.label)).collect()
        },
    },
    Rule {
        id: "vault.storage-plaintext",
        severity: Severity::Unsafe,
        reason: "credentials and data of the storage go over the network in plaintext, which is the default with Consul",
        source: STORAGE,
        fix: "use TLS: for Consul, set `scheme` to \"https\"; in a connection string, set `sslmode` to \"verify-full\"; elsewhere, use an address with https://",
        check: |s| {
            let mut hits = of_consul(s, consul_plaintext);
            hits.extend(plaintext_backends(s));
            hits
        },
    },
    Rule {
        id: "vault.storage-skip-verify",
        severity: Severity::Unsafe,
        reason: "Vault gives its credentials and its data to any server that answers",
        source: STORAGE,
        fix: "remove `tls_skip_verify`, and set `tls_ca_file`",
        check: |s| {
            within(storage(s).into_iter(), |body| {
                must_not_be(body, true, &["tls_skip_verify"])
            })
        },
    },
    Rule {
        id: "vault.storage-ca",
        severity: Severity::Unsafe,
        reason: "any public authority may issue the agent's certificate",
        source: CONSUL,
        fix: "set `tls_ca_file` to the authority of the cluster",
        check: |s| {
            of_consul(s, |body| {
                if over_tls(body) {
                    missing(body, &["tls_ca_file"])
                } else {
                    Vec::new()
                }
            })
        },
    },
    Rule {
        id: "vault.storage-certificate",
        severity: Severity::Unsafe,
        reason: "an agent that requires no certificate answers every process of the machine",
        source: CONSUL,
        fix: "set `tls_cert_file` and `tls_key_file`, and `verify_incoming` at the agent",
        check: |s| {
            of_consul(s, |body| {
                if over_tls(body) {
                    missing(body, &["tls_cert_file", "tls_key_file"])
                } else {
                    Vec::new()
                }
            })
        },
    },
    Rule {
        id: "vault.storage-tls-min-version",
        severity: Severity::Unsafe,
        reason: "TLS 1.0 and 1.1 are broken and withdrawn (RFC 8996)",
        source: STORAGE,
        fix: "set `tls_min_version` to \"tls12\" or \"tls13\", or leave it out",
        check: |s| within(storage(s).into_iter(), old_tls),
    },
    Rule {
        id: "vault.storage-local",
        severity: Severity::Unsafe,
        reason: "an agent elsewhere adds a network and a failure between Vault and its lock",
        source: CONSUL,
        fix: "use the agent of this machine: 127.0.0.1:8501",
        check: |s| {
            of_consul(s, |body| match text(body, "address") {
                Some(address) if !is_socket(address) && !is_loopback(address) => {
                    vec![hit("address", address)]
                }
                _ => Vec::new(),
            })
        },
    },
    Rule {
        id: VAULT_KEYS_RULE,
        severity: Severity::Unsafe,
        reason: "Consul 1.21.5 refuses keys that Vault writes for users, groups and paths with a blank, `@`, `+` or `:`, so such requests fail",
        source: "https://github.com/hashicorp/consul/issues/22822",
        fix: "use Consul 1.22.0 or later",
        check: |s| {
            let refused = s.consul.filter(|consul| refuses_vault_keys(consul));
            let all = storage(s).into_iter().filter(|one| one.label == "consul");
            all.filter_map(|one| Some(hit(&one.key, format!("Consul {}", refused?))))
                .collect()
        },
    },
    Rule {
        id: "vault.storage-token",
        severity: Severity::Unsafe,
        reason: "a token in a file is copied with it",
        source: CONSUL,
        fix: "give it as CONSUL_HTTP_TOKEN from tmpfs when the node boots",
        check: |s| of_consul(s, |body| secret(body, "token")),
    },
    Rule {
        id: "vault.storage-secret",
        severity: Severity::Unsafe,
        reason: "a password or key in a file is copied with it",
        source: STORAGE,
        fix: "give the machine a managed identity, or give the secret as an environment variable from tmpfs when the node boots",
        check: |s| {
            let others = storage(s).into_iter();
            others
                .filter(|one| !matches!(one.label, "consul" | "raft"))
                .flat_map(|one| {
                    let table = backends::named(one.label);
                    within([one].into_iter(), |body| {
                        secret_keys(body, &|path| {
                            let known = table.is_some_and(|one| one.secrets.contains(&path));
                            known.then_some(true)
                        })
                    })
                })
                .collect()
        },
    },
    Rule {
        id: "vault.secret",
        severity: Severity::Unsafe,
        reason: "a secret in a file is copied with it",
        source: CONFIGURATION,
        fix: "leave it out, and give it as an environment variable from tmpfs when the node boots",
        check: elsewhere,
    },
    Rule {
        id: "vault.registration",
        severity: Severity::Unsafe,
        reason: "Vault registers itself at an agent in plaintext, or at any server that answers",
        source: "https://developer.hashicorp.com/vault/docs/configuration/service-registration/consul",
        fix: "set `scheme` to \"https\", and remove `tls_skip_verify` and `token`",
        check: |s| {
            let all = blocks(s.root, "service_registration")
                .into_iter()
                .filter(|one| one.label == "consul");
            within(all, |body| {
                let mut hits = must_not_be(body, true, &["tls_skip_verify"]);
                hits.extend(secret(body, "token"));
                if !over_tls(body) && !text(body, "address").is_some_and(is_socket) {
                    hits.push(hit("scheme", text(body, "scheme").unwrap_or("nothing")));
                }
                hits
            })
        },
    },
];

fn consul_plaintext(body: &Value) -> Vec<Hit> {
    if over_tls(body) || text(body, "address").is_some_and(is_socket) {
        Vec::new()
    } else {
        vec![hit("scheme", text(body, "scheme").unwrap_or("nothing"))]
    }
}

/// Reports storages on other machines with a plaintext connection, by the table of backends.
fn plaintext_backends(s: &Subject) -> Vec<Hit> {
    let all = storage(s).into_iter();
    let mode = text(s.environment, "PGSSLMODE");
    all.filter_map(|one| {
        let key = backends::named(one.label)?.clear_key(one.body, mode)?;
        // The value is not shown: a connection string may have a password.
        Some(hit(&format!("{}.{key}", one.key), "in clear"))
    })
    .collect()
}

/// Reports secrets outside of stanzas with other rules for secrets.
fn elsewhere(s: &Subject) -> Vec<Hit> {
    let other_rules = [STORAGES, super::seals::STANZAS, &["service_registration"]].concat();
    secret_keys(s.root, &|path| match path {
        "license" => Some(true),
        // The submission URL of Circonus ends in a secret.
        path if path.starts_with("telemetry") && path.ends_with(".circonus_submission_url") => {
            Some(true)
        }
        // Headers of responses, which every client sees.
        path if path.ends_with("custom_response_headers") => Some(false),
        path => other_rules.contains(&path).then_some(false),
    })
}
