//! A plan in the making, and the steps that both tiers have in common.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Inventory, Names, PlanError, Request};
use crate::cluster::file::TierName;
use crate::rollout::Condition;
use crate::rollout::plan::{Action, Choices, NodePlan, Plan, Purpose, SCHEMA, Step, Target};

/// The limits of gates on a fast platform, in seconds.
pub(super) mod limit {
    /// A boot, and the time until a server votes.
    pub(in super::super) const START: u64 = 120;
    /// A Vault that unseals and is heard by the active node.
    pub(in super::super) const UNSEAL: u64 = 60;
    /// A few probes of the load balancer.
    pub(in super::super) const ADMIT: u64 = 60;
    /// A server that leaves, and an election.
    pub(in super::super) const LEAVE: u64 = 60;
    /// A lock whose holder died: twice its TTL, the delay, a change of Consul's leader, and tries.
    pub(in super::super) const STOP: u64 = 120;
    /// Requests alone.
    pub(in super::super) const QUICK: u64 = 60;
}

/// Which nodes of a tier stay, come and go.
pub(super) struct Change {
    pub(super) tier: TierName,
    /// The nodes that the tier has afterwards.
    pub(super) fresh: Names,
    /// Those of them that do not serve yet.
    pub(super) starting: Names,
    /// The nodes that exist and go.
    pub(super) retiring: Names,
    /// The nodes whose identities name Consul's servers.
    pub(super) renew: Names,
    /// The number of nodes that shall always serve.
    pub(super) count: usize,
    /// The most nodes that start side by side.
    pub(super) surge: Option<usize>,
    pub(super) purpose: Purpose,
}

impl Change {
    /// Returns the nodes to start, in batches.
    pub(super) fn batches(&self) -> Vec<Names> {
        let all: Vec<&String> = self.starting.iter().collect();
        let size = self.surge.unwrap_or(all.len()).max(1);
        let batches = all.chunks(size);
        batches
            .map(|batch| batch.iter().map(|name| (*name).clone()).collect())
            .collect()
    }
}

/// A plan in the making.
pub(super) struct Draft<'a> {
    pub(super) inventory: &'a Inventory,
    /// All nodes, old and new.
    pub(super) nodes: BTreeMap<String, NodePlan>,
    pub(super) steps: Vec<Step>,
    pub(super) notes: Vec<String>,
    /// Servers of the plan before that do not exist any more. Consul may still list them.
    pub(super) absent: Names,
    /// The number of nodes of each tier before the rollout.
    before: BTreeMap<TierName, usize>,
    patience: u64,
}

impl<'a> Draft<'a> {
    pub(super) fn new(inventory: &'a Inventory, before: Option<&Plan>, patience: u64) -> Self {
        let mut nodes = BTreeMap::new();
        let mut absent = Names::new();
        for (name, node) in before.iter().flat_map(|plan| &plan.nodes) {
            if node.is_new {
                nodes.insert(name.clone(), node.clone());
            } else if node.tier == TierName::Consul && !inventory.nodes.contains_key(name) {
                absent.insert(name.clone());
            }
        }
        for (name, node) in &inventory.nodes {
            let planned = || node.planned(false);
            nodes.entry(name.clone()).or_insert_with(planned);
        }
        let count = |tier| (tier, inventory.select(tier, |_, _| true).len());
        let counted = || [TierName::Consul, TierName::Vault].map(count).into();
        Self {
            inventory,
            before: before.map_or_else(counted, |plan| plan.before.clone()),
            nodes,
            steps: Vec::new(),
            notes: Vec::new(),
            absent,
            patience: patience.max(1),
        }
    }

    /// Returns the new nodes of a tier.
    pub(super) fn new_names(&self, tier: TierName) -> Names {
        let nodes = self.nodes.iter();
        let nodes = nodes.filter(|(_, node)| node.tier == tier && node.is_new);
        nodes.map(|(name, _)| name.clone()).collect()
    }

