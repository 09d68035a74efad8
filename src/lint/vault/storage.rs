//! What Vault relies on: storage, registration, seal.

use super::{CONSUL, host, missing, of_consul, old_tls, over_tls, secret, storage, within};
use crate::lint::tree::{blocks, is_loopback, text};
use crate::lint::{Rule, hit, must_not_be};

pub(in crate::lint) const RULES: &[Rule] = &[
    Rule {
        id: "vault.storage",
        reason: "what is stored is gone with the process or the machine, and no other node can take over",
        source: "https://developer.hashicorp.com/vault/docs/configuration/storage",
        fix: "use `storage \"consul\"`",
        check: |s| {
            let all = storage(s);
            match all.is_empty() {
                true => vec![hit("storage", "nothing")],
                false => {
                    let poor = all
                        .iter()
                        .filter(|one| matches!(one.label, "inmem" | "file" | "inmem_ha"));
                    poor.map(|one| hit(&one.key, one.label)).collect()
                }
            }
        },
    },
    Rule {
        id: "vault.storage-plaintext",
        reason: "Vault's token for Consul, and all that it stores, go in clear; that is the default",
        source: CONSUL,
        fix: "set `scheme` to \"https\"",
        check: |s| {
            of_consul(s, |body| {
                match (text(body, "address"), text(body, "scheme")) {
                    (Some(address), _)
                        if address.starts_with("unix://") || address.starts_with("https://") =>
                    {
                        Vec::new()
                    }
                    (_, Some("https")) => Vec::new(),
                    (_, found) => vec![hit("scheme", found.unwrap_or("nothing"))],
                }
            })
        },
    },
    Rule {
        id: "vault.storage-skip-verify",
        reason: "Vault gives its token and its data to whoever answers",
        source: CONSUL,
        fix: "remove `tls_skip_verify`, and set `tls_ca_file`",
        check: |s| of_consul(s, |body| must_not_be(body, true, &["tls_skip_verify"])),
    },
    Rule {
        id: "vault.storage-ca",
        reason: "any public authority may vouch for the agent",
        source: CONSUL,
        fix: "set `tls_ca_file` to the authority of the cluster",
        check: |s| {
            of_consul(s, |body| match over_tls(body) {
                true => missing(body, &["tls_ca_file"]),
                false => Vec::new(),
            })
        },
    },
    Rule {
        id: "vault.storage-certificate",
        reason: "an agent that demands no certificate answers every process of the machine",
        source: CONSUL,
        fix: "set `tls_cert_file` and `tls_key_file`, and `verify_incoming` at the agent",
        check: |s| {
            of_consul(s, |body| match over_tls(body) {
                true => missing(body, &["tls_cert_file", "tls_key_file"]),
                false => Vec::new(),
            })
        },
    },
    Rule {
        id: "vault.storage-tls-min-version",
        reason: "TLS 1.0 and 1.1 are broken and withdrawn (RFC 8996)",
        source: CONSUL,
        fix: "set `tls_min_version` to \"tls12\" or \"tls13\", or leave it out",
        check: |s| of_consul(s, old_tls),
    },
    Rule {
        id: "vault.storage-local",
        reason: "an agent elsewhere adds a network and a failure between Vault and its lock",
        source: CONSUL,
        fix: "speak to the agent of this machine: 127.0.0.1:8501",
        check: |s| {
            of_consul(s, |body| match text(body, "address") {
                Some(address) if !address.starts_with("unix://") && !is_loopback(host(address)) => {
                    vec![hit("address", address)]
                }
                _ => Vec::new(),
            })
        },
    },
    Rule {
        id: "vault.storage-token",
        reason: "a token in a file is copied with it",
        source: CONSUL,
        fix: "give it as CONSUL_HTTP_TOKEN from tmpfs when the node boots",
        check: |s| of_consul(s, |body| secret(body, "token")),
    },
    Rule {
        id: "vault.registration",
        reason: "Vault registers itself at an agent in clear, or at whoever answers",
        source: "https://developer.hashicorp.com/vault/docs/configuration/service-registration/consul",
        fix: "set `scheme` to \"https\", and remove `tls_skip_verify` and `token`",
        check: |s| {
            let all = blocks(s.root, "service_registration")
                .into_iter()
                .filter(|one| one.label == "consul");
            within(all, |body| {
                let mut hits = must_not_be(body, true, &["tls_skip_verify"]);
                hits.extend(secret(body, "token"));
                if !over_tls(body)
                    && !text(body, "address").is_some_and(|one| one.starts_with("unix://"))
                {
                    hits.push(hit("scheme", text(body, "scheme").unwrap_or("nothing")));
                }
                hits
            })
        },
    },
    Rule {
        id: "vault.seal-secret",
        reason: "who reads the file can unseal Vault",
        source: "https://developer.hashicorp.com/vault/docs/configuration/seal",
        fix: "leave it out, and give the machine a managed identity",
        check: |s| {
            let keys = [
                "client_secret",
                "secret_key",
                "token",
                "pin",
                "credentials",
                "current_key",
            ];
            within(blocks(s.root, "seal").into_iter(), |body| {
                keys.iter().flat_map(|key| secret(body, key)).collect()
            })
        },
    },
    Rule {
        id: "vault.seal-skip-verify",
        reason: "Vault gives the key of its keys to whoever answers",
        source: "https://developer.hashicorp.com/vault/docs/configuration/seal/transit",
        fix: "remove `tls_skip_verify`, and set `tls_ca_cert`",
        check: |s| {
            within(blocks(s.root, "seal").into_iter(), |body| {
                must_not_be(body, true, &["tls_skip_verify"])
            })
        },
    },
];
