//! Conditions of Consul's servers.

use std::collections::BTreeSet;

use super::{Progress, known};
use crate::rollout::observation::{ConsulView, MemberView, Observation, ServerView};
use crate::rollout::{NodePlan, Plan};
use crate::terminal::counted;

/// Autopilot's default for the entries that a healthy server may be behind.
const MAX_BEHIND: u64 = 250;

pub(super) fn voters(
    seen: &Observation,
    (wanted, besides): (&BTreeSet<String>, &BTreeSet<String>),
    plan: &Plan,
) -> Progress {
    let runs = |name: &&String| seen.nodes.get(*name).is_some_and(|node| node.is_running);
    if let Some(name) = wanted.iter().find(|name| !runs(name)) {
        return Progress::Unmet(format!("{name} does not run"));
    }
    known(&seen.consul, |consul| {
        voting(consul, (wanted, besides), plan)
    })
}

fn voting(
    consul: &ConsulView,
    (wanted, besides): (&BTreeSet<String>, &BTreeSet<String>),
    plan: &Plan,
) -> Progress {
    let servers = &consul.servers;
    let mut names = servers.keys();
    let extra = names.find(|name| !wanted.contains(*name) && !besides.contains(*name));
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
    if !besides.is_empty() {
        // The tolerance also counts servers that come or go now.
        return Progress::Met;
    }
    let full = u64::try_from(wanted.len().saturating_sub(1) / 2).unwrap_or(u64::MAX);
    Progress::require(consul.tolerance >= full, || {
        format!(
            "{} may fail, expected {full}",
            counted(consul.tolerance, "server")
        )
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

pub(super) fn follower(node: &str, seen: &Observation) -> Progress {
    known(&seen.consul, |consul| {
        let leads = |server: &ServerView| server.is_leader;
        if consul.servers.get(node).is_some_and(leads) {
            return Progress::Changed(format!("{node} has become the leader of Consul"));
        }
        Progress::Met
    })
}

pub(super) fn left_consul(node: &str, seen: &Observation) -> Progress {
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
