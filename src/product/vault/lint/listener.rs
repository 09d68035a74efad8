//! Rules for Vault's listeners.

use serde_json::Value;

use super::{
    LISTENER, is_local, listeners, missing, nested_flag, of_listeners, of_open_listeners, old_tls,
};
use crate::lint::address::cover_all_addresses;
use crate::lint::suites::weak_suite;
use crate::lint::tree::{Block, at, blocks, is, number, text, texts};
use crate::lint::{Hit, Rule, Severity, hit, modes, must_not_be};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "vault.listener",
        severity: Severity::Unsafe,
        reason: "no listener is configured, so Vault has no address and no certificate",
        source: LISTENER,
        fix: "add a `listener \"tcp\"` with a certificate",
        check: |s| {
            if blocks(s.root, "listener").is_empty() {
                vec![hit("listener", "nothing")]
            } else {
                Vec::new()
            }
        },
    },
    Rule {
        id: "vault.listener-plaintext",
        severity: Severity::Unsafe,
        reason: "tokens and secrets go over the network in clear",
        source: LISTENER,
        fix: "remove `tls_disable`, and name a certificate and its key",
        check: |s| {
            of_listeners(s, |body| {
                if is_local(body) {
                    Vec::new()
                } else {
                    must_not_be(body, true, &["tls_disable"])
                }
            })
        },
    },
    Rule {
        id: "vault.listener-plaintext-local",
        severity: Severity::Note,
        reason: "the listener is plaintext on this machine: a process that takes the port while Vault is down gets the tokens of clients",
        source: LISTENER,
        fix: "remove `tls_disable`, or use a `listener \"unix\"` with a mode",
        check: |s| {
            of_listeners(s, |body| {
                if is_local(body) {
                    must_not_be(body, true, &["tls_disable"])
                } else {
                    Vec::new()
                }
            })
        },
    },
    Rule {
        id: "vault.listener-certificate",
        severity: Severity::Unsafe,
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
        severity: Severity::Unsafe,
        reason: "TLS 1.0 and 1.1 are broken and withdrawn (RFC 8996)",
        source: LISTENER,
        fix: "set `tls_min_version` to \"tls12\" or \"tls13\", or leave it out",
        check: |s| of_listeners(s, old_tls),
    },
    Rule {
        id: "vault.listener-tls-max-version",
        severity: Severity::Unsafe,
        reason: "newer versions of TLS are disabled",
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
        severity: Severity::Unsafe,
        reason: "the list has suites without forward secrecy or without authenticated encryption",
        source: LISTENER,
        fix: "remove `tls_cipher_suites`: the defaults are secure",
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
        severity: Severity::Unsafe,
        reason: "one key requires client certificates, the other disables them; Vault follows only one",
        source: LISTENER,
        fix: "remove `tls_disable_client_certs`",
        check: |s| {
            of_listeners(s, |body| {
                if is(body, "tls_require_and_verify_client_cert") == Some(true) {
                    must_not_be(body, true, &["tls_disable_client_certs"])
                } else {
                    Vec::new()
                }
            })
        },
    },
    Rule {
        id: "vault.listener-client-ca",
        severity: Severity::Unsafe,
        reason: "client certificates are required, but any public authority may issue them",
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
        severity: Severity::Unsafe,
        reason: "each client that reaches the listener chooses the address that the audit log shows",
        source: LISTENER,
        fix: "leave the `x_forwarded_for_reject_…` keys at their default, true, and name only the load balancers",
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
                hits.extend(all_addresses(body, "x_forwarded_for_authorized_addrs"));
                hits
            })
        },
    },
    Rule {
        id: "vault.listener-proxy-protocol",
        severity: Severity::Unsafe,
        reason: "each client that reaches the listener chooses the address that the audit log shows",
        source: LISTENER,
        fix: "use `deny_unauthorized`, and name only the load balancers in `proxy_protocol_authorized_addrs`",
        check: |s| {
            of_listeners(s, |body| match text(body, "proxy_protocol_behavior") {
                Some("use_always") => vec![hit("proxy_protocol_behavior", "use_always")],
                Some(_) => all_addresses(body, "proxy_protocol_authorized_addrs"),
                None => Vec::new(),
            })
        },
    },
    Rule {
        id: "vault.unauthenticated-metrics",
        severity: Severity::Unsafe,
        reason: "every client that reaches the listener can read metrics, with names of mounts and paths",
        source: LISTENER,
        fix: "remove it, and give the collector a token; or use a separate listener on 127.0.0.1",
        check: |s| of_open_listeners(s, "telemetry.unauthenticated_metrics_access"),
    },
    Rule {
        id: "vault.unauthenticated-pprof",
        severity: Severity::Unsafe,
        reason: "profiles contain memory, and memory contains secrets",
        source: LISTENER,
        fix: "remove it",
        check: |s| {
            of_listeners(s, |body| {
                nested_flag(body, "profiling.unauthenticated_pprof_access")
            })
        },
    },
    Rule {
        id: "vault.unauthenticated-requests",
        severity: Severity::Unsafe,
        reason: "every client that reaches the listener can see the requests of other clients",
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
        severity: Severity::Unsafe,
        reason: "since 2.0, creating a root token or new unseal keys requires a token; this key removes the requirement",
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
        severity: Severity::Unsafe,
        reason: "every user of the machine can connect to Vault",
        source: "https://developer.hashicorp.com/vault/docs/configuration/listener/unix",
        fix: "set `socket_mode` to \"0660\" or less",
        check: |s| {
            let open = |one: Block| {
                let mode = one.body.get("socket_mode")?;
                let found = mode
                    .as_str()
                    .map_or_else(|| mode.to_string(), str::to_owned);
                modes::socket_is_open(mode).then(|| hit(&format!("{}.socket_mode", one.key), found))
            };
            listeners(s, "unix").into_iter().filter_map(open).collect()
        },
    },
    Rule {
        id: "vault.listener-cors",
        severity: Severity::Unsafe,
        reason: "pages of every site may call Vault from a user's browser",
        source: "https://developer.hashicorp.com/vault/api-docs/system/config-cors",
        fix: "name the origins in `cors_allowed_origins`, or leave it out",
        check: |s| {
            of_listeners(s, |body| {
                let off = is(body, "cors_enabled") == Some(false);
                let origins = texts(body, "cors_allowed_origins");
                let mut origins = origins.iter().flat_map(|origins| origins.split(','));
                if !off && origins.any(|origin| origin.trim() == "*") {
                    vec![hit("cors_allowed_origins", "*")]
                } else {
                    Vec::new()
                }
            })
        },
    },
    Rule {
        id: "vault.listener-request-size",
        severity: Severity::Unsafe,
        reason: "a client without a token can fill Vault's memory with one request: a number below 0 turns the limit off",
        source: LISTENER,
        fix: "leave it out, or set it to the bytes that your largest request needs",
        check: |s| {
            of_listeners(s, |body| {
                let keys = ["max_request_size", "max_token_header_size"];
                let limits = keys
                    .iter()
                    .filter_map(|key| Some((key, number(body, key)?)));
                let off = limits.filter(|(_, limit)| *limit < 0);
                off.map(|(key, limit)| hit(key, limit.to_string()))
                    .collect()
            })
        },
    },
];

/// Reports networks that cover all addresses.
fn all_addresses(body: &Value, key: &str) -> Vec<Hit> {
    let networks = texts(body, key);
    if cover_all_addresses(&networks) {
        vec![hit(key, networks.join(", "))]
    } else {
        Vec::new()
    }
}
