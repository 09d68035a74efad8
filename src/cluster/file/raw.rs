//! The keys of `cluster.toml` as serde reads them. The JSON Schema is derived from them too.
//! Which values are allowed together is left to `check`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::FrontKind;
use super::or_table::{OrTable, TextForm};

/// A cluster of Consul and Vault nodes, made by `vault-bake cluster up`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    title = "cluster.toml",
    extend("$id" = "https://vault-bake.dev/schemas/cluster.schema.json")
)]
pub(super) struct RawCluster {
    /// Version of this format
    #[schemars(required, extend("const" = 1))]
    pub(super) schema: Option<i64>,
    /// Consul's datacenter; the images must have the same one
    #[serde(default = "datacenter")]
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub(super) datacenter: String,
    /// The Consul servers
    #[schemars(required)]
    pub(super) consul: Option<RawConsul>,
    /// The Vault nodes
    #[schemars(required)]
    pub(super) vault: Option<RawVault>,
    /// Where the nodes run
    #[serde(default)]
    pub(super) platform: RawPlatform,
    /// Where the nodes get certificates and secrets
    #[serde(default)]
    pub(super) identity: RawIdentity,
    /// How Vault is initialised and unsealed
    #[serde(default)]
    pub(super) unseal: RawUnseal,
    /// What clients of Vault connect to
    #[serde(default)]
    pub(super) front: RawFront,
}

/// The Consul servers
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Consul")]
pub(super) struct RawConsul {
    /// Image: `NAME:CHANNEL`, `NAME@VERSION`, or a pin
    #[schemars(required)]
    pub(super) image: Option<OrTable<RawPin>>,
    /// Number of servers: odd, so that a majority decides
    #[serde(default = "three")]
    #[schemars(extend("enum" = [1, 3, 5, 7]))]
    pub(super) nodes: i64,
}

/// The Vault nodes
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Vault")]
pub(super) struct RawVault {
    /// Image: `NAME:CHANNEL`, `NAME@VERSION`, or a pin
    #[schemars(required)]
    pub(super) image: Option<OrTable<RawPin>>,
    /// Number of nodes: one is active, the others are standbys
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 9))]
    pub(super) nodes: i64,
}

/// A pin of a pin file
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Pin")]
pub(super) struct RawPin {
    /// Pin file, relative to the folder of `cluster.toml`
    pub(super) pins: String,
    /// Name of the pin
    pub(super) name: String,
}

impl TextForm for RawPin {
    const EXPECTED: &str =
        "`NAME:CHANNEL` or `NAME@VERSION` in quotes, or `{ pins = \"FILE\", name = \"PIN\" }`";
    const PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}[:@][A-Za-z0-9][A-Za-z0-9_.-]{0,63}$";
}

/// Where the nodes run
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Platform")]
pub(super) struct RawPlatform {
    /// What runs the nodes
    pub(super) kind: PlatformName,
    /// Private addresses of the nodes: an IPv4 network from /24 to /28
    #[schemars(regex(pattern = r"^(10|172|192)\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}/2[4-8]$"))]
    pub(super) subnet: String,
    /// Azure: existing resource group of the nodes
    pub(super) resource_group: Option<String>,
    /// Azure: location of the nodes
    pub(super) location: Option<String>,
    /// Azure: id of the subnet whose addresses are `subnet`
    pub(super) subnet_id: Option<String>,
    /// Azure: size of each VM; `Standard_D2s_v5` if absent
    pub(super) vm_size: Option<String>,
    /// Azure: availability zones, which the nodes use in turn
    pub(super) zones: Option<Vec<String>>,
}

/// What runs the nodes
#[derive(Clone, Copy, Deserialize, serde::Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum PlatformName {
    /// Machines if KVM works, or else containers
    Auto,
    /// Containers of systemd-nspawn on this computer; needs root
    Containers,
    /// QEMU machines on this computer
    Machines,
    /// Virtual machines in a subscription of Azure
    Azure,
}

