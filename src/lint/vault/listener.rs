//! Where Vault listens, and to whom.

use serde_json::Value;

use super::{LISTENER, deep, missing, of_listeners, of_open_listeners, old_tls};
use crate::lint::suites::weak_suite;
use crate::lint::tree::{Block, at, blocks, is, text, texts};
use crate::lint::{Hit, Rule, hit, must_not_be};

pub(in crate::lint) const RULES: &[Rule] = &[
    Rule {
        id: "vault.listener",
        reason: "nobody says where Vault listens, nor with which certificate",
        source: LISTENER,
        fix: "add a `listener \"tcp\"` with a certificate",
        check: |s| match blocks(s.root, "listener").is_empty() {
            true => vec![hit("listener", "nothing")],
            false => Vec::new(),
        },
    },
    Rule {
        id: "vault.listener-plaintext",
        reason: "tokens and secrets go over the network in clear",
        source: LISTENER,
        fix: "remove `tls_disable`, and name a certificate and its key",
        check: |s| of_listeners(s, |body| must_not_be(body, true, &["tls_disable"])),
    },
    Rule {
        id: "vault.listener-certificate",
        reason: "a listener without certificate and key does not serve TLS",
        source: LISTENER,
        fix: "set `tls_cert_file` and `tls_key_file`",
        check: |s| {
            of_listeners(s, |body| match is(body, "tls_disable") {
                Some(true) => Vec::new(),
                _ => missing(body, &["tls_cert_file", "tls_key_file"]),
            })
        },
    },
    Rule {
        id: "vault.listener-tls-min-version",
        reason: "TLS 1.0 and 1.1 are broken and withdrawn (RFC 8996)",
        source: LISTENER,
        fix: "set `tls_min_version` to \"tls12\" or \"tls13\", or leave it out",
        check: |s| of_listeners(s, old_tls),
    },
    Rule {
        id: "vault.listener-tls-max-version",
        reason: "what is newest and best is switched off",
        source: LISTENER,
        fix: "remove `tls_max_version`",
        check: |s| {
            of_listeners(s, |body| match text(body, "tls_max_version") {
                Some(found) if found != "tls13" => vec![hit("tls_max_version", found)],
                _ => Vec::new(),
            })
        },
    },
    Rule {
        id: "vault.listener-cipher-suites",
        reason: "the list has suites without forward secrecy or without authenticated encryption",
        source: LISTENER,
        fix: "leave `tls_cipher_suites` out: the defaults are good",
        check: |s| {
            of_listeners(s, |body| {
                let weak = weak_suite(&texts(body, "tls_cipher_suites"));
                weak.map(|name| hit("tls_cipher_suites", name))
                    .into_iter()
                    .collect()
            })
        },
    },
    Rule {
        id: "vault.listener-client-certificates",
        reason: "clients are asked for no certificate although the other key demands one; Vault obeys one of the two",
        source: LISTENER,
        fix: "remove `tls_disable_client_certs`",
        check: |s| {
            of_listeners(s, |body| {
                let both = is(body, "tls_require_and_verify_client_cert") == Some(true);
                match both {
                    true => must_not_be(body, true, &["tls_disable_client_certs"]),
                    false => Vec::new(),
                }
            })
        },
    },
    Rule {
        id: "vault.listener-client-ca",
        reason: "certificates of clients are demanded, and any public authority may issue them",
        source: LISTENER,
        fix: "set `tls_client_ca_file` to the authority of your clients",
        check: |s| {
            of_listeners(s, |body| {
                match is(body, "tls_require_and_verify_client_cert") {
                    Some(true) => missing(body, &["tls_client_ca_file"]),
                    _ => Vec::new(),
                }
            })
        },
    },
    Rule {
        id: "vault.listener-forwarded-for",
        reason: "whoever reaches the listener chooses the address that the audit log shows",
        source: LISTENER,
        fix: "leave the `x_forwarded_for_reject_…` keys at their default, true, and name the load balancers alone",
        check: |s| {
            of_listeners(s, |body| {
                let keys = [
                    "x_forwarded_for_reject_not_authorized",
                    "x_forwarded_for_reject_not_present",
                ];
                let mut hits: Vec<Hit> = keys
                    .iter()
                    .flat_map(|key| must_not_be(body, false, &[key]))
                    .collect();
                let all = |one: &&str| one.split(',').any(|net| net.trim().ends_with("/0"));
                let nets = texts(body, "x_forwarded_for_authorized_addrs");
                hits.extend(
                    nets.iter()
                        .find(|one| all(one))
                        .map(|net| hit("x_forwarded_for_authorized_addrs", *net)),
                );
                hits
            })
        },
    },
    Rule {
        id: "vault.listener-proxy-protocol",
        reason: "whoever reaches the listener chooses the address that the audit log shows",
        source: LISTENER,
        fix: "use `deny_unauthorized` with `proxy_protocol_authorized_addrs`",
        check: |s| {
            of_listeners(s, |body| match text(body, "proxy_protocol_behavior") {
                Some("use_always") => vec![hit("proxy_protocol_behavior", "use_always")],
                _ => Vec::new(),
            })
        },
    },
    Rule {
        id: "vault.unauthenticated-metrics",
        reason: "figures of the cluster for everybody; names of mounts and paths are among them",
        source: LISTENER,
        fix: "remove it, and give the collector a token; or use a listener of its own on 127.0.0.1",
        check: |s| of_open_listeners(s, "telemetry.unauthenticated_metrics_access"),
    },
    Rule {
        id: "vault.unauthenticated-pprof",
        reason: "profiles hold memory, and memory holds secrets",
        source: LISTENER,
        fix: "remove it",
        check: |s| {
            of_listeners(s, |body| {
                deep(body, "profiling.unauthenticated_pprof_access")
            })
        },
    },
    Rule {
        id: "vault.unauthenticated-requests",
        reason: "who asks for what at this moment, for everybody",
        source: LISTENER,
        fix: "remove it",
        check: |s| {
            of_open_listeners(
                s,
                "inflight_requests_logging.unauthenticated_in_flight_requests_access",
            )
        },
    },
    Rule {
        id: "vault.unauthenticated-operations",
        reason: "since 2.0 a new root token and new unseal keys need a token; this takes it back",
        source: "https://developer.hashicorp.com/vault/docs/updates/important-changes",
        fix: "remove `enable_unauthenticated_access`",
        check: |s| match at(s.root, "enable_unauthenticated_access") {
            Some(Value::Array(none)) if none.is_empty() => Vec::new(),
            None | Some(Value::Bool(false)) => Vec::new(),
            Some(found) => vec![hit("enable_unauthenticated_access", found.to_string())],
        },
    },
    Rule {
        id: "vault.socket-mode",
        reason: "every user of the machine may speak to Vault",
        source: "https://developer.hashicorp.com/vault/docs/configuration/listener/unix",
        fix: "set `socket_mode` to \"0660\" or less",
        check: |s| {
            let all = blocks(s.root, "listener")
                .into_iter()
                .filter(|one| one.label == "unix");
            let open = |one: Block| {
                let mode = text(one.body, "socket_mode")?;
                mode.chars().last().filter(|last| *last != '0')?;
                Some(hit(&format!("{}.socket_mode", one.key), mode))
            };
            all.filter_map(open).collect()
        },
    },
];
