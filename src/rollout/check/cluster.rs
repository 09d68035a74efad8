//! A cluster of names, as it is between two steps of a plan.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::Role;
use crate::cluster::file::TierName;
use crate::rollout::planner::Inventory;
use crate::rollout::{Action, Condition, Plan};

type Names = BTreeSet<String>;

/// A cluster between two steps.
#[derive(Clone)]
pub(super) struct Cluster<'a> {
    pub(super) tiers: BTreeMap<&'a str, TierName>,
    /// The nodes that exist after all steps.
    pub(super) staying: Names,
    /// Vault nodes that run.
    pub(super) running: Names,
    /// Vault nodes that are unsealed.
    pub(super) serving: Names,
    pub(super) in_front: Names,
    /// The active node. After the hand-over it is one of those that serve.
    pub(super) active: Option<String>,
    /// Vault nodes that a step before has stopped.
    pub(super) stopped_here: Names,
    pub(super) voters: Names,
    /// Consul servers that run and do not vote.
    pub(super) lame: Names,
    /// Consul nodes that are neither.
    pub(super) ended: Names,
    /// All Consul nodes of the inventory, if no step changes that tier.
    pub(super) unchanged: Option<Names>,
    pub(super) has_snapshot: bool,
    pub(super) has_renewed: bool,
    pub(super) has_handed_over: bool,
    pub(super) has_soaked: bool,
    pub(super) deleted: Names,
}

impl<'a> Cluster<'a> {
    pub(super) fn new(plan: &'a Plan, inventory: &Inventory) -> Self {
        let select = |tier, test: &dyn Fn(bool, Role) -> bool| -> Names {
            let nodes = inventory.nodes.iter();
            let nodes = nodes.filter(|(_, node)| node.tier == tier);
            let nodes = nodes.filter(|(_, node)| test(node.is_running, node.role));
            nodes.map(|(name, _)| name.clone()).collect()
        };
        let up = |is_running: bool, role: Role| is_running && role.serves();
        let servers = select(TierName::Consul, &|_, _| true);
        let tiers: BTreeMap<&str, TierName> = plan
            .nodes
            .iter()
            .map(|(name, node)| (name.as_str(), node.tier))
            .collect();
        let is_server = |name: &str| tiers.get(name) == Some(&TierName::Consul);
        let changes = plan.steps.iter().any(|step| match &step.action {
            Action::Start { nodes } => nodes.iter().any(|name| is_server(name)),
            Action::Leave { .. } => true,
            _ => false,
        });
        let front = inventory.nodes.iter().filter(|(_, node)| node.is_in_front);
        let active = select(TierName::Vault, &|is_running, role| {
            is_running && role == Role::Active
        });
        let mut staying = plan.remaining(TierName::Consul);
        staying.extend(plan.remaining(TierName::Vault));
        Self {
            staying,
            running: select(TierName::Vault, &|is_running, _| is_running),
            serving: select(TierName::Vault, &up),
            in_front: front.map(|(name, _)| name.clone()).collect(),
            active: active.into_iter().next(),
            stopped_here: Names::new(),
            voters: select(TierName::Consul, &up),
            lame: select(TierName::Consul, &|is_running, role| {
                is_running && !role.serves()
            }),
            ended: select(TierName::Consul, &|is_running, _| !is_running),
            unchanged: (!changes).then_some(servers),
            has_snapshot: false,
            has_renewed: false,
            has_handed_over: false,
            has_soaked: false,
            deleted: Names::new(),
            tiers,
        }
    }

    /// Returns the tier of the first of some nodes.
    pub(super) fn tier(&self, nodes: &[String]) -> TierName {
        let tier = nodes.first().and_then(|name| self.tiers.get(name.as_str()));
        tier.copied().unwrap_or(TierName::Vault)
    }

    /// Whether these are the servers that vote now.
    pub(super) fn are_voters(&self, servers: &Names) -> bool {
        let all = self.unchanged.as_ref();
        *servers == self.voters
            || all.is_some_and(|all| self.voters.is_subset(servers) && servers.is_subset(all))
    }

    /// Returns the servers that Raft may list although they do not vote, exist or run.
    pub(super) fn absent(&self, plan: &Plan) -> Names {
        let mut names = &self.lame | &self.ended;
        let voters = plan.steps.iter().flat_map(|step| &step.requires);
        for condition in voters {
            if let Condition::Voters { besides, .. } = condition {
                let unknown = besides
                    .iter()
                    .filter(|name| !plan.nodes.contains_key(*name));
                names.extend(unknown.cloned());
            }
        }
        let new = plan
            .nodes
            .iter()
            .filter(|(name, _)| !self.voters.contains(*name));
        names.extend(new.map(|(name, _)| name.clone()));
        names
    }

    /// Returns the Vault nodes that remain.
    pub(super) fn staying_vault(&self, plan: &Plan) -> Names {
        plan.remaining(TierName::Vault)
    }

    /// Returns the Vault nodes that go.
    pub(super) fn retiring_vault(&self, plan: &Plan) -> Names {
        let nodes = plan
            .nodes
            .iter()
            .filter(|(_, node)| node.tier == TierName::Vault);
        let names = nodes.map(|(name, _)| name);
        names
            .filter(|name| !self.staying.contains(*name))
            .cloned()
            .collect()
    }
}
