//! Lists the changes in the configuration of Vault and Consul between supported versions.
//! Takes a version, tells if it has a change. Generated configuration and lint rules both use it.

use semver::Version;

/// A change of a product's configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct VersionChange {
    /// Product and subject of the change, as templates name it.
    pub name: &'static str,
    /// First version with the change.
    pub since: Version,
    /// Description of the change.
    pub what: &'static str,
    /// Address of the documentation.
    pub source: &'static str,
}

/// All changes, by product and version.
pub const CHANGES: [&VersionChange; 20] = [
    &CONSUL_ACL,
    &CONSUL_UI_CONFIG,
    &CONSUL_INITIAL_MANAGEMENT,
    &CONSUL_TLS,
    &CONSUL_PEERING,
    &CONSUL_GRPC_TLS,
    &CONSUL_TLS_DEFAULTS_HOSTNAME,
    &CONSUL_KV_CHARACTERS,
    &CONSUL_KV_TRAVERSAL,
    &CONSUL_HTTP_CONFIG,
    &CONSUL_LONG_REQUESTS,
    &CONSUL_HYBRID_TLS,
    &VAULT_MLOCK,
    &VAULT_REKEY_TOKEN,
    &VAULT_AZURE_AUTH,
    &VAULT_CLEAN_PATHS,
    &VAULT_POLICY_WILDCARDS,
    &VAULT_RSA_SIZE,
    &VAULT_DUPLICATE_KEYS,
    &VAULT_AWS_AUTH,
];

const UPGRADE: &str = "https://developer.hashicorp.com/consul/docs/upgrade/version-specific";
const IMPORTANT: &str = "https://developer.hashicorp.com/vault/docs/updates/important-changes";

/// See [`VersionChange::what`].
pub(crate) const CONSUL_ACL: VersionChange = VersionChange {
    name: "consul.acl",
    since: Version::new(1, 4, 0),
    what: "`acl` replaces the keys that began with `acl_`; old keys are read if `acl` does not set them",
    source: UPGRADE,
};

/// See [`VersionChange::what`].
pub(crate) const CONSUL_UI_CONFIG: VersionChange = VersionChange {
    name: "consul.ui-config",
    since: Version::new(1, 9, 0),
    what: "`ui_config` replaces `ui`",
    source: UPGRADE,
};

/// See [`VersionChange::what`].
pub const CONSUL_INITIAL_MANAGEMENT: VersionChange = VersionChange {
    name: "consul.initial-management",
    since: Version::new(1, 11, 0),
    what: "the operator's first token is `acl.tokens.initial_management` instead of `master`",
    source: "https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/acl",
};

/// See [`VersionChange::what`].
pub const CONSUL_TLS: VersionChange = VersionChange {
    name: "consul.tls",
    since: Version::new(1, 12, 0),
    what: "`tls` has the TLS files and flags for each interface of the agent",
    source: "https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/tls",
};

/// See [`VersionChange::what`].
pub(crate) const CONSUL_PEERING: VersionChange = VersionChange {
    name: "consul.peering",
    since: Version::new(1, 13, 0),
    what: "clusters may peer, unless `peering.enabled` is false",
    source: UPGRADE,
};

/// See [`VersionChange::what`].
pub(crate) const CONSUL_GRPC_TLS: VersionChange = VersionChange {
    name: "consul.grpc-tls",
    since: Version::new(1, 14, 0),
    what: "`ports.grpc` is plaintext, and servers open `ports.grpc_tls` by default",
    source: UPGRADE,
};

/// See [`VersionChange::what`].
pub(crate) const CONSUL_TLS_DEFAULTS_HOSTNAME: VersionChange = VersionChange {
    name: "consul.tls-defaults-hostname",
    since: Version::new(1, 17, 0),
    what: "`tls.defaults.verify_server_hostname` takes effect; earlier versions ignore it",
    source: "https://github.com/hashicorp/consul/pull/17155",
};

/// See [`VersionChange::what`].
pub(crate) const CONSUL_KV_CHARACTERS: VersionChange = VersionChange {
    name: "consul.kv-characters",
    since: Version::new(1, 21, 5),
    what: "keys of the KV store have letters, digits and `,_./-?&=` only; Vault's have others",
    source: "https://github.com/hashicorp/consul/issues/22822",
};

/// See [`VersionChange::what`].
pub(crate) const CONSUL_KV_TRAVERSAL: VersionChange = VersionChange {
    name: "consul.kv-traversal",
    since: Version::new(1, 22, 0),
    what: "any character is allowed again; unless `disable_kv_key_validation` is true, keys have no `../`, and no blank at an end",
    source: "https://github.com/hashicorp/consul/pull/22939",
};

