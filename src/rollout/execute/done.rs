//! Decides from an observation alone whether the cluster has an effect behind it.
//! A new controller begins with it, and believes no journal.

use crate::cluster::file::TierName;
use crate::product::vault::NodeState;
use crate::rollout::{Action, Condition, Observation, Plan, Progress};

impl Action {
    /// Whether an effect that happened can be observed until the end of the rollout.
    pub(super) fn stays_done(&self) -> bool {
        !matches!(
            self,
            Self::SaveSnapshot | Self::Soak { .. } | Self::RenewIdentities { .. }
        )
    }
}

/// Whether an action has happened and still has its effect.
pub(super) fn is_done(action: &Action, seen: &Observation, plan: &Plan) -> bool {
    let is_met = |condition: Condition| condition.evaluate(seen, plan) == Progress::Met;
    let set = |nodes: &[String]| nodes.iter().cloned().collect();
    match action {
        Action::SaveSnapshot => is_met(Condition::SnapshotSaved),
        Action::Start { nodes } => nodes.iter().all(|node| joined(node, seen, plan)),
        Action::Unseal { nodes } => nodes.iter().all(|node| is_unsealed(node, seen)),
        // The load balancer keeps the place of a node that crashed.
        Action::Admit { nodes } => seen.front.as_ref().is_ok_and(|front| {
            let is_ready = |node: &String| front.get(node).is_some_and(|view| view.is_ready);
            let mut nodes = nodes.iter();
            nodes.all(|node| is_unsealed(node, seen) && (!seen.has_front || is_ready(node)))
        }),
        Action::RenewIdentities { nodes } => {
            is_met(Condition::IdentitiesRenewed { nodes: set(nodes) })
        }
        Action::Leave { node, .. } => is_met(Condition::LeftConsul { node: node.clone() }),
        Action::Stop { nodes } => nodes.iter().all(|node| is_stopped(node, seen, plan)),
        Action::HandOver { node } => is_stopped(node, seen, plan),
        Action::Soak { .. } => false,
        Action::Restart { nodes } => nodes.iter().all(|node| is_unsealed(node, seen)),
        Action::Delete { nodes } => is_met(Condition::Deleted { nodes: set(nodes) }),
    }
}

/// Whether a Vault node was stopped.
fn is_stopped(node: &str, seen: &Observation, plan: &Plan) -> bool {
    let node = node.to_owned();
    Condition::Stopped { node }.evaluate(seen, plan) == Progress::Met
}

/// Whether a new node runs and its product has joined.
fn joined(node: &str, seen: &Observation, plan: &Plan) -> bool {
    let is_running = seen.nodes.get(node).is_some_and(|view| view.is_running);
    let tier = plan.nodes.get(node).map(|node| node.tier);
    is_running
        && match tier {
            Some(TierName::Consul) => seen.consul.as_ref().is_ok_and(|consul| {
                let server = consul.servers.get(node);
                server.is_some_and(|server| server.is_voter)
            }),
            _ => matches!(seen.vault.get(node), Some(Ok(_))),
        }
}

fn is_unsealed(node: &str, seen: &Observation) -> bool {
    matches!(
        seen.vault.get(node),
        Some(Ok(view)) if matches!(view.state, NodeState::Active | NodeState::Standby | NodeState::PerformanceStandby)
    )
}
