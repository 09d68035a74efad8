//! Plans the way back: old Vault nodes serve again, new nodes go, new servers leave if they can.

use super::draft::{Change, Draft};
use super::{Inventory, Names, PlanError, consul, vault};
use crate::cluster::Role;
use crate::cluster::file::TierName;
use crate::rollout::Condition;
use crate::rollout::plan::{NodePlan, Plan, Purpose};

/// Plans the steps back to the nodes from before the rollout of `plan`.
pub fn plan_abort(inventory: &Inventory, plan: &Plan) -> Result<Plan, PlanError> {
    let mut draft = Draft::new(inventory, Some(plan), longest_patience(plan));
    let vault = vault_change(&mut draft, plan)?;
    let consul = consul_change(&mut draft, plan, &vault.fresh);
    let up = |name: &String| inventory.is_up(name);
    let (lame, _): (Names, Names) = consul
        .retiring
        .iter()
        .filter(|name| inventory.is_running(name))
        .cloned()
        .partition(|name| !inventory.is_up(name));
    let all = consul.fresh.iter().chain(&consul.retiring);
    let now = Condition::Voters {
        servers: all.filter(|name| up(name)).cloned().collect(),
        besides: lame,
    };
    vault::steps(&mut draft, &vault, &now)?;
    let servers = consul::steps(&mut draft, &consul)?;
    draft.delete(&[&consul, &vault], &servers, 0);
    // New nodes that were never made are no part of the way back.
    draft
        .nodes
        .retain(|name, _| inventory.nodes.contains_key(name));
    let (targets, choices) = (plan.targets.clone(), plan.choices.clone());
    let mut abort = draft.finish(Purpose::Abort, plan.generation, targets, choices);
    abort.parent = Some(plan.digest());
    Ok(abort)
}

/// Returns the factor of the limits in a plan.
fn longest_patience(plan: &Plan) -> u64 {
    let longest = plan.steps.iter().map(|step| step.gate_s).max();
    longest.map_or(1, |longest| (longest / super::draft::limit::START).max(1))
}

fn vault_change(draft: &mut Draft<'_>, plan: &Plan) -> Result<Change, PlanError> {
    let inventory = draft.inventory;
    let before = plan.names(TierName::Vault, false);
    let fresh = inventory.select(TierName::Vault, |name, _| !draft.is_new(name));
    let retiring = inventory.select(TierName::Vault, |name, _| draft.is_new(name));
    let starting: Names = fresh
        .iter()
        .filter(|name| !inventory.is_up(name))
        .cloned()
        .collect();
    let deleted: Vec<String> = before.difference(&fresh).cloned().collect();
    if let Some(active) = inventory
        .active()
        .filter(|active| retiring.contains(*active))
    {
        let version = |name: &str| {
            let node = draft.nodes.get(name);
            node.and_then(NodePlan::product_version)
                .unwrap_or_default()
                .to_owned()
        };
        let new = version(active);
        let other = fresh
            .iter()
            .map(|name| version(name))
            .find(|old| *old != new);
        if let Some(old) = other {
            let active = active.to_owned();
            return Err(PlanError::HandedOver { active, new, old });
        }
        if !deleted.is_empty() || fresh.is_empty() {
            return Err(PlanError::OldDeleted { nodes: deleted });
        }
    }
    if !deleted.is_empty() {
        let names = deleted.join(", ");
        draft.notes.push(format!(
            "{names} was deleted before and does not come back."
        ));
    }
    Ok(Change {
        tier: TierName::Vault,
        count: fresh.len(),
        fresh,
        starting,
        retiring,
        renew: Names::new(),
        surge: None,
        purpose: Purpose::Abort,
    })
}

/// New servers go if all old ones are there. Otherwise old ones go, down to the usual number.
fn consul_change(draft: &mut Draft<'_>, plan: &Plan, vault: &Names) -> Change {
    let inventory = draft.inventory;
    let before = plan.names(TierName::Consul, false);
    // A server that runs and does not vote has left already: only its end is missing.
    let old = inventory.select(TierName::Consul, |name, node| {
        !draft.is_new(name) && node.is_up()
    });
    let new = inventory.select(TierName::Consul, |name, _| draft.is_new(name));
    let mut change = Change {
        tier: TierName::Consul,
        count: old.len(),
        fresh: old.clone(),
        starting: Names::new(),
        retiring: new.clone(),
        renew: vault.clone(),
        surge: None,
        purpose: Purpose::Abort,
    };
    if new.is_empty() {
        change.renew.clear();
    }
    // Servers that were deleted by hand are in no later plan, but their places count.
    let count = plan.before.get(&TierName::Consul).copied();
    let count = count.unwrap_or_default().max(before.len());
    if new.is_empty() || (before.is_subset(&old) && old.len() >= count) {
        return change;
    }
    let voting: Names = new
        .iter()
        .filter(|name| inventory.is_up(name))
        .cloned()
        .collect();
    let leads = |name: &String| inventory.nodes[name].role == Role::Leader;
    let mut going: Vec<String> = old.iter().cloned().collect();
    going.sort_by_key(leads);
    going.truncate((voting.len() + old.len()).saturating_sub(count));
    let going: Names = going.into_iter().collect();
    let stays = |name: &str| voting.contains(name) || (old.contains(name) && !going.contains(name));
    change.fresh = inventory.select(TierName::Consul, |name, _| stays(name));
    change.retiring = inventory.select(TierName::Consul, |name, _| !stays(name));
    change.count = count;
    if !voting.is_empty() {
        let names: Vec<&str> = voting.iter().map(String::as_str).collect();
        draft.notes.push(format!(
            "Old Consul servers have left, so the new ones stay: {}.",
            names.join(", ")
        ));
    }
    change
}
