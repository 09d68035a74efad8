//! The plan of a rollout: every step with its conditions, complete before the first one runs.
//! It is a record: canonical JSON, kept in the store by its digest, and never changed.
//! If the cluster changes underneath, a new plan follows that names this one as its parent.

mod condition;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, CanonicalError};
use crate::cluster::file::TierName;
use crate::definition::Firmware;
use crate::digest::{Digest, canonical_json};
use crate::manifest::{ImageVersion, Moment};

pub use condition::{Condition, Progress};

/// The schema of new plans.
pub const SCHEMA: &str = "https://vault-bake.dev/rollout-plan/v1";

/// The largest plan, in bytes.
const MAX_BYTES: usize = 1_000_000;

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The unique id of the cluster, as in `dev-1f2e3d4c`.
    pub cluster: String,
    /// The name of the cluster.
    pub name: String,
    /// The time of the inventory that it is based on.
    pub made_at: Moment,
    /// The direction.
    pub purpose: Purpose,
    /// The plan that it follows, if the cluster changed during the rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// The generation of new nodes.
    pub generation: u32,
    /// The choices of the user. Plans that follow keep them.
    pub choices: Choices,
    /// The number of nodes of each tier before the rollout. Plans that follow keep it.
    pub before: BTreeMap<TierName, usize>,
    /// The image of each tier after the rollout.
    pub targets: BTreeMap<TierName, Target>,
    /// All nodes, old and new, by name.
    pub nodes: BTreeMap<String, NodePlan>,
    /// The steps in order.
    pub steps: Vec<Step>,
    /// Remarks for people, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The choices that shape a plan. A resumed rollout has those of its first plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choices {
    /// The number of nodes of each tier.
    pub counts: BTreeMap<TierName, u32>,
    /// The tiers whose nodes are replaced even if they have the target image.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub all_nodes: BTreeSet<TierName>,
    /// The most new nodes of a tier that start side by side. `None` starts all at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<u32>,
    /// The time for which clients use the new nodes before old ones are deleted, in seconds.
    pub soak_s: u64,
    /// The reason to accept a jump of versions that is in no table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_jump_reason: Option<String>,
}

/// The direction of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// To the target images.
    Replace,
    /// Back to the nodes from before the rollout.
    Abort,
}

/// The image of a tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The reference that selected it, as in `vault-server:stable`.
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
}

impl Target {
    /// Returns `image@version`.
    pub fn name(&self) -> String {
        format!("{}@{}", self.image, self.version)
    }
}

/// A node, old or new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePlan {
    /// The tier.
    pub tier: TierName,
    /// The generation.
    pub generation: u32,
    /// The number in its tier and generation, from 1.
    pub number: u32,
    /// The address on the private network.
    pub address: Ipv4Addr,
    /// The name of the image.
    pub image: String,
    /// The version of the image.
    pub version: ImageVersion,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The products of the image with their versions.
    pub releases: BTreeMap<String, String>,
    /// Whether the rollout makes it.
    pub is_new: bool,
}

impl NodePlan {
    /// Returns the version of the tier's product.
    pub fn product_version(&self) -> Option<&str> {
        self.releases.get(self.tier.as_str()).map(String::as_str)
    }
}

/// One step: conditions, one effect, and the conditions that it must reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The effect.
    pub action: Action,
    /// The conditions before the effect.
    pub requires: Vec<Condition>,
    /// The conditions after the effect. The next step waits for them.
    pub gate: Vec<Condition>,
    /// The limit for the gate, in seconds.
    pub gate_s: u64,
    /// The step that undoes the effect, if its gate is not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Action>,
    /// The conditions before the undo. If they are not met, the cluster rests as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo_requires: Vec<Condition>,
}

