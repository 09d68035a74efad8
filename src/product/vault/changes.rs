//! The changes of Vault's configuration, by version.

use semver::Version;

use crate::version_changes::VersionChange;

/// All changes, by version.
pub(super) static ALL: [&VersionChange; 8] = [
    &MLOCK,
    &REKEY_TOKEN,
    &AZURE_AUTH,
    &CLEAN_PATHS,
    &POLICY_WILDCARDS,
    &RSA_SIZE,
    &DUPLICATE_KEYS,
    &AWS_AUTH,
];

const IMPORTANT: &str = "https://developer.hashicorp.com/vault/docs/updates/important-changes";

/// See [`VersionChange::what`].
pub const MLOCK: VersionChange = VersionChange {
    name: "vault.mlock",
    since: Version::new(1, 20, 0),
    what: "with integrated storage, Vault does not start unless `disable_mlock` is set to true or false",
    source: "https://developer.hashicorp.com/vault/docs/configuration#disable_mlock",
};

/// See [`VersionChange::what`].
pub const REKEY_TOKEN: VersionChange = VersionChange {
    name: "vault.rekey-token",
    since: Version::new(2, 0, 0),
    what: "`sys/rekey` and `sys/generate-root` need a token too, unless `enable_unauthenticated_access` has them",
    source: IMPORTANT,
};

/// See [`VersionChange::what`].
pub const AZURE_AUTH: VersionChange = VersionChange {
    name: "vault.azure-auth",
    since: Version::new(2, 0, 0),
    what: "the configuration of Azure authentication takes precedence over `AZURE_` variables",
    source: IMPORTANT,
};

/// See [`VersionChange::what`].
pub const CLEAN_PATHS: VersionChange = VersionChange {
    name: "vault.clean-paths",
    since: Version::new(2, 0, 0),
    what: "requests whose path has `//`, `/./` or `/../` are refused; also from 1.19.16, 1.20.10 and 1.21.5 on",
    source: IMPORTANT,
};

/// See [`VersionChange::what`].
pub const POLICY_WILDCARDS: VersionChange = VersionChange {
    name: "vault.policy-wildcards",
    since: Version::new(2, 0, 1),
    what: "a template in a path of a policy gives no `+` and no `*`; also from 1.19.17, 1.20.11 and 1.21.6 on",
    source: IMPORTANT,
};

/// See [`VersionChange::what`].
pub const RSA_SIZE: VersionChange = VersionChange {
    name: "vault.rsa-size",
    since: Version::new(2, 0, 2),
    what: "RSA keys have at most 8192 bits; also from 1.19.18, 1.20.12 and 1.21.7 on",
    source: IMPORTANT,
};

/// See [`VersionChange::what`].
pub const DUPLICATE_KEYS: VersionChange = VersionChange {
    name: "vault.duplicate-keys",
    since: Version::new(2, 1, 0),
    what: "a key that is set twice in a file or policy is an error, and no variable allows it",
    source: IMPORTANT,
};

/// See [`VersionChange::what`].
pub const AWS_AUTH: VersionChange = VersionChange {
    name: "vault.aws-auth",
    since: Version::new(2, 2, 0),
    what: "a configured workload identity for AWS takes precedence over `AWS_` variables",
    source: IMPORTANT,
};
