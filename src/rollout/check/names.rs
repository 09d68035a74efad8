//! Rules of nodes: names, addresses, images and versions.

use std::collections::{BTreeMap, BTreeSet};

use super::Report;
use crate::cluster::file::TierName;
use crate::rollout::plan::{Purpose, SCHEMA};
use crate::rollout::planner::Inventory;
use crate::rollout::{Action, Plan};

/// The most versions of a product in a cluster.
const MAX_VERSIONS: usize = 2;

pub(super) fn check(plan: &Plan, inventory: &Inventory, report: &mut Report) {
    report.rule(plan.schema == SCHEMA, || {
        format!("schema {} is not {SCHEMA}", plan.schema)
    });
    report.rule(
        plan.cluster == inventory.cluster && plan.name == inventory.name,
        || format!("the plan is one of cluster {}", plan.cluster),
    );
    let mut addresses = BTreeMap::new();
    for (name, node) in &plan.nodes {
        let derived = format!(
            "{}-{}-{}-{}",
            plan.name, node.tier, node.generation, node.number
        );
        report.rule(*name == derived, || {
            format!("{name} should have the name {derived}")
        });
        let other = addresses.insert(node.address, name);
        report.rule(other.is_none(), || {
            format!(
                "{name} has the address {} of {}",
                node.address,
                other.map_or("", |name| name)
            )
        });
        if node.is_new {
            check_new(plan, name, report);
        }
    }
    check_inventory(plan, inventory, report);
    check_versions(plan, report);
    let steps = plan.steps.iter().enumerate();
    for (index, action) in steps.flat_map(|(index, step)| {
        let actions = std::iter::once(&step.action).chain(&step.undo);
        actions.map(move |action| (index, action))
    }) {
        report.step = Some(index);
        check_action(plan, action, report);
    }
    report.step = None;
}

fn check_new(plan: &Plan, name: &str, report: &mut Report) {
    let node = &plan.nodes[name];
    report.rule(node.generation == plan.generation, || {
        format!("new node {name} is not of generation {}", plan.generation)
    });
    let Some(target) = plan.targets.get(&node.tier) else {
        report.rule(false, || format!("the tier of {name} has no target"));
        return;
    };
    let fits = node.manifest == target.manifest
        && node.image == target.image
        && node.version == target.version
        && node.releases == target.releases;
    report.rule(fits, || {
        format!("new node {name} is not of the target image")
    });
}

fn check_inventory(plan: &Plan, inventory: &Inventory, report: &mut Report) {
    for (name, found) in &inventory.nodes {
        let planned = plan.nodes.get(name);
        let fits = planned.is_some_and(|node| {
            node.tier == found.tier
                && node.generation == found.generation
                && node.number == found.number
                && node.address == found.address
                && node.manifest == found.manifest
                && node.releases == found.releases
        });
        report.rule(fits, || {
            format!("the plan describes {name} in another way than it is")
        });
    }
    let is_first = plan.parent.is_none();
    for (name, node) in &plan.nodes {
        let exists = inventory.nodes.contains_key(name);
        report.rule(exists || node.is_new, || {
            format!("{name} does not exist and is not new")
        });
        if is_first && node.is_new {
            report.rule(!exists, || format!("new node {name} exists"));
            report.rule(node.generation > inventory.generation, || {
                format!("generation {} of {name} was used before", node.generation)
            });
        }
    }
}

fn check_versions(plan: &Plan, report: &mut Report) {
    for tier in [TierName::Consul, TierName::Vault] {
        let nodes = plan.nodes.values().filter(|node| node.tier == tier);
        let versions: BTreeSet<&str> = nodes.filter_map(|node| node.product_version()).collect();
        report.rule(versions.len() <= MAX_VERSIONS, || {
            let versions: Vec<&str> = versions.iter().copied().collect();
            format!(
                "the {tier} nodes would have the versions {}",
                versions.join(", ")
            )
        });
    }
}

fn check_action(plan: &Plan, action: &Action, report: &mut Report) {
    let nodes = action.nodes();
    let unique: BTreeSet<&str> = nodes.iter().copied().collect();
    report.rule(unique.len() == nodes.len(), || {
        "a node is named twice".to_owned()
    });
    let empty = nodes.is_empty() && !matches!(action, Action::SaveSnapshot | Action::Soak { .. });
    report.rule(!empty, || "no node is named".to_owned());
    for name in nodes {
        report.rule(plan.nodes.contains_key(name), || {
            format!("{name} is no node of the plan")
        });
    }
    let tier = |tier| {
        let mut nodes = action.nodes().into_iter();
        nodes.all(|name| plan.nodes.get(name).is_none_or(|node| node.tier == tier))
    };
    let fits = match action {
        Action::Start { .. } => tier(TierName::Consul) || tier(TierName::Vault),
        Action::Leave { .. } => tier(TierName::Consul),
        Action::Unseal { .. }
        | Action::Admit { .. }
        | Action::Stop { .. }
        | Action::HandOver { .. }
        | Action::Restart { .. } => tier(TierName::Vault),
        Action::SaveSnapshot
        | Action::Soak { .. }
        | Action::RenewIdentities { .. }
        | Action::Delete { .. } => true,
    };
    report.rule(fits, || {
        format!("cannot {action}: a node is of another tier")
    });
    let is_back = matches!(action, Action::Restart { .. });
    report.rule(!is_back || plan.purpose == Purpose::Abort, || {
        "only an abort starts nodes again".to_owned()
    });
}
