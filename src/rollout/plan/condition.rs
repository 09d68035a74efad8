//! The conditions of steps, each a question to one [`Observation`].
//! Returns whether a condition is met, not met yet, unknown, or met never without a new plan.

mod consul;
mod vault;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Plan;
use crate::rollout::observation::{Observation, Seen};
use consul::{follower, left_consul, voters};
use vault::{active, active_among, answering, down, serving, standby, stopped};

/// A question to an observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "condition",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum Condition {
    /// These servers of Consul vote, are healthy and have their planned version, and one server
    /// leads. There are no other servers, and as many may fail as this number of servers allows.
    Voters {
        /// The servers.
        servers: BTreeSet<String>,
        /// Other servers that may be there in any state, because an effect changes them.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        besides: BTreeSet<String>,
    },
    /// A server left Consul and does not run.
    LeftConsul {
        /// The server.
        node: String,
    },
    /// A server does not lead Consul. If it does, the plan does not fit any more: it leaves last.
    Follower {
        /// The server.
        node: String,
    },
    /// A snapshot of Consul's data was saved.
    SnapshotSaved,
    /// Nodes run, and their Vault answers with the planned version, sealed or not.
    Answering {
        /// The nodes.
        nodes: BTreeSet<String>,
    },
    /// Nodes are unsealed members of the cluster that the active node hears, or active.
    Serving {
        /// The nodes.
        nodes: BTreeSet<String>,
    },
    /// One of these nodes is active: it holds Vault's lock, Consul lists it, no other node claims
    /// to be active, and the canary reads and writes.
    ActiveAmong {
        /// The nodes.
        nodes: BTreeSet<String>,
    },
    /// A node is a standby. If it is active, the plan does not fit any more.
    Standby {
        /// The node.
        node: String,
    },
    /// A node is active. If another one is, the plan does not fit any more.
    Active {
        /// The node.
        node: String,
    },
    /// The load balancer sends clients to these nodes.
    InFront {
        /// The nodes.
        nodes: BTreeSet<String>,
    },
    /// A Vault node was stopped: it does not run, and neither Consul nor Vault lists it.
    Stopped {
        /// The node.
        node: String,
    },
    /// Nodes do not run, and none of them holds Vault's lock. Consul may still list them.
    Down {
        /// The nodes.
        nodes: BTreeSet<String>,
    },
    /// The identities of nodes have the addresses of the new Consul servers.
    IdentitiesRenewed {
        /// The nodes.
        nodes: BTreeSet<String>,
    },
    /// The nodes do not exist on the platform or in the load balancer.
    Deleted {
        /// The nodes.
        nodes: BTreeSet<String>,
    },
}

/// The answer to a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is met.
    Met,
    /// It is not met, with the difference.
    Unmet(String),
    /// It cannot be known now, with the reason.
    Unknown(String),
    /// Another node took over: a new plan is needed, with the difference.
    Changed(String),
}

impl Progress {
    /// Returns the first of the answers that is not [`Self::Met`].
    pub fn all(answers: impl IntoIterator<Item = Self>) -> Self {
        let mut answers = answers.into_iter();
        answers
            .find(|answer| *answer != Self::Met)
            .unwrap_or(Self::Met)
    }

    fn require(is_met: bool, unmet: impl FnOnce() -> String) -> Self {
        if is_met {
            Self::Met
        } else {
            Self::Unmet(unmet())
        }
    }
}

impl Condition {
    /// Compares the condition with an observation of the cluster of `plan`.
    pub fn evaluate(&self, seen: &Observation, plan: &Plan) -> Progress {
        match self {
            Self::Voters { servers, besides } => voters(seen, (servers, besides), plan),
            Self::LeftConsul { node } => left_consul(node, seen),
            Self::Follower { node } => follower(node, seen),
            Self::SnapshotSaved => {
                Progress::require(seen.has_snapshot, || "no snapshot was saved".to_owned())
            }
            Self::Answering { nodes } => {
                Progress::all(nodes.iter().map(|node| answering(node, seen, plan)))
            }
            Self::Serving { nodes } => {
                Progress::all(nodes.iter().map(|node| serving(node, seen, plan)))
            }
            Self::ActiveAmong { nodes } => active_among(nodes, seen),
            Self::Standby { node } => standby(node, seen),
            Self::Active { node } => active(node, seen),
            Self::InFront { nodes } => in_front(nodes, seen),
            Self::Stopped { node } => stopped(node, seen),
            Self::Down { nodes } => down(nodes, seen),
            Self::IdentitiesRenewed { nodes } => {
                let missing = nodes.iter().find(|node| {
                    let exists = seen.nodes.contains_key(*node);
                    exists && !seen.renewed.contains(*node)
                });
                Progress::require(missing.is_none(), || {
                    format!("{} has an old identity", missing.map_or("", |node| node))
                })
            }
            Self::Deleted { nodes } => deleted(nodes, seen),
        }
    }
}

fn known<T>(part: &Seen<T>, ask: impl FnOnce(&T) -> Progress) -> Progress {
    match part {
        Ok(part) => ask(part),
        Err(reason) => Progress::Unknown(reason.clone()),
    }
}

fn in_front(nodes: &BTreeSet<String>, seen: &Observation) -> Progress {
    if !seen.has_front {
        return Progress::Met;
    }
    known(&seen.front, |front| {
        Progress::all(nodes.iter().map(|node| match front.get(node) {
            None => Progress::Unmet(format!("the load balancer does not know {node}")),
            Some(view) if !view.is_ready => {
                Progress::Unmet(format!("the load balancer holds {node} back"))
            }
            Some(view) => Progress::require(view.is_up == Some(true), || {
                format!("the load balancer's probe of {node} has not succeeded")
            }),
        }))
    })
}

fn deleted(nodes: &BTreeSet<String>, seen: &Observation) -> Progress {
    if let Some(node) = nodes.iter().find(|node| seen.nodes.contains_key(*node)) {
        return Progress::Unmet(format!("{node} still exists"));
    }
    if !seen.has_front {
        return Progress::Met;
    }
    known(&seen.front, |front| {
        let node = nodes.iter().find(|node| front.contains_key(*node));
        Progress::require(node.is_none(), || {
            format!(
                "the load balancer still knows {}",
                node.map_or("", |node| node)
            )
        })
    })
}
