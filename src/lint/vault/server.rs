//! The server itself, and what it tells others of itself.

use super::{
    API_PORT, CONFIGURATION, HA, HARDENING, is_below, is_misleading, listeners, port, storage,
};
use crate::lint::address::{has_scheme, is_loopback};
use crate::lint::tree::{at, is, items, text};
use crate::lint::{Hit, Role, Rule, Severity, Subject, hit, modes, must_not_be, shown};

pub(in crate::lint) const RULES: &[Rule] = &[
    Rule {
        id: "vault.one-file",
        severity: Severity::Unsafe,
        reason: "Vault reads the files of a folder in the order of the file system, which is not that of their names; if two of them set a key, chance decides",
        source: "https://github.com/hashicorp/vault/blob/v1.20.4/command/server/config.go",
        fix: "write one file",
        check: |s| match s.files > 1 {
            true => vec![hit("", format!("{} files", s.files))],
            false => Vec::new(),
        },
    },
    Rule {
        id: "vault.api-addr",
        severity: Severity::Unsafe,
        reason: "clients that are sent to the active node follow this address; without TLS, or to themselves, they must not",
        source: HA,
        fix: "set `api_addr` to https:// and the node's own address, not a load balancer's",
        check: api_addr,
    },
    Rule {
        id: "vault.api-addr-port",
        severity: Severity::Unsafe,
        reason: "clients are sent to a port at which no listener serves the API",
        source: HA,
        fix: "name the port of a listener",
        check: |s| {
            let Some(wanted) = text(s.root, "api_addr").map(port) else {
                return Vec::new();
            };
            let all = listeners(s, "tcp").into_iter();
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
        severity: Severity::Unsafe,
        reason: "other nodes that forward requests to this address reach themselves, or nothing",
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
        reason: "secrets in memory may be written to a swap device; only integrated storage is a reason for that",
        source: CONFIGURATION,
        fix: "remove `disable_mlock` or set it to false, and set LimitMEMLOCK in the unit to infinity",
        check: |s| match (
            is(s.root, "disable_mlock"),
            // Of variables alone the storage is unknown.
            s.files == 0 || storage(s).iter().any(|one| one.label == "raft"),
        ) {
            (Some(true), false) => vec![hit("disable_mlock", shown(s.root, "disable_mlock"))],
            _ => Vec::new(),
        },
    },
    Rule {
        id: "vault.raw-storage",
        severity: Severity::Unsafe,
        reason: "what is stored can be read and changed past all of Vault's rules",
        source: CONFIGURATION,
        fix: "remove `raw_storage_endpoint`",
        check: |s| must_not_be(s.root, true, &["raw_storage_endpoint"]),
    },
    Rule {
        id: "vault.introspection",
        severity: Severity::Unsafe,
        reason: "shows the insides of Vault's memory; meant for its developers",
        source: CONFIGURATION,
        fix: "remove `introspection_endpoint`",
        check: |s| must_not_be(s.root, true, &["introspection_endpoint"]),
    },
    Rule {
        id: "vault.log-level",
        severity: Severity::Unsafe,
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
        severity: Severity::Unsafe,
        reason: "a user who may write there has programs run by Vault",
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
        severity: Severity::Unsafe,
        reason: "Vault is told to accept programs that others may change",
        source: CONFIGURATION,
        fix: "remove `plugin_file_permissions`, or set it to 0550 or less",
        check: |s| {
            let key = "plugin_file_permissions";
            let mode = at(s.root, key).and_then(modes::of_digits);
            match mode {
                Some(mode) if mode & 0o022 != 0 => vec![hit(key, shown(s.root, key))],
                _ => Vec::new(),
            }
        },
    },
    Rule {
        id: "vault.audit-prefix",
        severity: Severity::Unsafe,
        reason: "an operator who may enable audit devices can write a file that starts as they choose, and have it run as a plugin (CVE-2025-6000)",
        source: "https://nvd.nist.gov/vuln/detail/CVE-2025-6000",
        fix: "remove `allow_audit_log_prefixing`",
        check: |s| must_not_be(s.root, true, &["allow_audit_log_prefixing"]),
    },
    Rule {
        id: "vault.post-unseal-trace",
        severity: Severity::Unsafe,
        reason: "writes a trace of each unseal to a folder, by default below /tmp, and slows it down; meant for an hour of debugging",
        source: CONFIGURATION,
        fix: "remove `enable_post_unseal_trace`",
        check: |s| must_not_be(s.root, true, &["enable_post_unseal_trace"]),
    },
    Rule {
        id: "vault.telemetry-plaintext",
        severity: Severity::Note,
        reason: "figures of the cluster, with names of mounts and namespaces, go to another machine in clear",
        source: "https://developer.hashicorp.com/vault/docs/configuration/telemetry",
        fix: "send them to an agent on 127.0.0.1, or let a collector with a token fetch them over TLS",
        check: telemetry,
    },
];

/// The address of the API, in any place where Vault takes it from.
fn api_addr(s: &Subject) -> Vec<Hit> {
    let bad = |address: &str| !has_scheme(address, "https") || is_misleading(address);
    let mut set = false;
    let mut hits = Vec::new();
    for (key, address) in addresses(s, &["api_addr"], &["redirect_addr", "advertise_addr"]) {
        set = true;
        if bad(&address) {
            hits.push(hit(&key, address));
        }
    }
    // These know one node.
    let alone = storage(s);
    let alone = !alone.is_empty()
        && alone
            .iter()
            .all(|one| matches!(one.label, "file" | "inmem"));
    if !set && !alone {
        hits.push(hit("api_addr", "nothing"));
    }
    hits
}

/// The address for other nodes. Its scheme does not count: Vault replaces it. Without one, Vault derives it from the API's.
fn cluster_addr(s: &Subject) -> Vec<Hit> {
    addresses(s, &["cluster_addr"], &["cluster_addr"])
        .into_iter()
        .filter(|(_, address)| is_misleading(address))
        .map(|(key, address)| hit(&key, address))
        .collect()
}

/// What is set under `top` at the top, or under `inner` in a storage, which counts only if the top says nothing.
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

/// Collectors on other machines that are spoken to in clear.
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
