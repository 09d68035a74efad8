//! Begin and end of rollouts.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::manifest::RolloutOutcome;

/// The begin of a rollout, or its take-over by another controller. It is void unless the epoch is
/// the next one of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutBegin {
    /// The id of the cluster, for example `dev-1f2e3d4c`.
    pub cluster: String,
    /// The name of the cluster.
    pub name: String,
    /// The epoch: 1 for the first rollout of the cluster, one more with each begin and take-over.
    pub epoch: u64,
    /// The digest of the plan, an object of the store.
    pub plan: Digest,
    /// Whether it takes over the open rollout. Written only if true.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_over: bool,
}

/// The end of a rollout. It is void unless the epoch is the open one of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutEnd {
    /// The id of the cluster.
    pub cluster: String,
    /// The epoch that ends.
    pub epoch: u64,
    /// How it ended.
    pub outcome: RolloutOutcome,
    /// The digest of the rollout record.
    pub record: Digest,
    /// The digest of the envelope around the rollout record.
    pub envelope: Digest,
}
