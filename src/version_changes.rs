//! What changed in the configuration of Vault and Consul: one table for what is written, and for what is judged.
//!
//! In: a version. Out: whether a change is in it. What holds for every version that we know has no row here.

use semver::Version;

/// A change of a product's configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct VersionChange {
    /// The product, and what it is about; templates ask for it by this.
    pub name: &'static str,
    /// The first version that has it.
    pub since: Version,
    /// What is so since then.
    pub what: &'static str,
    /// Who says so.
    pub source: &'static str,
}

/// All of them, by product and version.
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

/// See [`Change::what`].
pub const CONSUL_ACL: VersionChange = VersionChange {
    name: "consul.acl",
    since: Version::new(1, 4, 0),
    what: "`acl` has what began with `acl_`; the old keys are read where it says nothing",
    source: UPGRADE,
};

/// See [`Change::what`].
pub const CONSUL_UI_CONFIG: VersionChange = VersionChange {
    name: "consul.ui-config",
    since: Version::new(1, 9, 0),
    what: "`ui_config` has what was `ui`",
    source: UPGRADE,
};

/// See [`Change::what`].
pub const CONSUL_INITIAL_MANAGEMENT: VersionChange = VersionChange {
    name: "consul.initial-management",
    since: Version::new(1, 11, 0),
    what: "the operator's first token is `acl.tokens.initial_management`, no more `master`",
    source: "https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/acl",
};

/// See [`Change::what`].
pub const CONSUL_TLS: VersionChange = VersionChange {
    name: "consul.tls",
    since: Version::new(1, 12, 0),
    what: "`tls` has the files and flags of TLS, for each door of the agent",
    source: "https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/tls",
};

/// See [`Change::what`].
pub const CONSUL_PEERING: VersionChange = VersionChange {
    name: "consul.peering",
    since: Version::new(1, 13, 0),
    what: "clusters may peer, unless `peering.enabled` says no",
    source: UPGRADE,
};

/// See [`Change::what`].
pub const CONSUL_GRPC_TLS: VersionChange = VersionChange {
    name: "consul.grpc-tls",
    since: Version::new(1, 14, 0),
    what: "`ports.grpc` speaks in clear, and servers open `ports.grpc_tls` on their own",
    source: UPGRADE,
};

/// See [`Change::what`].
pub const CONSUL_TLS_DEFAULTS_HOSTNAME: VersionChange = VersionChange {
    name: "consul.tls-defaults-hostname",
    since: Version::new(1, 17, 0),
    what: "`tls.defaults.verify_server_hostname` counts; before, it is ignored",
    source: "https://github.com/hashicorp/consul/pull/17155",
};

/// See [`Change::what`].
pub const CONSUL_HTTP_CONFIG: VersionChange = VersionChange {
    name: "consul.http-config",
    since: Version::new(1, 22, 4),
    what: "`http_config` bounds a request, by 30 s where it says nothing: less than Vault's lock waits",
    source: UPGRADE,
};

/// See [`Change::what`].
pub const CONSUL_LONG_REQUESTS: VersionChange = VersionChange {
    name: "consul.long-requests",
    since: Version::new(2, 0, 0),
    what: "that bound is 15 minutes where nothing is said",
    source: UPGRADE,
};

/// See [`Change::what`].
pub const VAULT_MLOCK: VersionChange = VersionChange {
    name: "vault.mlock",
    since: Version::new(1, 20, 0),
    what: "with integrated storage, Vault does not start unless `disable_mlock` is set to true or false",
    source: "https://developer.hashicorp.com/vault/docs/configuration#disable_mlock",
};

impl VersionChange {
    /// Whether `version` has it. Its pre-releases have it too, and builds of any kind.
    pub fn is_in(&self, version: &Version) -> bool {
        let numbers = |version: &Version| (version.major, version.minor, version.patch);
        numbers(version) >= numbers(&self.since)
    }

    /// The change of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        CHANGES.into_iter().find(|change| change.name == name)
    }
}
