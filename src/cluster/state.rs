//! Keeps what a cluster on this computer consists of: `cluster.json` in the cluster's folder.
//! The folder is locked while a command changes the cluster.
//! The file exists before anything else of the cluster, and is deleted after everything else.

mod error;
mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::file::{Subnet, TierName};
use super::secrets::SecretName;
use crate::definition::Firmware;
use crate::digest::Digest;
use crate::manifest::ImageVersion;
use crate::nodes::Site;

pub use error::StateError;
pub(super) use error::begin_anew;
pub use folder::{StateFolder, StateLock, folders, read_all};

/// The name of the file in the folder of a cluster.
pub const FILE: &str = "cluster.json";

/// The file that a command locks while it changes the cluster. It has the id of the cluster, for
/// the case that the state is lost.
const LOCK: &str = "lock";

/// The content of `cluster.json`. It has no secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The version of this format: 1.
    pub schema: u32,
    /// The unique id: the name and eight random hex digits.
    pub id: String,
    /// The name of the cluster.
    pub name: String,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The progress of the cluster as a whole.
    pub phase: Phase,
    /// The platform that runs the nodes.
    pub platform: PlatformKind,
    /// The addresses of the private network.
    pub subnet: Subnet,
    /// The nodes by name.
    pub nodes: BTreeMap<String, NodeState>,
    /// The highest generation of any node so far.
    #[serde(default)]
    pub generation: u32,
    /// The highest version of each product that ever served, by its name.
    #[serde(default)]
    pub highest: BTreeMap<String, String>,
    /// The names of the secrets that were made. One that is absent is lost, and not made again.
    #[serde(default)]
    pub secrets: BTreeSet<String>,
    /// The epoch of the last rollout whose nodes this state has.
    #[serde(default)]
    pub epoch: u64,
    /// The rollout that this computer controls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<OpenRollout>,
}

/// A rollout that was begun and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRollout {
    /// The digest of the first plan.
    pub plan: Digest,
    /// The epoch of the controller in the store's log.
    pub epoch: u64,
}

/// The part of a node's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeStage {
    /// It serves, or should.
    #[default]
    Serving,
    /// A rollout stopped it. It starts again only if the rollout is aborted.
    Stopped,
    /// A Consul server that left its cluster. It must not start again: its data are old.
    Retired,
}

impl NodeStage {
    /// Whether the node serves, or should.
    pub fn is_serving(&self) -> bool {
        *self == Self::Serving
    }
}

/// The progress of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It was never complete. No user has a key of it, so its nodes may be made again.
    Creating,
    /// It was complete once. Its data must not be lost.
    Created,
    /// Its removal began.
    Removing,
}

/// What runs the nodes of a cluster on this computer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformKind {
    /// Containers of `systemd-nspawn`.
    Containers,
    /// QEMU VMs.
    Machines,
}

impl PlatformKind {
    /// Returns the value in `cluster.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Containers => "containers",
            Self::Machines => "machines",
        }
    }
}

/// A node and the image that it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeState {
    /// The tier.
    pub tier: TierName,
    /// The generation: 1 for the first nodes; each rollout adds one.
    pub generation: u32,
    /// The number in its tier and generation, from 1.
    pub number: u32,
    /// The address on the private network.
    pub address: Ipv4Addr,
    /// The reference in `cluster.toml` when the node was made, as in `vault-server:stable`.
    pub reference: String,
    /// The name of the image.
    pub image: String,
    /// The version of the image.
    pub version: ImageVersion,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The digest of the captured disk.
    pub artifact: Digest,
    /// The firmware that boots the disk.
    pub firmware: Firmware,
    /// The products of the image with their versions.
    pub releases: BTreeMap<String, String>,
    /// The part of its life. Absent while it serves.
    #[serde(default, skip_serializing_if = "NodeStage::is_serving")]
    pub stage: NodeStage,
}

impl State {
    /// Returns the private network and the folder of the cluster.
    pub fn site(&self, folder: &StateFolder) -> Site {
        Site {
            folder: folder.path().to_owned(),
            id: self.id.clone(),
            gateway: self.subnet.gateway(),
            prefix: self.subnet.prefix(),
        }
    }

    /// Whether a secret was made before. Old states do not name the secrets of a complete cluster.
    pub fn has_made(&self, secret: &SecretName) -> bool {
        let is_unnamed = self.secrets.is_empty() && self.phase != Phase::Creating;
        is_unnamed || self.secrets.contains(&secret.to_string())
    }

    /// Returns the nodes of a tier that serve, or should, by name.
    pub fn serving(&self, tier: TierName) -> impl Iterator<Item = (&String, &NodeState)> {
        let serves = move |node: &NodeState| node.tier == tier && node.stage.is_serving();
        self.nodes.iter().filter(move |(_, node)| serves(node))
    }

    /// Returns the addresses of the nodes of a tier that serve, or should.
    pub fn addresses(&self, tier: TierName) -> Vec<Ipv4Addr> {
        self.serving(tier).map(|(_, node)| node.address).collect()
    }
}