/// Where the nodes get certificates and secrets
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Identity")]
pub(super) struct RawIdentity {
    /// `generated`, or your own certificate authority
    #[schemars(extend("default" = "generated"))]
    pub(super) authority: OrTable<RawAuthority>,
    /// Validity of the nodes' certificates, in hours
    #[schemars(range(min = 24, max = 8760))]
    pub(super) valid_h: i64,
    /// `folder`, or commands that fetch and store a secret
    #[schemars(extend("default" = "folder"))]
    pub(super) secrets: OrTable<RawSecrets>,
}

/// Your own certificate authority: its certificate, and either a key or a command
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    rename = "Authority",
    extend("oneOf" = [{ "required": ["key"] }, { "required": ["command"] }])
)]
pub(super) struct RawAuthority {
    /// Certificate in PEM, relative to the folder of `cluster.toml`
    pub(super) certificate: String,
    /// Private key in PEM, relative to the folder of `cluster.toml`
    pub(super) key: Option<String>,
    /// Program with arguments: it reads a request in PEM and writes the certificate in PEM
    #[schemars(length(min = 1))]
    pub(super) command: Option<Vec<String>>,
}

impl TextForm for RawAuthority {
    const EXPECTED: &str = "`generated` in quotes, or a table with `certificate` and `key`";
    const PATTERN: &str = "^generated$";
}

/// Commands that keep the secrets of the cluster; the name of a secret is their last argument
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Secrets")]
pub(super) struct RawSecrets {
    /// Program with arguments that writes a secret to standard output
    #[schemars(length(min = 1))]
    pub(super) fetch: Vec<String>,
    /// Program with arguments that reads a secret from standard input
    #[schemars(length(min = 1))]
    pub(super) store: Vec<String>,
}

impl TextForm for RawSecrets {
    const EXPECTED: &str = "`folder` in quotes, or a table with `fetch` and `store`";
    const PATTERN: &str = "^folder$";
}

/// How Vault is initialised and unsealed
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Unseal")]
pub(super) struct RawUnseal {
    /// What unseals Vault
    pub(super) kind: SealName,
    /// Number of key shares; with auto-unseal, of recovery keys
    #[schemars(range(min = 1, max = 255))]
    pub(super) shares: i64,
    /// Number of shares that are needed together
    #[schemars(range(min = 1, max = 255))]
    pub(super) threshold: i64,
    /// OpenPGP public key files, one for each share: the shares are then encrypted
    pub(super) pgp_keys: Vec<String>,
    /// Variables of the auto-unseal; secret values are `secret:NAME`
    pub(super) env: BTreeMap<String, String>,
}

/// What unseals Vault
#[derive(Clone, Copy, Deserialize, serde::Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum SealName {
    /// Key shares
    Shares,
    /// Another Vault
    Transit,
    /// A key in Azure Key Vault
    AzureKeyVault,
}

/// What clients of Vault connect to
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Front")]
pub(super) struct RawFront {
    /// Kind of the load balancer; `azure` if absent and the platform is Azure
    pub(super) kind: Option<FrontKind>,
    /// Port of the load balancer; 8200 if absent
    #[schemars(range(min = 1024, max = 65535))]
    pub(super) port: Option<i64>,
}

impl Default for RawPlatform {
    fn default() -> Self {
        Self {
            kind: PlatformName::Auto,
            subnet: "10.77.0.0/24".to_owned(),
            resource_group: None,
            location: None,
            subnet_id: None,
            vm_size: None,
            zones: None,
        }
    }
}

impl Default for RawIdentity {
    fn default() -> Self {
        Self {
            authority: OrTable::Text("generated".to_owned()),
            valid_h: 720,
            secrets: OrTable::Text("folder".to_owned()),
        }
    }
}

impl Default for RawUnseal {
    fn default() -> Self {
        Self {
            kind: SealName::Shares,
            shares: 5,
            threshold: 3,
            pgp_keys: Vec::new(),
            env: BTreeMap::new(),
        }
    }
}

fn datacenter() -> String {
    "dc1".to_owned()
}

fn three() -> i64 {
    3
}
