//! Rules for files that an image must not have, by name.

use super::Rule;

/// A rule about the paths of files.
pub(super) struct NameRule {
    pub(super) rule: Rule,
    /// Returns whether a file with this path, name and size in bytes violates the rule.
    pub(super) matches: fn(path: &str, name: &str, size: u64) -> bool,
}

pub(super) const RULES: &[NameRule] = &[
    NameRule {
        rule: Rule {
            id: "disk.host-keys",
            description: "no ssh host key is on the captured disk",
        },
        matches: |path, _, _| path.starts_with("/etc/ssh/ssh_host_"),
    },
    NameRule {
        rule: Rule {
            id: "disk.access",
            description: "no authorized keys, known hosts or login data of the build are on the captured disk",
        },
        matches: |path, name, _| {
            matches!(
                name,
                "authorized_keys" | "authorized_keys2" | "known_hosts" | ".vault-token"
            ) || path.starts_with("/etc/ssh/authorized_keys")
                || path == "/etc/ssh/sshd_config.d/00-vault-bake.conf"
        },
    },
    NameRule {
        rule: Rule {
            id: "disk.machine-id",
            description: "no machine id is on the captured disk",
        },
        matches: |path, _, size| {
            matches!(path, "/etc/machine-id" | "/var/lib/dbus/machine-id") && size > 0
        },
    },
    NameRule {
        rule: Rule {
            id: "disk.random-seed",
            description: "no random seed and no credential key of systemd is on the captured disk",
        },
        matches: |path, _, _| {
            matches!(
                path,
                "/var/lib/systemd/random-seed" | "/var/lib/systemd/credential.secret"
            )
        },
    },
    NameRule {
        rule: Rule {
            id: "disk.key-files",
            description: "no key store file is on the captured disk",
        },
        matches: |_, name, _| {
            [".p12", ".pfx", ".jks", ".prv"]
                .iter()
                .any(|ending| name.ends_with(ending))
        },
    },
    NameRule {
        rule: Rule {
            id: "disk.history",
            description: "no shell or editor history is on the captured disk",
        },
        matches: |_, name, _| {
            name.starts_with('.') && name.ends_with("history")
                || matches!(name, ".lesshst" | ".viminfo" | ".wget-hsts")
        },
    },
    NameRule {
        rule: Rule {
            id: "disk.cloud-data",
            description: "no instance data of cloud-init is on the captured disk",
        },
        matches: |path, _, _| {
            path.starts_with("/var/lib/cloud/")
                || path.starts_with("/var/log/cloud-init")
                || matches!(
                    path,
                    "/etc/sudoers.d/90-cloud-init-users"
                        | "/etc/ssh/sshd_config.d/50-cloud-init.conf"
                        | "/etc/netplan/50-cloud-init.yaml"
                )
        },
    },
    NameRule {
        rule: Rule {
            id: "disk.agent-data",
            description: "no instance data of Azure's agent is on the captured disk",
        },
        matches: |path, name, _| {
            path.starts_with("/var/lib/waagent/")
                && [".prv", ".crt", ".pem", ".xml", ".tag"]
                    .iter()
                    .any(|ending| name.ends_with(ending))
                || path.starts_with("/var/log/waagent")
                || path.starts_with("/var/log/azure/")
        },
    },
    NameRule {
        rule: Rule {
            id: "disk.consul-data",
            description: "no node id, keyring or other data of Consul is on the captured disk",
        },
        matches: |path, name, _| {
            path.starts_with("/var/lib/consul/")
                || path.starts_with("/opt/consul/")
                || matches!(name, "local.keyring" | "remote.keyring")
        },
    },
    NameRule {
        rule: Rule {
            id: "disk.vault-data",
            description: "no key or data of Vault is on the captured disk",
        },
        matches: |path, _, _| {
            path.starts_with("/opt/vault/tls/")
                || path.starts_with("/opt/vault/data/")
                || path.starts_with("/var/lib/vault/")
        },
    },
    NameRule {
        rule: Rule {
            id: "disk.logs",
            description: "no log of the build is on the captured disk",
        },
        matches: |path, _, size| path.starts_with("/var/log/") && size > 0,
    },
    NameRule {
        rule: Rule {
            id: "disk.temporary-files",
            description: "no temporary file is on the captured disk",
        },
        matches: |path, _, _| path.starts_with("/tmp/") || path.starts_with("/var/tmp/"),
    },
];
