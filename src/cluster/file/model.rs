//! The parts of a cluster's definition: typed, checked, and with defaults filled in.
//! Paths are those of the file, joined to its folder.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Subnet;
use crate::azure::ResourceId;
use crate::manifest::Reference;

/// The nodes with the same image and task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// The image.
    pub image: ImageRef,
    /// Number of nodes.
    pub nodes: u32,
}

/// The name of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TierName {
    /// Consul servers.
    Consul,
    /// Vault nodes.
    Vault,
}

impl TierName {
    /// Returns the name as it is in the file and in names of nodes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consul => "consul",
            Self::Vault => "vault",
        }
    }
}

impl fmt::Display for TierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The image of a tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageRef {
    /// An image of the store: [`Reference::Channel`] or [`Reference::Version`].
    Store(Reference),
    /// A pin of a pin file.
    Pin {
        /// Path of the pin file.
        pins: PathBuf,
        /// Name of the pin.
        name: String,
    },
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(reference) => reference.fmt(f),
            Self::Pin { pins, name } => write!(f, "{name} of {}", pins.display()),
        }
    }
}

/// Where the nodes run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// What runs the nodes.
    pub kind: PlatformKind,
    /// Addresses of the nodes.
    pub subnet: Subnet,
}

/// What runs the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlatformKind {
    /// Machines if KVM works, or else containers.
    Auto,
    /// Containers of systemd-nspawn on this computer.
    Containers,
    /// QEMU machines on this computer.
    Machines,
    /// Virtual machines in a subscription of Azure.
    Azure(AzurePlatform),
}

/// Virtual machines in a subscription of Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzurePlatform {
    /// Existing resource group.
    pub resource_group: String,
    /// Location.
    pub location: String,
    /// The subnet, whose addresses are those of [`Platform::subnet`].
    pub subnet_id: ResourceId,
    /// Size of each virtual machine.
    pub vm_size: String,
    /// Availability zones, which the nodes use in turn. Empty for none.
    pub zones: Vec<String>,
}

/// Where the nodes get certificates and secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate authority.
    pub authority: Authority,
    /// Validity of the nodes' certificates, in hours.
    pub valid_h: u32,
    /// Where the secrets of the cluster are.
    pub secrets: Secrets,
}

/// The certificate authority of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Generated for the cluster.
    Generated,
    /// The user's own, with its key.
    Files {
        /// Path of the certificate, in PEM.
        certificate: PathBuf,
        /// Path of the private key, in PEM.
        key: PathBuf,
    },
    /// The user's own, behind a program.
    Command {
        /// Path of the certificate, in PEM.
        certificate: PathBuf,
        /// Program with arguments: reads a request in PEM, writes the certificate in PEM.
        command: Vec<String>,
    },
}

/// Where the secrets of a cluster are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// In the state folder of the cluster.
    Folder,
    /// Behind programs. The name of the secret is added as the last argument.
    Commands {
        /// Program with arguments that writes a secret to standard output.
        fetch: Vec<String>,
        /// Program with arguments that reads a secret from standard input.
        store: Vec<String>,
    },
}

/// How Vault is initialised and unsealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseal {
    /// What unseals Vault.
    pub kind: UnsealKind,
    /// Number of key shares; with auto-unseal, of recovery keys.
    pub shares: u8,
    /// Number of shares that are needed together.
    pub threshold: u8,
    /// Paths of OpenPGP public keys, one for each share. Empty if shares are not encrypted.
    pub pgp_keys: Vec<PathBuf>,
}

/// What unseals Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnsealKind {
    /// Key shares.
    Shares,
    /// Another Vault, with these variables of a node.
    Transit(BTreeMap<String, EnvValue>),
    /// A key in Azure Key Vault, with these variables of a node.
    AzureKeyVault(BTreeMap<String, EnvValue>),
}

/// The value of a node's variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// The value itself.
    Text(String),
    /// The secret of the cluster with this name.
    Secret(String),
}

/// What clients of Vault connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    /// The load balancer.
    pub kind: FrontKind,
    /// Port of the load balancer.
    pub port: u16,
}

/// The load balancer before Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FrontKind {
    /// HAProxy on this computer, at 127.0.0.1
    Haproxy,
    /// None: clients get the addresses of all Vault nodes
    None,
    /// A load balancer of Azure
    Azure,
}
