//! Why a rollout cannot be planned.

use crate::cluster::file::TierName;

/// A rollout that cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A tier without a target image or a number of nodes.
    #[error("cannot plan the {tier} nodes: the request does not name them")]
    MissingTier {
        /// The tier.
        tier: TierName,
    },
    /// Too few addresses.
    #[error("cannot plan new {tier} nodes: the cluster's network has no free address for them")]
    NoAddress {
        /// The tier.
        tier: TierName,
    },
    /// No Vault node is active.
    #[error("cannot plan the Vault nodes: none of them is active")]
    NoActiveNode,
    /// No Consul server leads.
    #[error("cannot plan the Consul servers: none of them leads")]
    NoLeader,
    /// The abort of a rollout goes back. It has no way forward.
    #[error("cannot plan the way forward: the rollout is being aborted")]
    FollowsAbort,
    /// A new Vault node of another version was active.
    #[error("cannot abort: Vault {new} on {active} is active, and its data may not fit {old}")]
    HandedOver {
        /// The active node.
        active: String,
        /// Its version.
        new: String,
        /// The version before the rollout.
        old: String,
    },
    /// Old Vault nodes are deleted, and a new one is active.
    #[error("cannot abort: {} was deleted", nodes.join(", "))]
    OldDeleted {
        /// The deleted nodes.
        nodes: Vec<String>,
    },
}

impl PlanError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::MissingTier { .. } => return None,
            Self::NoAddress { .. } => {
                "Delete leftover nodes, or make the cluster again with a larger subnet."
            }
            Self::NoActiveNode => {
                "Look at `vault-bake cluster status`, unseal the nodes with `vault-bake cluster up`, \
                 and repeat the command."
            }
            Self::NoLeader => {
                "Look at `vault-bake cluster status`, and start servers with `vault-bake cluster up`. \
                 If most of them are lost for good, see \"Back to an older version\" in \
                 docs/rollout.md: only a new cluster helps."
            }
            Self::FollowsAbort => "Run `vault-bake rollout abort` again to complete it.",
            Self::HandedOver { .. } => {
                "Run `vault-bake rollout resume` to complete it. This cluster does not go back to an \
                 older Vault: if the new one has a defect, roll out a later version. Older data need \
                 a new cluster, see \"Back to an older version\" in docs/rollout.md."
            }
            Self::OldDeleted { .. } => {
                "Run `vault-bake rollout resume` to complete it, then start a rollout to the older \
                 manifest."
            }
        };
        Some(text.to_owned())
    }
}
