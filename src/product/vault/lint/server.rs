//! Rules for the server: files, addresses, memory, logs and plugins.

use super::{
    API_PORT, CONFIGURATION, HA, HARDENING, is_below, is_misleading, listeners, port, storage,
};
use crate::lint::address::{has_scheme, is_loopback};
use crate::lint::tree::{at, is, items, text};
use crate::lint::{Hit, Role, Rule, Severity, Subject, hit, modes, must_not_be, value_text};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "vault.one-file",
        severity: Severity::Unsafe,
        reason: "Vault reads the files of a folder in the order of the file system, not of their names; if two files set a key, the result is random",
        source: "https://github.com/hashicorp/vault/blob/v1.20.4/command/server/config.go",
        fix: "write one file",
        check: |s| {
            if s.files > 1 {
                vec![hit("", format!("{} files", s.files))]
            } else {
                Vec::new()
            }
        },
    },
    Rule {
        id: "vault.api-addr",
        severity: Severity::Unsafe,
        reason: "standby nodes redirect clients to this address; it must use TLS and must not lead clients to themselves",
        source: HA,
        fix: "set `api_addr` to https:// and the node's own address, not a load balancer's",
        check: api_addr,
    },
    Rule {
        id: "vault.api-addr-port",
        severity: Severity::Unsafe,
        reason: "clients are redirected to a port without a listener",
        source: HA,
        fix: "name the port of a listener",
        check: |s| {
            let Some(api_port) = text(s.root, "api_addr").map(port) else {
                return Vec::new();
            };
            let all = listeners(s, "tcp").into_iter();
            let ports: Vec<&str> = all
                .map(|one| text(one.body, "address").map_or(API_PORT, port))
                .collect();
            if ports.is_empty() || ports.contains(&api_port) {
                Vec::new()
            } else {
                vec![hit("api_addr", value_text(s.root, "api_addr"))]
            }
        },
    },
    Rule {
        id: "vault.cluster-addr",
        severity: Severity::Unsafe,
        reason: "other nodes forward requests to this address, and reach themselves or no server",
        source: HA,
        fix: "set `cluster_addr` to the node's own address with port 8201",
        check: cluster_addr,
    },
    Rule {
        id: "vault.ha-disabled",
        severity: Severity::Unsafe,
        reason: "no other node takes over",
        source: CONFIGURATION,
        fix: "remove `disable_clustering`",
        check: |s| must_not_be(s.root, true, &["disable_clustering"]),
    },
    Rule {
        id: "vault.mlock",
        severity: Severity::Unsafe,
        reason: "secrets in memory may be written to a swap device; only integrated storage requires this",
        source: CONFIGURATION,
        fix: "remove `disable_mlock` or set it to false, and set LimitMEMLOCK in the unit to infinity",
        check: |s| match (
            is(s.root, "disable_mlock"),
            // Without files the storage is unknown.
            s.files == 0 || storage(s).iter().any(|one| one.label == "raft"),
        ) {
            (Some(true), false) => vec![hit("disable_mlock", value_text(s.root, "disable_mlock"))],
            _ => Vec::new(),
        },
    },
    Rule {
        id: "vault.raw-storage",
        severity: Severity::Unsafe,
        reason: "stored data can be read and changed without Vault's policies",
        source: CONFIGURATION,
        fix: "remove `raw_storage_endpoint`",
        check: |s| must_not_be(s.root, true, &["raw_storage_endpoint"]),
    },
    Rule {
        id: "vault.introspection",
        severity: Severity::Unsafe,
        reason: "the endpoint shows Vault's internal state; it is meant for Vault's developers",
        source: CONFIGURATION,
        fix: "remove `introspection_endpoint`",
        check: |s| must_not_be(s.root, true, &["introspection_endpoint"]),
    },
    Rule {
        id: "vault.log-level",
        severity: Severity::Unsafe,
        reason: "logs of this level contain requests and their data",
        source: HARDENING,
        fix: "set `log_level` to \"info\", and raise it only for a short time",
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
        severity: Severity::Unsafe,
        reason: "any user who can write to the folder can run programs as Vault",
        source: CONFIGURATION,
        fix: "use a folder that only root can write, such as /opt/vault/plugins",
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
        severity: Severity::Unsafe,
        reason: "Vault accepts plugins that other users can change",
        source: CONFIGURATION,
        fix: "remove `plugin_file_permissions`, or set it to 0550 or less",
        check: |s| {
            let key = "plugin_file_permissions";
            let mode = at(s.root, key).and_then(modes::of_digits);
            match mode {
                Some(mode) if mode & 0o022 != 0 => vec![hit(key, value_text(s.root, key))],
                _ => Vec::new(),
            }
        },
    },
    Rule {
        id: "vault.audit-prefix",
        severity: Severity::Unsafe,
        reason: "an operator who can enable audit devices can write a file with a chosen beginning, and run it as a plugin (CVE-2025-6000)",
        source: "https://nvd.nist.gov/vuln/detail/CVE-2025-6000",
        fix: "remove `allow_audit_log_prefixing`",
        check: |s| must_not_be(s.root, true, &["allow_audit_log_prefixing"]),
    },
    Rule {
        id: "vault.post-unseal-trace",
        severity: Severity::Unsafe,
        reason: "Vault writes a trace of each unseal to a folder, by default below /tmp, which also slows it down; it is meant for debugging",
        source: CONFIGURATION,
        fix: "remove `enable_post_unseal_trace`",
        check: |s| must_not_be(s.root, true, &["enable_post_unseal_trace"]),
    },
    Rule {
        id: "vault.telemetry-plaintext",
        severity: Severity::Note,
        reason: "metrics, with names of mounts and namespaces, go to another machine in plaintext",
        source: "https://developer.hashicorp.com/vault/docs/configuration/telemetry",
        fix: "send them to an agent on 127.0.0.1, or let a collector with a token fetch them over TLS",
        check: telemetry,
    },
];

