//! The server itself, and what it tells others of itself.

use serde_json::Value;

use super::{API_PORT, CONFIGURATION, HA, HARDENING, advertised, is_below, port, storage};
use crate::lint::tree::{at, blocks, is, number, text};
use crate::lint::{Role, Rule, hit, must_not_be, shown};

pub(in crate::lint) const RULES: &[Rule] = &[
    Rule {
        id: "vault.one-file",
        reason: "Vault merges several files in an order that is not defined, and from 2.1 on refuses what stands in two of them",
        source: HARDENING,
        fix: "write one file",
        check: |s| match s.files > 1 {
            true => vec![hit("", format!("{} files", s.files))],
            false => Vec::new(),
        },
    },
    Rule {
        id: "vault.api-addr",
        reason: "clients that are sent to the active node follow this address; without TLS, or to themselves, they must not",
        source: HA,
        fix: "set `api_addr` to https:// and the node's own address, not a load balancer's",
        check: |s| advertised(s, "api_addr"),
    },
    Rule {
        id: "vault.api-addr-port",
        reason: "clients are sent to a port at which no listener serves the API",
        source: HA,
        fix: "name the port of a listener",
        check: |s| {
            let Some(wanted) = text(s.root, "api_addr").map(port) else {
                return Vec::new();
            };
            let all = blocks(s.root, "listener")
                .into_iter()
                .filter(|one| one.label == "tcp");
            let ports: Vec<&str> = all
                .map(|one| text(one.body, "address").map_or(API_PORT, port))
                .collect();
            match ports.is_empty() || ports.contains(&wanted) {
                true => Vec::new(),
                false => vec![hit("api_addr", shown(s.root, "api_addr"))],
            }
        },
    },
    Rule {
        id: "vault.cluster-addr",
        reason: "other nodes cannot forward requests to the active one, or reach themselves",
        source: HA,
        fix: "set `cluster_addr` to https:// and the node's own address with port 8201",
        check: |s| advertised(s, "cluster_addr"),
    },
    Rule {
        id: "vault.ha-disabled",
        reason: "no other node takes over",
        source: CONFIGURATION,
        fix: "remove `disable_clustering`",
        check: |s| must_not_be(s.root, true, &["disable_clustering"]),
    },
    Rule {
        id: "vault.mlock",
        reason: "secrets in memory may be written to a swap device; with Consul for storage nothing speaks for that",
        source: CONFIGURATION,
        fix: "set `disable_mlock` to false, and LimitMEMLOCK in the unit to infinity",
        check: |s| match (
            is(s.root, "disable_mlock"),
            storage(s).iter().any(|one| one.label == "raft"),
        ) {
            (Some(false), _) | (Some(true), true) => Vec::new(),
            _ => vec![hit("disable_mlock", shown(s.root, "disable_mlock"))],
        },
    },
    Rule {
        id: "vault.raw-storage",
        reason: "what is stored can be read and changed past all of Vault's rules",
        source: CONFIGURATION,
        fix: "remove `raw_storage_endpoint`",
        check: |s| must_not_be(s.root, true, &["raw_storage_endpoint"]),
    },
    Rule {
        id: "vault.introspection",
        reason: "shows the insides of Vault's memory; meant for its developers",
        source: CONFIGURATION,
        fix: "remove `introspection_endpoint`",
        check: |s| must_not_be(s.root, true, &["introspection_endpoint"]),
    },
    Rule {
        id: "vault.log-level",
        reason: "such logs say what is asked and with what",
        source: HARDENING,
        fix: "set `log_level` to \"info\", and raise it for an hour where it is needed",
        check: |s| {
            let level = text(s.root, "log_level").map(str::to_lowercase);
            level
                .filter(|level| level == "trace" || (level == "debug" && s.role != Role::Node))
                .map(|level| hit("log_level", level))
                .into_iter()
                .collect()
        },
    },
    Rule {
        id: "vault.plugins",
        reason: "whoever may write there has his programs run by Vault",
        source: CONFIGURATION,
        fix: "use a folder of root's own, such as /opt/vault/plugins",
        check: |s| match text(s.root, "plugin_directory") {
            Some(folder)
                if ["/tmp", "/var/tmp", "/dev/shm", "/home"]
                    .iter()
                    .any(|open| is_below(folder, open)) =>
            {
                vec![hit("plugin_directory", folder)]
            }
            _ => Vec::new(),
        },
    },
    Rule {
        id: "vault.plugin-permissions",
        reason: "Vault is told to accept programs that others may change",
        source: CONFIGURATION,
        fix: "remove `plugin_file_permissions`, or set it to 0550 or less",
        check: |s| {
            let mode = match at(s.root, "plugin_file_permissions") {
                Some(Value::String(text)) => {
                    i64::from_str_radix(text.trim_start_matches("0o"), 8).ok()
                }
                _ => number(s.root, "plugin_file_permissions"),
            };
            match mode {
                Some(mode) if mode & 0o022 != 0 => vec![hit(
                    "plugin_file_permissions",
                    shown(s.root, "plugin_file_permissions"),
                )],
                _ => Vec::new(),
            }
        },
    },
];
