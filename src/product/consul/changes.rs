//! The changes of Consul's configuration, by version.

use semver::Version;

use crate::version_changes::VersionChange;

/// All changes, by version.
pub(super) static ALL: [&VersionChange; 12] = [
    &ACL,
    &UI_CONFIG,
    &INITIAL_MANAGEMENT,
    &TLS,
    &PEERING,
    &GRPC_TLS,
    &TLS_DEFAULTS_HOSTNAME,
    &KV_CHARACTERS,
    &KV_TRAVERSAL,
    &HTTP_CONFIG,
    &LONG_REQUESTS,
    &HYBRID_TLS,
];

const UPGRADE: &str = "https://developer.hashicorp.com/consul/docs/upgrade/version-specific";

/// See [`VersionChange::what`].
pub const ACL: VersionChange = VersionChange {
    name: "consul.acl",
    since: Version::new(1, 4, 0),
    what: "`acl` replaces the keys that began with `acl_`; old keys are read if `acl` does not set them",
    source: UPGRADE,
};

/// See [`VersionChange::what`].
pub const UI_CONFIG: VersionChange = VersionChange {
    name: "consul.ui-config",
    since: Version::new(1, 9, 0),
    what: "`ui_config` replaces `ui`",
    source: UPGRADE,
};

/// See [`VersionChange::what`].
pub const INITIAL_MANAGEMENT: VersionChange = VersionChange {
    name: "consul.initial-management",
    since: Version::new(1, 11, 0),
    what: "the operator's first token is `acl.tokens.initial_management` instead of `master`",
    source: "https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/acl",
};

/// See [`VersionChange::what`].
pub const TLS: VersionChange = VersionChange {
    name: "consul.tls",
    since: Version::new(1, 12, 0),
    what: "`tls` has the TLS files and flags for each interface of the agent",
    source: "https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/tls",
};

/// See [`VersionChange::what`].
pub const PEERING: VersionChange = VersionChange {
    name: "consul.peering",
    since: Version::new(1, 13, 0),
    what: "clusters may peer, unless `peering.enabled` is false",
    source: UPGRADE,
};

/// See [`VersionChange::what`].
pub const GRPC_TLS: VersionChange = VersionChange {
    name: "consul.grpc-tls",
    since: Version::new(1, 14, 0),
    what: "`ports.grpc` is plaintext, and servers open `ports.grpc_tls` by default",
    source: UPGRADE,
};

/// See [`VersionChange::what`].
pub const TLS_DEFAULTS_HOSTNAME: VersionChange = VersionChange {
    name: "consul.tls-defaults-hostname",
    since: Version::new(1, 17, 0),
    what: "`tls.defaults.verify_server_hostname` takes effect; earlier versions ignore it",
    source: "https://github.com/hashicorp/consul/pull/17155",
};

/// See [`VersionChange::what`].
pub const KV_CHARACTERS: VersionChange = VersionChange {
    name: "consul.kv-characters",
    since: Version::new(1, 21, 5),
    what: "keys of the KV store have letters, digits and `,_./-?&=` only; Vault's have others",
    source: "https://github.com/hashicorp/consul/issues/22822",
};

/// See [`VersionChange::what`].
pub const KV_TRAVERSAL: VersionChange = VersionChange {
    name: "consul.kv-traversal",
    since: Version::new(1, 22, 0),
    what: "any character is allowed again; unless `disable_kv_key_validation` is true, keys have no `../`, and no blank at an end",
    source: "https://github.com/hashicorp/consul/pull/22939",
};

/// See [`VersionChange::what`].
pub const HTTP_CONFIG: VersionChange = VersionChange {
    name: "consul.http-config",
    since: Version::new(1, 22, 4),
    what: "`http_config` limits requests, to 30 s by default: too short for Vault's lock",
    source: UPGRADE,
};

/// See [`VersionChange::what`].
pub const LONG_REQUESTS: VersionChange = VersionChange {
    name: "consul.long-requests",
    since: Version::new(2, 0, 0),
    what: "the default limit of `http_config` is 15 minutes",
    source: UPGRADE,
};

/// See [`VersionChange::what`].
pub const HYBRID_TLS: VersionChange = VersionChange {
    name: "consul.hybrid-tls",
    since: Version::new(2, 1, 0),
    what: "`tls_ecdh_curves` names key exchanges; if the lowest version is TLS 1.3, they are X25519MLKEM768 and X25519 by default",
    source: UPGRADE,
};

/// Lint rule that refuses the versions of [`refuses_vault_keys`].
pub(crate) const VAULT_KEYS_RULE: &str = "vault.storage-consul-keys";

/// Tells if an agent of this version, on the node of Vault, refuses keys that Vault writes.
///
/// 1.21.5 does. The next one of its line, 1.21.6 of Enterprise, and 1.22.0 accept them.
pub(crate) fn refuses_vault_keys(consul: &Version) -> bool {
    KV_CHARACTERS.is_in(consul) && (consul.major, consul.minor, consul.patch) < (1, 21, 6)
}
