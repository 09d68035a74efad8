//! Rules for TLS between agents, and to the API.

use super::{
    SECURITY, everywhere, exposed, is_certified_by_servers, is_configured_by_servers,
    may_be_server, preferred, tls_is, tls_must_be, tls_text,
};
use crate::lint::suites::weak_suite;
use crate::lint::tree::{set_anywhere, text, texts};
use crate::lint::{Rule, Severity, hit};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "consul.tls-files",
        severity: Severity::Unsafe,
        reason: "without a CA and a certificate, the agent cannot use TLS",
        source: page!("tls"),
        fix: "set `ca_file`, `cert_file` and `key_file` in `tls.defaults`",
        check: |s| {
            let automatic = is_certified_by_servers(s);
            let missing = [
                (["ca_file", "ca_path"], false),
                (["cert_file", "cert_file"], automatic),
                (["key_file", "key_file"], automatic),
            ];
            let missing = missing.into_iter().filter(|(names, spared)| {
                !spared
                    && !names
                        .iter()
                        .any(|name| tls_text(s, "internal_rpc", name).is_some())
            });
            missing
                .map(|([name, _], _)| hit(&preferred(s, "defaults", name), "nothing"))
                .collect()
        },
    },
    Rule {
        id: "consul.tls-not-enabled",
        severity: Severity::Unsafe,
        reason: "the files do not enable TLS: without a verify flag, the agent's connections are plaintext",
        source: page!("tls"),
        fix: "set `verify_incoming` and `verify_outgoing` in `tls.defaults`",
        check: |s| {
            let files = tls_text(s, "internal_rpc", "cert_file").is_some();
            let flags = ["verify_incoming", "verify_outgoing"];
            let enabled = flags
                .iter()
                .any(|flag| tls_is(s, "internal_rpc", flag) == Some(true));
            if files && !enabled {
                let key = preferred(s, "defaults", "verify_outgoing");
                vec![hit(&key, "no verify flag")]
            } else {
                Vec::new()
            }
        },
    },
    Rule {
        id: "consul.verify-incoming",
        severity: Severity::Unsafe,
        reason: "any machine that reaches the server's port can act as a member of the cluster",
        source: SECURITY,
        fix: "set `tls.defaults.verify_incoming` or `tls.internal_rpc.verify_incoming` to true",
        check: |s| {
            if may_be_server(s) {
                tls_must_be(s, "internal_rpc", "verify_incoming")
            } else {
                Vec::new()
            }
        },
    },
    Rule {
        id: "consul.verify-outgoing",
        severity: Severity::Unsafe,
        reason: "the agent trusts any server that answers",
        source: SECURITY,
        fix: "set `tls.defaults.verify_outgoing` to true",
        check: |s| tls_must_be(s, "internal_rpc", "verify_outgoing"),
    },
    Rule {
        id: "consul.verify-server-hostname",
        severity: Severity::Unsafe,
        reason: "any member with a certificate of the CA can act as a server and take over the cluster",
        source: SECURITY,
        fix: "set `tls.internal_rpc.verify_server_hostname` to true",
        check: |s| {
            if is_configured_by_servers(s) {
                Vec::new()
            } else {
                tls_must_be(s, "internal_rpc", "verify_server_hostname")
            }
        },
    },
    Rule {
        id: "consul.https-verify-incoming",
        severity: Severity::Unsafe,
        reason: "other machines can use the API without a certificate",
        source: page!("tls"),
        fix: "bind the API to 127.0.0.1, or set `verify_incoming` in `tls.defaults` or `tls.https` to true",
        check: |s| match tls_is(s, "https", "verify_incoming") {
            Some(true) => Vec::new(),
            _ => exposed(s, "https", false),
        },
    },
    Rule {
        id: "consul.tls-min-version",
        severity: Severity::Unsafe,
        reason: "TLS 1.0 and 1.1 are broken and withdrawn (RFC 8996)",
        source: page!("tls"),
        fix: "set `tls_min_version` to \"TLSv1_2\" or \"TLSv1_3\"; \"tls12\" before Consul 1.12",
        check: |s| {
            let keys = everywhere("tls_min_version");
            let old = |key: String| {
                let found = text(s.root, &key)?;
                let known = [
                    "TLSv1_2",
                    "TLSv1_3",
                    "tls12",
                    "tls13",
                    "TLS_AUTO",
                    "TLSv1_AUTO",
                ];
                (!known.contains(&found)).then(|| hit(&key, found))
            };
            keys.filter_map(old).collect()
        },
    },
    Rule {
        id: "consul.tls-cipher-suites",
        severity: Severity::Unsafe,
        reason: "the list has suites without forward secrecy or without authenticated encryption",
        source: page!("tls"),
        fix: "remove `tls_cipher_suites`: the defaults are secure",
        check: |s| {
            let keys = everywhere("tls_cipher_suites");
            keys.filter_map(|key| Some(hit(&key, weak_suite(&texts(s.root, &key))?)))
                .collect()
        },
    },
    Rule {
        id: "consul.check-skip-verify",
        severity: Severity::Unsafe,
        reason: "a check that trusts any server does not check the service",
        source: "https://developer.hashicorp.com/consul/docs/reference/service/health-check",
        fix: "remove it, and name the CA",
        check: |s| {
            let mut keys = Vec::new();
            set_anywhere(s.root, "tls_skip_verify", "", &mut keys);
            keys.iter().map(|key| hit(key, "true")).collect()
        },
    },
];