/// One effect. Each can be repeated: after a crash, a second time changes nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum Action {
    /// Saves a snapshot of Consul's data, which includes Vault's encrypted storage.
    SaveSnapshot,
    /// Makes new nodes and starts them side by side. Nodes that exist are started again.
    Start {
        /// The nodes, all of one tier.
        nodes: Vec<String>,
    },
    /// Unseals new Vault nodes.
    Unseal {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Adds new Vault nodes to the load balancer.
    Admit {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Writes the addresses of the Consul servers that remain after the rollout,
    /// [`Plan::remaining`], into the identities of other nodes.
    RenewIdentities {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Makes a Consul server leave the cluster. If it leads, leadership moves to another server
    /// first, where Consul can do that.
    Leave {
        /// The server.
        node: String,
        /// The new server that leadership moves to.
        successor: String,
    },
    /// Drains standbys of Vault in the load balancer, and stops them in order, side by side: one
    /// takes up to 16 s.
    Stop {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// The point of no return: stops the active Vault node in order.
    HandOver {
        /// The active node.
        node: String,
    },
    /// Waits while clients use the new nodes.
    Soak {
        /// The time in seconds.
        seconds: u64,
    },
    /// Starts stopped Vault nodes again, to go back.
    Restart {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Deletes nodes: disks, addresses, tokens, places in the load balancer, and what Consul lists
    /// of crashed ones. Nodes that run, as at an undo, leave or stop in order first, one by one.
    Delete {
        /// The nodes.
        nodes: Vec<String>,
    },
}

impl Action {
    /// Returns the nodes that it changes.
    pub fn nodes(&self) -> Vec<&str> {
        match self {
            Self::SaveSnapshot | Self::Soak { .. } => Vec::new(),
            Self::Start { nodes }
            | Self::Unseal { nodes }
            | Self::Admit { nodes }
            | Self::RenewIdentities { nodes }
            | Self::Stop { nodes }
            | Self::Restart { nodes }
            | Self::Delete { nodes } => nodes.iter().map(String::as_str).collect(),
            Self::Leave { node, .. } | Self::HandOver { node } => vec![node],
        }
    }

    /// Returns the kind, as in the stored plan.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SaveSnapshot => "save-snapshot",
            Self::Start { .. } => "start",
            Self::Unseal { .. } => "unseal",
            Self::Admit { .. } => "admit",
            Self::RenewIdentities { .. } => "renew-identities",
            Self::Leave { .. } => "leave",
            Self::Stop { .. } => "stop",
            Self::HandOver { .. } => "hand-over",
            Self::Soak { .. } => "soak",
            Self::Restart { .. } => "restart",
            Self::Delete { .. } => "delete",
        }
    }

    /// Whether it takes something away that serves. Before it, both locks are read again.
    pub fn is_destructive(&self) -> bool {
        matches!(
            self,
            Self::Leave { .. } | Self::Stop { .. } | Self::HandOver { .. } | Self::Delete { .. }
        )
    }
}

impl Plan {
    /// Returns the canonical JSON, the only stored form.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_json(self)
    }

    /// Returns the digest, the name of the plan.
    pub fn digest(&self) -> Digest {
        Digest::hash_bytes(self.to_bytes())
    }

    /// Reads a stored plan.
    pub fn parse(bytes: &[u8]) -> Result<Self, CanonicalError> {
        let value = canonical::parse(bytes, MAX_BYTES)?;
        Ok(serde_json::from_value(value)?)
    }

    /// Returns the names of the nodes of a tier, old or new.
    pub fn names(&self, tier: TierName, is_new: bool) -> BTreeSet<String> {
        let nodes = self.nodes.iter();
        let nodes = nodes.filter(|(_, node)| node.tier == tier && node.is_new == is_new);
        nodes.map(|(name, _)| name.clone()).collect()
    }

    /// Returns the names of the nodes of a tier that exist after all steps.
    pub fn remaining(&self, tier: TierName) -> BTreeSet<String> {
        let deleted = |name: &String| {
            self.steps.iter().any(
                |step| matches!(&step.action, Action::Delete { nodes } if nodes.contains(name)),
            )
        };
        let nodes = self.nodes.iter().filter(|(_, node)| node.tier == tier);
        let names = nodes.map(|(name, _)| name);
        names.filter(|name| !deleted(name)).cloned().collect()
    }

    /// Returns the manifests of the images that new nodes get.
    pub fn new_images(&self) -> Vec<Digest> {
        let new = self.nodes.values().filter(|node| node.is_new);
        let manifests: BTreeSet<Digest> = new.map(|node| node.manifest).collect();
        manifests.into_iter().collect()
    }

    /// Whether an abort can go back after so many steps were begun: Vault's data cannot, once a new
    /// node of another version may have taken over.
    pub fn goes_back(&self, begun: usize) -> bool {
        if self.purpose == Purpose::Abort || !self.changes_vault() {
            return true;
        }
        let hands_over = |step: &Step| matches!(step.action, Action::HandOver { .. });
        match self.steps.iter().position(hands_over) {
            Some(hand_over) => begun <= hand_over,
            // A plan without a hand-over follows one that had it.
            None => self.names(TierName::Vault, true).is_empty(),
        }
    }

    /// Whether a Vault node of another version than the active one takes over in it.
    pub fn changes_vault(&self) -> bool {
        let versions: BTreeSet<_> = self
            .nodes
            .values()
            .filter(|node| node.tier == TierName::Vault)
            .map(NodePlan::product_version)
            .collect();
        versions.len() > 1
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |nodes: &[String]| nodes.join(", ");
        match self {
            Self::SaveSnapshot => f.write_str("save a snapshot of Consul"),
            Self::Start { nodes } => write!(f, "start {}", list(nodes)),
            Self::Unseal { nodes } => write!(f, "unseal {}", list(nodes)),
            Self::Admit { nodes } => write!(f, "send clients to {}", list(nodes)),
            Self::RenewIdentities { nodes } => {
                write!(f, "write new Consul addresses to {}", list(nodes))
            }
            Self::Leave { node, .. } => write!(f, "retire the server {node}"),
            Self::Stop { nodes } => write!(f, "drain and stop {}", list(nodes)),
            Self::HandOver { node } => write!(f, "hand over from {node}"),
            Self::Soak { seconds } => write!(f, "watch the new nodes for {seconds} s"),
            Self::Restart { nodes } => write!(f, "start {} again", list(nodes)),
            Self::Delete { nodes } => write!(f, "delete {}", list(nodes)),
        }
    }
}
