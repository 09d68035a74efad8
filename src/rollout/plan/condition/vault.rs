//! Conditions of Vault's nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Progress, known};
use crate::product::vault::NodeState;
use crate::rollout::observation::{ActiveView, Observation, Seen, VaultView};
use crate::rollout::{NodePlan, Plan};

/// The age of a standby's last message at which the active node still counts it. Standbys send one
/// each second.
const ECHO: Duration = Duration::from_secs(10);

pub(super) fn answering(node: &str, seen: &Observation, plan: &Plan) -> Progress {
    if !seen.nodes.get(node).is_some_and(|node| node.is_running) {
        return Progress::Unmet(format!("{node} does not run"));
    }
    let Some(view) = seen.vault.get(node) else {
        return Progress::Unmet(format!("Vault on {node} does not answer"));
    };
    let view = match view {
        Ok(view) => view,
        // A service that starts refuses connections: that is no reason to give up asking.
        Err(reason) => return Progress::Unmet(format!("Vault on {node}: {reason}")),
    };
    let expected = plan.nodes.get(node).and_then(NodePlan::product_version);
    let actual = view.version.as_deref();
    if let (Some(expected), Some(actual)) = (expected, actual)
        && expected != actual
    {
        return Progress::Unmet(format!("{node} runs Vault {actual}, expected {expected}"));
    }
    Progress::require(view.state != NodeState::Uninitialized, || {
        format!("Vault on {node} finds no initialised storage")
    })
}

pub(super) fn serving(node: &str, seen: &Observation, plan: &Plan) -> Progress {
    match answering(node, seen, plan) {
        Progress::Met => {}
        other => return other,
    }
    let Some(Ok(view)) = seen.vault.get(node) else {
        return Progress::Unmet(format!("Vault on {node} does not answer"));
    };
    match view.state {
        NodeState::Active => return Progress::Met,
        NodeState::Standby | NodeState::PerformanceStandby => {}
        NodeState::Sealed => return Progress::Unmet(format!("{node} is sealed")),
        _ => return Progress::Unmet(format!("{node} cannot reach the active node")),
    }
    known(&seen.active, |active| {
        if view.cluster_id.is_some() && view.cluster_id != active.cluster_id {
            return Progress::Unmet(format!("{node} belongs to another Vault cluster"));
        }
        match active.listed.get(node) {
            None => Progress::Unmet(format!("the active node does not list {node}")),
            Some(None) => Progress::Met,
            Some(Some(echo)) => Progress::require(*echo < ECHO, || {
                format!("{node} sent its last message {} s ago", echo.as_secs())
            }),
        }
    })
}

/// Returns the one node that is active by its own answer, Vault's lock and Consul's catalog.
fn one_active<'a>(seen: &'a Observation, active: &'a ActiveView) -> Result<&'a str, Progress> {
    let claims = |(name, view): (&'a String, &'a Seen<_>)| {
        let view: &VaultView = view.as_ref().ok()?;
        (view.state == NodeState::Active).then_some(name.as_str())
    };
    let claiming: Vec<&str> = seen.vault.iter().filter_map(claims).collect();
    let [node] = claiming.as_slice() else {
        let text = match claiming.as_slice() {
            [] => "no node is active".to_owned(),
            nodes => format!("{} say that they are active", nodes.join(" and ")),
        };
        return Err(Progress::Unmet(text));
    };
    if active.lock_holder.as_deref() != Some(*node) {
        let holder = active.lock_holder.as_deref().unwrap_or("no node");
        return Err(Progress::Unmet(format!(
            "{node} is active, but {holder} holds Vault's lock"
        )));
    }
    Ok(node)
}

pub(super) fn active_among(nodes: &BTreeSet<String>, seen: &Observation) -> Progress {
    known(&seen.active, |active| {
        let node = match one_active(seen, active) {
            Ok(node) => node,
            Err(progress) => return progress,
        };
        if !nodes.contains(node) {
            return Progress::Unmet(format!("{node} is active"));
        }
        let registered: Vec<&str> = active
            .registered_active
            .iter()
            .map(String::as_str)
            .collect();
        if registered != [node] {
            let found = registered.join(" and ");
            return Progress::Unmet(format!("Consul lists `{found}` as active, expected {node}"));
        }
        match &seen.canary {
            Ok(()) => Progress::Met,
            Err(reason) => Progress::Unmet(format!("the canary fails: {reason}")),
        }
    })
}

pub(super) fn standby(node: &str, seen: &Observation) -> Progress {
    known(&seen.active, |active| match one_active(seen, active) {
        Ok(active) if active == node => {
            Progress::Changed(format!("{node} has become the active node"))
        }
        Ok(_) => Progress::Met,
        Err(progress) => progress,
    })
}

pub(super) fn active(node: &str, seen: &Observation) -> Progress {
    known(&seen.active, |active| match one_active(seen, active) {
        Ok(active) if active == node => Progress::Met,
        Ok(active) => Progress::Changed(format!("{active} has become the active node")),
        Err(progress) => progress,
    })
}

pub(super) fn stopped(node: &str, seen: &Observation) -> Progress {
    if seen.nodes.get(node).is_some_and(|node| node.is_running) {
        return Progress::Unmet(format!("{node} still runs"));
    }
    known(&seen.active, |active| {
        if active.lock_holder.as_deref() == Some(node) {
            return Progress::Unmet(format!("{node} still holds Vault's lock"));
        }
        // The active node forgets a standby only 10 s after its last message, so its list says
        // nothing about a node that does not run.
        Progress::require(!active.registered.contains(node), || {
            format!("Consul still lists Vault on {node}")
        })
    })
}

pub(super) fn down(nodes: &BTreeSet<String>, seen: &Observation) -> Progress {
    let runs = |node: &&String| seen.nodes.get(*node).is_some_and(|node| node.is_running);
    if let Some(node) = nodes.iter().find(runs) {
        return Progress::Unmet(format!("{node} still runs"));
    }
    known(&seen.active, |active| {
        let holder = active.lock_holder.as_ref();
        let holder = holder.filter(|holder| nodes.contains(*holder));
        Progress::require(holder.is_none(), || {
            format!(
                "{} still holds Vault's lock",
                holder.map_or("", |node| node)
            )
        })
    })
}
