//! Rules for ports, sockets, and features that they expose.

use super::{LONGEST_WAIT_S, UPGRADE, exposed, is_open, may_be_server, open_port};
use crate::lint::tree::{at, is, seconds};
use crate::lint::{Rule, Severity, hit, modes, must_not_be, value_text};
use crate::product::consul::changes::{GRPC_TLS, HTTP_CONFIG, LONG_REQUESTS};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "consul.http-port",
        severity: Severity::Unsafe,
        reason: "the plaintext API is open, which is the default",
        source: page!("general"),
        fix: "set `ports.http` to -1 and `ports.https` to 8501",
        check: |s| open_port(s, "http", true),
    },
    Rule {
        id: "consul.https-port",
        severity: Severity::Unsafe,
        reason: "there is no API over TLS, which is the default",
        source: page!("general"),
        fix: "set `ports.https` to 8501",
        check: |s| {
            if is_open(s, "https", false) {
                Vec::new()
            } else {
                vec![hit("ports.https", value_text(s.root, "ports.https"))]
            }
        },
    },
    Rule {
        id: "consul.grpc-port",
        severity: Severity::Unsafe,
        reason: "since 1.14 this port is plaintext only",
        source: page!("general"),
        fix: "set `ports.grpc` to -1, and use `ports.grpc_tls` if needed",
        check: |s| open_port(s, "grpc", false),
    },
    Rule {
        id: "consul.grpc-tls-port",
        severity: Severity::Unsafe,
        reason: "servers open this port by default, for a service mesh that is not used",
        source: page!("general"),
        fix: "set `ports.grpc_tls` to -1",
        check: |s| {
            let used = is(s.root, "peering.enabled") == Some(true)
                || is(s.root, "connect.enabled") == Some(true);
            if may_be_server(s) && s.has(&GRPC_TLS) && !used {
                open_port(s, "grpc_tls", true)
            } else {
                Vec::new()
            }
        },
    },
    Rule {
        id: "consul.dns-address",
        severity: Severity::Unsafe,
        reason: "DNS is plaintext and shows all services and nodes to every client",
        source: page!("general"),
        fix: "set `ports.dns` to -1, or `addresses.dns` to 127.0.0.1",
        check: |s| exposed(s, "dns", true),
    },
    Rule {
        id: "consul.wan-gossip",
        severity: Severity::Unsafe,
        reason: "servers open port 8302 for other datacenters by default",
        source: page!("general"),
        fix: "set `ports.serf_wan` to -1 if there is only one datacenter",
        check: |s| {
            let joined = at(s.root, "retry_join_wan").is_some()
                || at(s.root, "primary_datacenter").is_some();
            if may_be_server(s) && !joined {
                open_port(s, "serf_wan", true)
            } else {
                Vec::new()
            }
        },
    },
    Rule {
        id: "consul.script-checks",
        severity: Severity::Unsafe,
        reason: "every client that can register a check can run programs on this machine",
        source: page!("general"),
        fix: "set `enable_script_checks` and `enable_local_script_checks` to false",
        check: |s| {
            must_not_be(
                s.root,
                true,
                &["enable_script_checks", "enable_local_script_checks"],
            )
        },
    },
    Rule {
        id: "consul.remote-exec",
        severity: Severity::Unsafe,
        reason: "`consul exec` can run programs on this machine",
        source: page!("general"),
        fix: "set `disable_remote_exec` to true",
        check: |s| must_not_be(s.root, false, &["disable_remote_exec"]),
    },
    Rule {
        id: "consul.debug",
        severity: Severity::Unsafe,
        reason: "profiles contain memory, and memory contains secrets",
        source: page!("general"),
        fix: "set `enable_debug` to false",
        check: |s| must_not_be(s.root, true, &["enable_debug"]),
    },
    Rule {
        id: "consul.http-timeouts",
        severity: Severity::Unsafe,
        reason: "long requests are cut, including those of Vault's lock; the default was 30 s from 1.22.4 until 2.0",
        source: UPGRADE,
        fix: "set `http_config.read_timeout` and `http_config.write_timeout` to \"15m\"",
        check: |s| {
            let fixed = s.has(&LONG_REQUESTS);
            let keys = ["http_config.read_timeout", "http_config.write_timeout"];
            let short = |key: &&str| match seconds(s.root, key) {
                Some(seconds) => seconds < LONGEST_WAIT_S,
                None => !fixed,
            };
            if !s.has(&HTTP_CONFIG) {
                return Vec::new();
            }
            keys.into_iter()
                .filter(short)
                .map(|key| hit(key, value_text(s.root, key)))
                .collect()
        },
    },
    Rule {
        id: "consul.socket-mode",
        severity: Severity::Unsafe,
        reason: "every user of the machine can connect to the agent",
        source: page!("general"),
        fix: "set `unix_sockets.mode` to \"0660\" or less",
        check: |s| match at(s.root, "unix_sockets.mode") {
            Some(mode) if modes::socket_is_open(mode) => {
                vec![hit(
                    "unix_sockets.mode",
                    value_text(s.root, "unix_sockets.mode"),
                )]
            }
            _ => Vec::new(),
        },
    },
];
