//! The conditions of steps, each a question to one [`Observation`].
//! Returns whether a condition is met, not met yet, unknown, or met never without a new plan.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::observation::{ActiveView, ConsulView, MemberView, Observation, Seen, ServerView};
use super::{NodePlan, Plan};
use crate::product::vault::NodeState;

/// The age of a standby's last message at which the active node still counts it. Standbys send one
/// each second.
const ECHO: Duration = Duration::from_secs(10);

/// Autopilot's default for the entries that a healthy server may be behind.
const MAX_BEHIND: u64 = 250;

/// A question to an observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "condition",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum Condition {
    /// Consul has these voters and no other servers. All are healthy, have their planned version,
    /// and one leads. As many may fail as this number of servers allows.
    Voters {
        /// The servers.
        servers: BTreeSet<String>,
    },
    /// A server left Consul and does not run.
    LeftConsul {
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
            Self::Voters { servers } => known(&seen.consul, |consul| voters(consul, servers, plan)),
            Self::LeftConsul { node } => left_consul(node, seen),
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

fn voters(consul: &ConsulView, wanted: &BTreeSet<String>, plan: &Plan) -> Progress {
    let servers = &consul.servers;
    let extra = servers.keys().find(|name| !wanted.contains(*name));
    if let Some(extra) = extra {
        return Progress::Unmet(format!("{extra} is still a server"));
    }
    for name in wanted {
        let Some(server) = servers.get(name) else {
            return Progress::Unmet(format!("{name} is not a server yet"));
        };
        if let Some(difference) = server_difference(name, server, consul, plan.nodes.get(name)) {
            return Progress::Unmet(difference);
        }
    }
    let leaders = servers.values().filter(|server| server.is_leader).count();
    if leaders != 1 {
        return Progress::Unmet(format!("{leaders} servers lead"));
    }
    let full = u64::try_from(wanted.len().saturating_sub(1) / 2).unwrap_or(u64::MAX);
    Progress::require(consul.tolerance >= full, || {
        format!("{} servers may fail, expected {full}", consul.tolerance)
    })
}

/// Returns why a server is not a healthy voter, if it is none.
fn server_difference(
    name: &str,
    server: &ServerView,
    consul: &ConsulView,
    plan: Option<&NodePlan>,
) -> Option<String> {
    if !server.is_voter {
        return Some(format!("{name} has no vote yet"));
    }
    let Some(health) = &server.health else {
        return Some(format!("autopilot does not know {name}"));
    };
    if !health.is_healthy || consul.members.get(name) != Some(&MemberView::Alive) {
        return Some(format!("{name} is not healthy"));
    }
    if health.behind > MAX_BEHIND {
        return Some(format!("{name} is {} log entries behind", health.behind));
    }
    if health.stable_for < consul.stabilization {
        let seconds = health.stable_for.as_secs();
        return Some(format!("{name} has been healthy for {seconds} s only"));
    }
    let expected = plan.and_then(NodePlan::product_version);
    expected
        .filter(|expected| *expected != health.version)
        .map(|expected| format!("{name} runs Consul {}, expected {expected}", health.version))
}

fn left_consul(node: &str, seen: &Observation) -> Progress {
    let is_running = seen.nodes.get(node).is_some_and(|node| node.is_running);
    if is_running {
        return Progress::Unmet(format!("{node} still runs"));
    }
    known(&seen.consul, |consul| {
        if consul.servers.contains_key(node) {
            return Progress::Unmet(format!("{node} is still a server"));
        }
        let alive = consul.members.get(node) == Some(&MemberView::Alive);
        Progress::require(!alive, || format!("{node} is still a member"))
    })
}

fn answering(node: &str, seen: &Observation, plan: &Plan) -> Progress {
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

fn serving(node: &str, seen: &Observation, plan: &Plan) -> Progress {
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
        let view: &super::observation::VaultView = view.as_ref().ok()?;
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

fn active_among(nodes: &BTreeSet<String>, seen: &Observation) -> Progress {
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

fn standby(node: &str, seen: &Observation) -> Progress {
    known(&seen.active, |active| match one_active(seen, active) {
        Ok(active) if active == node => {
            Progress::Changed(format!("{node} has become the active node"))
        }
        Ok(_) => Progress::Met,
        Err(progress) => progress,
    })
}

fn active(node: &str, seen: &Observation) -> Progress {
    known(&seen.active, |active| match one_active(seen, active) {
        Ok(active) if active == node => Progress::Met,
        Ok(active) => Progress::Changed(format!("{active} has become the active node")),
        Err(progress) => progress,
    })
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

fn stopped(node: &str, seen: &Observation) -> Progress {
    if seen.nodes.get(node).is_some_and(|node| node.is_running) {
        return Progress::Unmet(format!("{node} still runs"));
    }
    known(&seen.active, |active| {
        if active.lock_holder.as_deref() == Some(node) {
            return Progress::Unmet(format!("{node} still holds Vault's lock"));
        }
        if active.registered.contains(node) {
            return Progress::Unmet(format!("Consul still lists Vault on {node}"));
        }
        let is_recent = |echo: &Option<Duration>| echo.is_none_or(|echo| echo < ECHO);
        let is_listed = active.listed.get(node).is_some_and(is_recent);
        Progress::require(!is_listed, || format!("the active node still lists {node}"))
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