/// Checks the address of the API, under each key that Vault reads it from.
fn api_addr(s: &Subject) -> Vec<Hit> {
    let is_unsafe = |address: &str| !has_scheme(address, "https") || is_misleading(address);
    let mut set = false;
    let mut hits = Vec::new();
    for (key, address) in addresses(s, &["api_addr"], &["redirect_addr", "advertise_addr"]) {
        set = true;
        if is_unsafe(&address) {
            hits.push(hit(&key, address));
        }
    }
    // These storages support a single node, which needs no address.
    let storages = storage(s);
    let single_node = !storages.is_empty()
        && storages
            .iter()
            .all(|one| matches!(one.label, "file" | "inmem"));
    if !set && !single_node {
        hits.push(hit("api_addr", "nothing"));
    }
    hits
}

/// Checks the address for other nodes. Vault replaces its scheme, and derives a missing address
/// from the API's.
fn cluster_addr(s: &Subject) -> Vec<Hit> {
    addresses(s, &["cluster_addr"], &["cluster_addr"])
        .into_iter()
        .filter(|(_, address)| is_misleading(address))
        .map(|(key, address)| hit(&key, address))
        .collect()
}

/// Returns the keys `top` of the file. If none is set, returns the keys `inner` of the storages.
fn addresses(s: &Subject, top: &[&str], inner: &[&str]) -> Vec<(String, String)> {
    let at_top = top
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), text(s.root, key)?.to_owned())));
    let at_top: Vec<_> = at_top.collect();
    if !at_top.is_empty() {
        return at_top;
    }
    let all = storage(s).into_iter();
    all.flat_map(|one| {
        let found = inner
            .iter()
            .filter_map(move |key| Some((format!("{}.{key}", one.key), text(one.body, key)?)));
        found
            .map(|(key, address)| (key, address.to_owned()))
            .collect::<Vec<_>>()
    })
    .collect()
}

/// Reports collectors on other machines with a plaintext connection.
fn telemetry(s: &Subject) -> Vec<Hit> {
    let keys = ["statsite_address", "statsd_address", "dogstatsd_addr"];
    let mut hits = Vec::new();
    for (place, body) in items(s.root.get("telemetry"), "telemetry") {
        let open = keys
            .iter()
            .filter_map(|key| Some((key, text(body, key).filter(|one| !is_loopback(one))?)));
        hits.extend(open.map(|(key, address)| hit(&format!("{place}.{key}"), address)));
    }
    hits
}
