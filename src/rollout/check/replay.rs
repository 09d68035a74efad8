//! Replays the steps of a plan on a cluster of names, and checks each effect.

use std::collections::BTreeSet;

use super::cluster::Cluster;
use super::{Report, demands, list, set};
use crate::cluster::Role;
use crate::cluster::file::TierName;
use crate::rollout::plan::Purpose;
use crate::rollout::planner::Inventory;
use crate::rollout::{Action, Condition, Plan, Step};

type Names = BTreeSet<String>;

pub(super) fn check(plan: &Plan, inventory: &Inventory, report: &mut Report) {
    let mut cluster = Cluster::new(plan, inventory);
    let mut replay = Replay {
        plan,
        inventory,
        report,
    };
    for (index, step) in plan.steps.iter().enumerate() {
        replay.report.step = Some(index);
        let mut after = cluster.clone();
        replay.apply(index, step, &mut after);
        demands::check(step, plan, (&cluster, &after), replay.report);
        replay.check_undo(step, &cluster);
        cluster = after;
    }
    replay.report.step = None;
    replay.check_end(&cluster);
}

struct Replay<'a> {
    plan: &'a Plan,
    inventory: &'a Inventory,
    report: &'a mut Report,
}

impl Replay<'_> {
    fn rule(&mut self, is_kept: bool, why: impl FnOnce() -> String) {
        self.report.rule(is_kept, why);
    }

    fn apply(&mut self, index: usize, step: &Step, cluster: &mut Cluster<'_>) {
        match &step.action {
            Action::SaveSnapshot => cluster.has_snapshot = true,
            Action::Start { nodes } if cluster.tier(nodes) == TierName::Consul => {
                self.start_servers(index, nodes, cluster);
            }
            Action::Start { nodes } | Action::Restart { nodes } => {
                self.start_vault(index, nodes, cluster);
            }
            Action::Unseal { nodes } => {
                let nodes = set(nodes);
                self.rule(nodes.is_subset(&cluster.running), || {
                    "a node does not run".to_owned()
                });
                // Clients come back with a step of its own.
                cluster.in_front = &cluster.in_front - &nodes;
                cluster.serving.extend(nodes);
            }
            Action::Admit { nodes } => {
                let nodes = set(nodes);
                self.rule(nodes.is_subset(&cluster.serving), || {
                    "clients would be sent to a node that does not serve".to_owned()
                });
                cluster.in_front.extend(nodes);
            }
            Action::RenewIdentities { nodes } => {
                let missing = &cluster.running - &set(nodes);
                self.rule(missing.is_empty(), || {
                    format!("{} would keep the addresses of old servers", list(&missing))
                });
                cluster.has_renewed = true;
            }
            Action::Leave { node, successor } => self.leave(index, (node, successor), cluster),
            Action::Stop { nodes } => {
                for node in nodes {
                    self.stop(node, cluster);
                }
            }
            Action::HandOver { node } => self.hand_over(node, cluster),
            Action::Soak { .. } => {
                self.rule(cluster.running.is_subset(&cluster.staying), || {
                    "old nodes run while clients use the new ones".to_owned()
                });
                cluster.has_soaked = true;
            }
            Action::Delete { nodes } => self.delete(index, nodes, cluster),
        }
    }

    /// Whether a later or an earlier step changes Vault's nodes.
    fn changes_vault(&self, mut indices: impl Iterator<Item = usize>) -> bool {
        indices.any(|index| match &self.plan.steps[index].action {
            Action::Start { nodes } => {
                let tier = |name: &String| self.plan.nodes.get(name).map(|node| node.tier);
                nodes.iter().any(|name| tier(name) == Some(TierName::Vault))
            }
            Action::Unseal { .. }
            | Action::Admit { .. }
            | Action::Stop { .. }
            | Action::HandOver { .. }
            | Action::Restart { .. } => true,
            _ => false,
        })
    }

    fn check_tier_order(&mut self, index: usize) {
        let is_kept = match self.plan.purpose {
            Purpose::Replace => !self.changes_vault(0..index),
            Purpose::Abort => !self.changes_vault(index..self.plan.steps.len()),
        };
        self.rule(is_kept, || "the tiers change in the wrong order".to_owned());
    }

    fn start_servers(&mut self, index: usize, nodes: &[String], cluster: &mut Cluster<'_>) {
        self.check_tier_order(index);
        self.rule(
            cluster.has_snapshot || self.plan.purpose == Purpose::Abort,
            || "Consul changes before its snapshot".to_owned(),
        );
        let nodes = set(nodes);
        self.rule(nodes.is_disjoint(&cluster.voters), || {
            "a server votes already".to_owned()
        });
        self.rule(nodes.is_subset(&cluster.staying), || {
            "a server would start although it goes".to_owned()
        });
        cluster.lame = &cluster.lame - &nodes;
        cluster.ended = &cluster.ended - &nodes;
        cluster.voters.extend(nodes);
    }

    fn leave(
        &mut self,
        index: usize,
        (node, successor): (&String, &String),
        cluster: &mut Cluster<'_>,
    ) {
        self.check_tier_order(index);
        self.rule(
            cluster.has_snapshot || self.plan.purpose == Purpose::Abort,
            || "Consul changes before its snapshot".to_owned(),
        );
        let was_voter = cluster.voters.remove(node);
        let was_lame = cluster.lame.remove(node);
        self.rule(was_voter || was_lame, || {
            format!("{node} is no server any more")
        });
        self.rule(!cluster.staying.contains(node), || {
            format!("{node} leaves, but remains")
        });
        let can_lead = cluster.voters.contains(successor) && cluster.staying.contains(successor);
        self.rule(can_lead, || format!("{successor} cannot lead after {node}"));
        let tolerance = |servers: usize| servers.saturating_sub(1) / 2;
        let (left, end) = (
            cluster.voters.len(),
            self.plan.remaining(TierName::Consul).len(),
        );
        self.rule(
            tolerance(left) >= tolerance(end) && left >= end.min(left + 1),
            || format!("{left} servers would remain, expected {end}"),
        );
        let leads = self
            .inventory
            .nodes
            .get(node)
            .is_some_and(|node| node.role == Role::Leader);
        let later = self.plan.steps.iter().skip(index + 1);
        let leave_later = later
            .filter(|step| matches!(step.action, Action::Leave { .. }))
            .count();
        self.rule(!leads || leave_later == 0, || {
            format!("{node} leads and leaves before other servers")
        });
        let has_nodes = !cluster.running.is_empty();
        let is_last = cluster.voters.is_subset(&cluster.staying);
        self.rule(cluster.has_renewed || !is_last || !has_nodes, || {
            format!("{node} leaves, and other nodes know no server that remains")
        });
        cluster.ended.insert(node.clone());
    }

    /// Whether an old node of another version than the active new one runs.
    fn is_urgent(&self, cluster: &Cluster<'_>) -> bool {
        let version = |name: &str| {
            self.plan
                .nodes
                .get(name)
                .and_then(|node| node.product_version())
        };
        let Some(active) = &cluster.active else {
            return false;
        };
        let mut running = cluster.running.iter();
        self.plan.purpose == Purpose::Replace
            && cluster.staying.contains(active)
            && running
                .any(|name| !cluster.staying.contains(name) && version(name) != version(active))
    }

    fn start_vault(&mut self, index: usize, nodes: &[String], cluster: &mut Cluster<'_>) {
        let urgent = self.is_urgent(cluster);
        self.rule(!urgent, || {
            "old nodes must stop first: a new node is active".to_owned()
        });
        let nodes = set(nodes);
        self.rule(nodes.is_disjoint(&cluster.serving), || {
            "a node serves already".to_owned()
        });
        self.rule(nodes.is_subset(&cluster.staying), || {
            "a node would start although it goes".to_owned()
        });
        let later = self.plan.steps.iter().skip(index + 1);
        let mut unsealed = Names::new();
        for step in later {
            if let Action::Unseal { nodes } = &step.action {
                unsealed.extend(set(nodes));
            }
        }
        self.rule(nodes.is_subset(&unsealed), || {
            "a node is never unsealed".to_owned()
        });
        cluster.running.extend(nodes);
    }

    /// Checks what is common to both ways to stop a Vault node.
    fn end_vault(&mut self, node: &String, cluster: &mut Cluster<'_>) {
        self.rule(cluster.running.contains(node), || {
            format!("{node} does not run")
        });
        self.rule(!cluster.staying.contains(node), || {
            format!("{node} stops, but remains")
        });
        let able = &(&cluster.serving & &cluster.in_front) & &cluster.staying;
        self.rule(!able.is_empty(), || {
            "no node of the target serves clients yet".to_owned()
        });
        for names in [
            &mut cluster.running,
            &mut cluster.serving,
            &mut cluster.in_front,
        ] {
            names.remove(node);
        }
        cluster.stopped_here.insert(node.clone());
    }

    fn stop(&mut self, node: &String, cluster: &mut Cluster<'_>) {
        self.rule(cluster.active.as_ref() != Some(node), || {
            format!("{node} is active: it needs a hand-over")
        });
        self.end_vault(node, cluster);
    }

    fn hand_over(&mut self, node: &String, cluster: &mut Cluster<'_>) {
        self.rule(cluster.active.as_ref() == Some(node), || {
            format!("{node} is not active")
        });
        self.rule(!cluster.has_handed_over, || "a second hand-over".to_owned());
        self.end_vault(node, cluster);
        let others = &cluster.running - &cluster.staying;
        self.rule(others.is_empty(), || {
            format!(
                "{} could become active instead of a new node",
                list(&others)
            )
        });
        let version = |name: &str| {
            self.plan
                .nodes
                .get(name)
                .and_then(|node| node.product_version())
        };
        let tier = |name: &&String| cluster.tiers.get(name.as_str()) == Some(&TierName::Vault);
        let mut staying = cluster.staying.iter().filter(tier);
        let is_back = self.plan.purpose == Purpose::Abort;
        let differs = staying.any(|name| version(name) != version(node));
        self.rule(!is_back || !differs, || {
            "Vault's data would go back a version".to_owned()
        });
        cluster.has_handed_over = true;
        cluster.active = None;
    }

    fn delete(&mut self, index: usize, nodes: &[String], cluster: &mut Cluster<'_>) {
        let soak = self.plan.steps.iter().skip(index + 1);
        let soaks_later = soak
            .filter(|step| matches!(step.action, Action::Soak { .. }))
            .count();
        self.rule(soaks_later == 0 || cluster.has_soaked, || {
            "a node is deleted early".to_owned()
        });
        for name in nodes {
            let runs = cluster.running.contains(name)
                || cluster.voters.contains(name)
                || cluster.lame.contains(name);
            self.rule(!runs, || format!("{name} would be deleted while it runs"));
            let exists = self.inventory.nodes.contains_key(name);
            self.rule(exists && cluster.deleted.insert(name.clone()), || {
                format!("{name} does not exist")
            });
            let node = self.plan.nodes.get(name);
            let is_target = node.is_some_and(|node| {
                let target = self.plan.targets.get(&node.tier);
                let has_target = target.is_some_and(|target| target.manifest == node.manifest);
                // Another node of the same image may take its place.
                node.is_new || (has_target && self.plan.names(node.tier, true).is_empty())
            });
            self.rule(!is_target || self.plan.purpose == Purpose::Abort, || {
                format!("{name} has the target image and would be deleted")
            });
        }
    }

    /// An undo deletes new nodes of its own step, and only while others serve.
    fn check_undo(&mut self, step: &Step, before: &Cluster<'_>) {
        let Some(undo) = &step.undo else {
            return;
        };
        let own: Names = step.action.nodes().into_iter().map(str::to_owned).collect();
        let Action::Delete { nodes } = undo else {
            self.rule(false, || format!("`{undo}` is no undo"));
            return;
        };
        let (nodes, plan) = (set(nodes), self.plan);
        let is_new = |name: &String| plan.nodes.get(name).is_some_and(|node| node.is_new);
        self.rule(nodes.is_subset(&own) && nodes.iter().all(is_new), || {
            "the undo deletes other nodes than those of its step".to_owned()
        });
        let is_safe = step.undo_requires.iter().any(|condition| match condition {
            Condition::Voters { servers, .. } => before.are_voters(servers),
            Condition::ActiveAmong { nodes: active } => active.is_disjoint(&nodes),
            _ => false,
        });
        self.rule(is_safe, || {
            "the undo does not ask if other nodes serve".to_owned()
        });
    }

    /// Checks the cluster after the last step.
    fn check_end(&mut self, cluster: &Cluster<'_>) {
        let plan = self.plan;
        let wrong = plan.nodes.iter().filter(|(name, node)| {
            let target = plan.targets.get(&node.tier);
            let is_target = target.is_some_and(|target| target.manifest == node.manifest);
            plan.purpose == Purpose::Replace && cluster.staying.contains(*name) && !is_target
        });
        let wrong: Names = wrong.map(|(name, _)| name.clone()).collect();
        self.rule(wrong.is_empty(), || {
            format!("{} would keep another image", list(&wrong))
        });
        if cluster.unchanged.is_none() {
            let end = plan.remaining(TierName::Consul);
            self.rule(cluster.voters == end && cluster.lame.is_empty(), || {
                format!(
                    "{} would vote at the end, expected {}",
                    list(&cluster.voters),
                    list(&end)
                )
            });
        }
        let able = &cluster.serving & &cluster.in_front;
        let idle = match plan.purpose {
            Purpose::Replace => &plan.names(TierName::Vault, true) - &able,
            Purpose::Abort => Names::new(),
        };
        self.rule(idle.is_empty(), || {
            format!("{} would get no clients", list(&idle))
        });
        if self.changes_vault(0..plan.steps.len()) {
            let end = plan.remaining(TierName::Vault);
            self.rule(cluster.running == end && end.is_subset(&able), || {
                format!(
                    "{} would serve at the end, expected {}",
                    list(&able),
                    list(&end)
                )
            });
            let active = cluster.active.as_ref();
            self.rule(active.is_none_or(|active| end.contains(active)), || {
                "an old node would stay active".to_owned()
            });
        }
    }
}