/// See [`VersionChange::what`].
pub(crate) const CONSUL_HTTP_CONFIG: VersionChange = VersionChange {
    name: "consul.http-config",
    since: Version::new(1, 22, 4),
    what: "`http_config` limits requests, to 30 s by default: too short for Vault's lock",
    source: UPGRADE,
};

/// See [`VersionChange::what`].
pub(crate) const CONSUL_LONG_REQUESTS: VersionChange = VersionChange {
    name: "consul.long-requests",
    since: Version::new(2, 0, 0),
    what: "the default limit of `http_config` is 15 minutes",
    source: UPGRADE,
};

/// See [`VersionChange::what`].
pub(crate) const CONSUL_HYBRID_TLS: VersionChange = VersionChange {
    name: "consul.hybrid-tls",
    since: Version::new(2, 1, 0),
    what: "`tls_ecdh_curves` names key exchanges; if the lowest version is TLS 1.3, they are X25519MLKEM768 and X25519 by default",
    source: UPGRADE,
};

/// See [`VersionChange::what`].
pub(crate) const VAULT_MLOCK: VersionChange = VersionChange {
    name: "vault.mlock",
    since: Version::new(1, 20, 0),
    what: "with integrated storage, Vault does not start unless `disable_mlock` is set to true or false",
    source: "https://developer.hashicorp.com/vault/docs/configuration#disable_mlock",
};

/// See [`VersionChange::what`].
pub(crate) const VAULT_REKEY_TOKEN: VersionChange = VersionChange {
    name: "vault.rekey-token",
    since: Version::new(2, 0, 0),
    what: "`sys/rekey` and `sys/generate-root` need a token too, unless `enable_unauthenticated_access` has them",
    source: IMPORTANT,
};

/// See [`VersionChange::what`].
pub(crate) const VAULT_AZURE_AUTH: VersionChange = VersionChange {
    name: "vault.azure-auth",
    since: Version::new(2, 0, 0),
    what: "the configuration of Azure authentication takes precedence over `AZURE_` variables",
    source: IMPORTANT,
};

/// See [`VersionChange::what`].
pub(crate) const VAULT_CLEAN_PATHS: VersionChange = VersionChange {
    name: "vault.clean-paths",
    since: Version::new(2, 0, 0),
    what: "requests whose path has `//`, `/./` or `/../` are refused; also from 1.19.16, 1.20.10 and 1.21.5 on",
    source: IMPORTANT,
};

/// See [`VersionChange::what`].
pub(crate) const VAULT_POLICY_WILDCARDS: VersionChange = VersionChange {
    name: "vault.policy-wildcards",
    since: Version::new(2, 0, 1),
    what: "a template in a path of a policy gives no `+` and no `*`; also from 1.19.17, 1.20.11 and 1.21.6 on",
    source: IMPORTANT,
};

/// See [`VersionChange::what`].
pub(crate) const VAULT_RSA_SIZE: VersionChange = VersionChange {
    name: "vault.rsa-size",
    since: Version::new(2, 0, 2),
    what: "RSA keys have at most 8192 bits; also from 1.19.18, 1.20.12 and 1.21.7 on",
    source: IMPORTANT,
};

/// See [`VersionChange::what`].
pub(crate) const VAULT_DUPLICATE_KEYS: VersionChange = VersionChange {
    name: "vault.duplicate-keys",
    since: Version::new(2, 1, 0),
    what: "a key that is set twice in a file or policy is an error, and no variable allows it",
    source: IMPORTANT,
};

/// See [`VersionChange::what`].
pub(crate) const VAULT_AWS_AUTH: VersionChange = VersionChange {
    name: "vault.aws-auth",
    since: Version::new(2, 2, 0),
    what: "a configured workload identity for AWS takes precedence over `AWS_` variables",
    source: IMPORTANT,
};

/// Lint rule that refuses the versions of [`refuses_vault_keys`].
pub(crate) const VAULT_KEYS_RULE: &str = "vault.storage-consul-keys";

/// Tells if an agent of this version, on the node of Vault, refuses keys that Vault writes.
///
/// 1.21.5 does. The next one of its line, 1.21.6 of Enterprise, and 1.22.0 accept them.
pub(crate) fn refuses_vault_keys(consul: &Version) -> bool {
    CONSUL_KV_CHARACTERS.is_in(consul) && (consul.major, consul.minor, consul.patch) < (1, 21, 6)
}

impl VersionChange {
    /// Tells if `version` has the change. Pre-releases and builds count as their version.
    pub fn is_in(&self, version: &Version) -> bool {
        let numbers = |version: &Version| (version.major, version.minor, version.patch);
        numbers(version) >= numbers(&self.since)
    }

    /// Returns the change of this name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        CHANGES.into_iter().find(|change| change.name == name)
    }
}
