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
pub const CHANGES: [&VersionChange; 10] = [
    &CONSUL_ACL,
    &CONSUL_UI_CONFIG,
    &CONSUL_INITIAL_MANAGEMENT,
    &CONSUL_TLS,
    &CONSUL_PEERING,
    &CONSUL_GRPC_TLS,
    &CONSUL_TLS_DEFAULTS_HOSTNAME,
    &CONSUL_HTTP_CONFIG,
    &CONSUL_LONG_REQUESTS,
    &VAULT_MLOCK,
];

const UPGRADE: &str = "https://developer.hashicorp.com/consul/docs/upgrade/version-specific";

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
pub(crate) const VAULT_MLOCK: VersionChange = VersionChange {
    name: "vault.mlock",
    since: Version::new(1, 20, 0),
    what: "with integrated storage, Vault does not start unless `disable_mlock` is set to true or false",
    source: "https://developer.hashicorp.com/vault/docs/configuration#disable_mlock",
};

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