    /// Whether no step was planned yet.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub(super) fn is_new(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(|node| node.is_new)
    }

    /// Returns the highest number of a node of a tier and generation, or 0.
    pub(super) fn last_number(&self, tier: TierName, generation: u32) -> u32 {
        let nodes = self.nodes.values();
        let nodes = nodes.filter(|node| node.tier == tier && node.generation == generation);
        nodes.map(|node| node.number).max().unwrap_or(0)
    }

    /// Returns the first address of a tier that no node has.
    pub(super) fn free_address(
        &self,
        tier: TierName,
        request: &Request<'_>,
    ) -> Result<Ipv4Addr, PlanError> {
        let mut addresses = request.addresses.get(&tier).into_iter().flatten();
        let is_used = |address: &Ipv4Addr| self.nodes.values().any(|node| node.address == *address);
        let free = addresses.find(|address| !is_used(address));
        free.copied().ok_or(PlanError::NoAddress { tier })
    }

    /// Adds a step without an undo.
    pub(super) fn push(
        &mut self,
        action: Action,
        requires: Vec<Condition>,
        gate: Vec<Condition>,
        limit_s: u64,
    ) {
        self.steps.push(Step {
            action,
            requires,
            gate,
            gate_s: limit_s.saturating_mul(self.patience),
            undo: None,
            undo_requires: Vec::new(),
        });
    }

    /// Lets the last step be undone by deleting those of its nodes that are new.
    pub(super) fn undo_by_delete(&mut self, nodes: &Names, requires: Vec<Condition>) {
        let nodes: Vec<String> = nodes
            .iter()
            .filter(|name| self.is_new(name))
            .cloned()
            .collect();
        if let Some(step) = self.steps.last_mut()
            && !nodes.is_empty()
        {
            step.undo = Some(Action::Delete { nodes });
            step.undo_requires = requires;
        }
    }

    /// Adds the last steps: a wait, and the end of the nodes that go.
    pub(super) fn delete(&mut self, changes: &[&Change], servers: &Condition, soak_s: u64) {
        let deleting: Names = changes
            .iter()
            .flat_map(|change| change.retiring.clone())
            .collect();
        if deleting.is_empty() {
            return;
        }
        let mut serves = vec![servers.clone()];
        let mut ended = Vec::new();
        for change in changes.iter().filter(|change| !change.retiring.is_empty()) {
            let (fresh, gone) = (change.fresh.clone(), change.retiring.clone());
            match change.tier {
                TierName::Consul => {
                    let left = |node| Condition::LeftConsul { node };
                    ended.extend(gone.into_iter().map(left));
                }
                TierName::Vault => {
                    serves.push(Condition::Serving {
                        nodes: fresh.clone(),
                    });
                    serves.push(Condition::ActiveAmong { nodes: fresh });
                    ended.push(Condition::Down { nodes: gone });
                }
            }
        }
        if soak_s > 0 {
            let soak = Action::Soak { seconds: soak_s };
            self.push(soak, serves.clone(), serves.clone(), limit::QUICK);
        }
        serves.extend(ended);
        let nodes = deleting.iter().cloned().collect();
        let gate = vec![Condition::Deleted { nodes: deleting }];
        self.push(Action::Delete { nodes }, serves, gate, limit::QUICK);
    }

    /// Returns the complete plan.
    pub(super) fn finish(
        self,
        purpose: Purpose,
        generation: u32,
        targets: BTreeMap<TierName, Target>,
        choices: Choices,
    ) -> Plan {
        Plan {
            schema: SCHEMA.to_owned(),
            cluster: self.inventory.cluster.clone(),
            name: self.inventory.name.clone(),
            made_at: self.inventory.at,
            purpose,
            parent: None,
            generation,
            choices,
            before: self.before,
            targets,
            nodes: self.nodes,
            steps: self.steps,
            notes: self.notes,
        }
    }
}
