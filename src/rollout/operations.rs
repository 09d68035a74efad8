//! What a rollout can see of a cluster and do to it: the seam between the executor and the world.
//! The product implements it for nodes on this computer; tests implement it with a model.

use std::time::Duration;

use super::{Action, Condition, Observation, Plan};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::wait::Interrupt;

/// A cluster that nodes are replaced in.
pub trait Operations {
    /// The begin of an interval of the canary.
    type Mark;

    /// Asks every part of the cluster once, within seconds. Never changes anything.
    fn observe(&self, plan: &Plan) -> impl Future<Output = Observation>;

    /// Asks the parts of the cluster that `conditions` depend on. Others may be unknown.
    fn observe_for(
        &self,
        plan: &Plan,
        _conditions: &[Condition],
    ) -> impl Future<Output = Observation> {
        self.observe(plan)
    }

    /// Performs an effect. A second call after a crash of the first changes nothing more.
    fn perform(
        &self,
        action: &Action,
        plan: &Plan,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Evidence, EffectError>>;

    /// Returns the last lines of a node that an action started and that does not serve, for its
    /// error.
    fn console(&self, _action: &Action) -> Vec<String> {
        Vec::new()
    }

    /// Confirms that both locks are still held with this controller's epoch.
    fn fence(&self) -> impl Future<Output = Result<(), EffectError>>;

    /// Waits.
    fn pause(&self, time: Duration) -> impl Future<Output = ()>;

    /// Returns the time since the executor started.
    fn elapsed(&self) -> Duration;

    /// Returns the figures of the canary since its start.
    fn canary(&self) -> Figures;

    /// Marks the begin of an interval for [`Self::since`].
    fn mark(&self) -> Self::Mark;

    /// Returns the figures of the canary since a mark. Reads confirmed writes back first.
    fn since(&self, mark: &Self::Mark) -> impl Future<Output = Figures>;
}

/// What an effect leaves behind for the journal and the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The digest and the size in bytes of Consul's snapshot.
    pub snapshot: Option<(Digest, u64)>,
    /// Whether a node ended in another way than in order.
    pub is_unclean: bool,
    /// Remarks for people, one sentence each.
    pub notes: Vec<String>,
}

/// An effect that was not performed, or not completely.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EffectError {
    /// It failed. Nothing else will make it succeed but a change by the user.
    #[error("{message}")]
    Failed {
        /// The message.
        message: String,
        /// What to do about it, as an imperative.
        hint: Option<String>,
    },
    /// Vault's key shares are needed and were not given.
    #[error("cannot unseal {node}: key shares are needed")]
    UnsealNeeded {
        /// The node.
        node: String,
    },
    /// The cluster or the store could not be asked. Whether the effect happened is unknown.
    #[error("cannot reach the cluster: {0}")]
    Inconclusive(String),
    /// The store forbids it. Nothing was changed.
    #[error("{message}")]
    Refused {
        /// The message.
        message: String,
        /// What to do about it, as an imperative.
        hint: String,
    },
    /// Another controller took the rollout over.
    #[error("cannot continue: another controller took the rollout over with epoch {epoch}")]
    TakenOver {
        /// Its epoch.
        epoch: u64,
    },
    /// An interrupt by the user.
    #[error(transparent)]
    Interrupted(#[from] crate::wait::Interrupted),
}

/// The figures of the canary, both kinds of clients together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// The number of requests.
    pub requests: u64,
    /// The number of requests that were writes.
    pub writes: u64,
    /// The number of requests that were not answered within their deadline.
    pub failed: u64,
    /// The number of requests whose first answer was an error.
    pub retried: u64,
    /// The number of confirmed writes that could not be read back, or were read with another value.
    pub lost: u64,
    /// The longest time between two answers, in milliseconds.
    pub longest_gap_ms: u64,
    /// The longest time from the first try of a request to its end, in milliseconds. 0 in journals
    /// of older versions.
    #[serde(default)]
    pub slowest_ms: u64,
}
