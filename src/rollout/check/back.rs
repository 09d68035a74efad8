//! Rules of an abort: which steps it may have, and which nodes remain.

use std::collections::BTreeSet;

use super::{Report, list};
use crate::cluster::Role;
use crate::cluster::file::TierName;
use crate::rollout::planner::{Inventory, InventoryNode};
use crate::rollout::{Action, NodePlan, Plan};

type Names = BTreeSet<String>;

pub(super) fn check(plan: &Plan, inventory: &Inventory, report: &mut Report) {
    for (index, step) in plan.steps.iter().enumerate() {
        report.step = Some(index);
        check_action(plan, &step.action, report);
    }
    report.step = None;
    for name in plan.nodes.keys() {
        report.rule(inventory.nodes.contains_key(name), || {
            format!("{name} does not exist, and an abort makes no node")
        });
    }
    check_vault(plan, inventory, report);
    check_consul(plan, inventory, report);
}

/// An abort makes no node, and starts, unseals and admits old ones alone.
fn check_action(plan: &Plan, action: &Action, report: &mut Report) {
    let is_new = |name: &&str| plan.nodes.get(*name).is_some_and(|node| node.is_new);
    match action {
        Action::SaveSnapshot | Action::Start { .. } | Action::Soak { .. } => {
            report.rule(false, || format!("an abort does not {action}"));
        }
        Action::Restart { .. } | Action::Unseal { .. } | Action::Admit { .. } => {
            let new = action.nodes().into_iter().find(is_new);
            report.rule(new.is_none(), || {
                format!("{} is new and goes", new.unwrap_or_default())
            });
        }
        Action::Stop { .. } | Action::HandOver { .. } => {
            let old = action.nodes().into_iter().find(|name| !is_new(name));
            report.rule(old.is_none(), || {
                format!("{} is old and would stop", old.unwrap_or_default())
            });
        }
        Action::RenewIdentities { .. } | Action::Leave { .. } | Action::Delete { .. } => {}
    }
}

/// All old Vault nodes remain, no new one does, and Vault's data never goes back a version.
fn check_vault(plan: &Plan, inventory: &Inventory, report: &mut Report) {
    let end = plan.remaining(TierName::Vault);
    let old = plan.names(TierName::Vault, false);
    report.rule(end == old, || {
        format!(
            "the Vault nodes {} would remain, expected {}",
            list(&end),
            list(&old)
        )
    });
    let version = |name: &String| plan.nodes.get(name).and_then(NodePlan::product_version);
    let is_active = |node: &InventoryNode| node.is_running && node.role == Role::Active;
    let mut nodes = inventory.nodes.iter();
    let active = nodes
        .find(|(_, node)| is_active(node))
        .map(|(name, _)| name);
    let Some(active) = active.filter(|name| !old.contains(*name)) else {
        return;
    };
    let other = old.iter().find(|name| version(name) != version(active));
    report.rule(other.is_none(), || {
        "Vault's data would go back a version".to_owned()
    });
}

/// Enough servers remain. New ones that vote go only if all places have old ones that vote.
fn check_consul(plan: &Plan, inventory: &Inventory, report: &mut Report) {
    let end = plan.remaining(TierName::Consul);
    let votes = |name: &&String| {
        let node = inventory.nodes.get(*name);
        node.is_some_and(|node| node.is_running && node.role.serves())
    };
    let all = plan.nodes.iter();
    let all = all.filter(|(_, node)| node.tier == TierName::Consul);
    let voting: Names = all.map(|(name, _)| name).filter(votes).cloned().collect();
    let places = plan.before.get(&TierName::Consul).copied();
    let places = places.unwrap_or_default();
    let left = voting.intersection(&end).count();
    report.rule(left >= places.min(voting.len()), || {
        format!("{left} servers that vote would remain, expected {places}")
    });
    let new = plan.names(TierName::Consul, true);
    let mut going = voting.difference(&end);
    let gone = going.find(|name| new.contains(*name));
    let old = plan.names(TierName::Consul, false);
    let is_kept = old.is_subset(&voting) && old.is_subset(&end) && old.len() >= places;
    report.rule(gone.is_none() || is_kept, || {
        let name = gone.map_or("", |name| name);
        format!("{name} leaves, and an old server does not vote")
    });
}
