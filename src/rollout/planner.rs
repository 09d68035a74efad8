//! Plans a rollout: a pure function from an inventory and target images to all steps.
//! Returns a plan that leaves nothing to choose; `check` proves it with other code.

mod abort;
mod consul;
mod draft;
mod error;
mod vault;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::plan::{Choices, NodePlan, Plan, Purpose, Target};
use crate::cluster::Role;
use crate::cluster::file::TierName;
use crate::digest::Digest;
use crate::manifest::{ImageVersion, Moment};

pub use abort::plan_abort;
pub use error::PlanError;

use draft::{Change, Draft};

/// Names of nodes.
type Names = BTreeSet<String>;

/// The nodes of a cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// The unique id of the cluster.
    pub cluster: String,
    /// The name of the cluster.
    pub name: String,
    /// The time.
    pub at: Moment,
    /// The highest generation of any node so far.
    pub generation: u32,
    /// The nodes that exist, by name.
    pub nodes: BTreeMap<String, InventoryNode>,
}

/// A node that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryNode {
    /// The tier.
    pub tier: TierName,
    /// The generation.
    pub generation: u32,
    /// The number in its tier and generation, from 1.
    pub number: u32,
    /// The address on the private network.
    pub address: Ipv4Addr,
    /// The name of the image.
    pub image: String,
    /// The version of the image.
    pub version: ImageVersion,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The products of the image with their versions.
    pub releases: BTreeMap<String, String>,
    /// Whether it runs.
    pub is_running: bool,
    /// What it does.
    pub role: Role,
    /// Whether the load balancer lets it have connections. True without a load balancer.
    pub is_in_front: bool,
}

impl InventoryNode {
    /// Whether it runs and votes, or serves or forwards requests.
    fn is_up(&self) -> bool {
        self.is_running && self.role.serves()
    }

    fn planned(&self, is_new: bool) -> NodePlan {
        NodePlan {
            tier: self.tier,
            generation: self.generation,
            number: self.number,
            address: self.address,
            image: self.image.clone(),
            version: self.version,
            manifest: self.manifest,
            releases: self.releases.clone(),
            is_new,
        }
    }
}

impl Inventory {
    /// Returns the names of the nodes of a tier that pass a test.
    fn select(&self, tier: TierName, test: impl Fn(&str, &InventoryNode) -> bool) -> Names {
        let nodes = self.nodes.iter();
        let nodes = nodes.filter(|(name, node)| node.tier == tier && test(name, node));
        nodes.map(|(name, _)| name.clone()).collect()
    }

    fn is_running(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(|node| node.is_running)
    }

    fn is_up(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(InventoryNode::is_up)
    }

    /// Returns the active Vault node.
    fn active(&self) -> Option<&str> {
        let is_active = |node: &InventoryNode| node.is_running && matches!(node.role, Role::Active);
        let mut nodes = self.nodes.iter().filter(|(_, node)| is_active(node));
        nodes.next().map(|(name, _)| name.as_str())
    }
}

/// What a rollout shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The image of each tier after the rollout.
    pub targets: BTreeMap<TierName, Target>,
    /// The choices of the user.
    pub choices: Choices,
    /// The addresses that nodes of each tier may have, in order of preference.
    pub addresses: BTreeMap<TierName, Vec<Ipv4Addr>>,
    /// The factor for the limits of gates: 1 for containers, more for emulated VMs.
    pub patience: u64,
    /// The plan that does not fit any more. Generation, targets, choices and new nodes stay.
    pub follows: Option<&'a Plan>,
}

impl Request<'_> {
    /// Returns the request with the targets and choices of the plan that it follows.
    fn settled(&self) -> Self {
        let mut request = self.clone();
        if let Some(plan) = self.follows {
            request.targets.clone_from(&plan.targets);
            request.choices.clone_from(&plan.choices);
        }
        request
    }
}

/// Plans the steps to the target images. A plan without steps has nothing to do.
pub fn plan(inventory: &Inventory, request: &Request<'_>) -> Result<Plan, PlanError> {
    let follows = request.follows;
    if follows.is_some_and(|plan| plan.purpose == Purpose::Abort) {
        return Err(PlanError::FollowsAbort);
    }
    let generation = follows.map_or(inventory.generation + 1, |plan| plan.generation);
    let request = &request.settled();
    let mut draft = Draft::new(inventory, follows, request.patience);
    let consul = change(&mut draft, request, generation, TierName::Consul)?;
    let vault = change(&mut draft, request, generation, TierName::Vault)?;
    let servers = consul::steps(&mut draft, &consul)?;
    vault::steps(&mut draft, &vault, &servers)?;
    draft.delete(&[&consul, &vault], &servers, request.choices.soak_s);
    let (targets, choices) = (request.targets.clone(), request.choices.clone());
    let mut plan = draft.finish(Purpose::Replace, generation, targets, choices);
    plan.parent = follows.map(Plan::digest);
    Ok(plan)
}

/// Decides which nodes of a tier stay, come and go.
fn change(
    draft: &mut Draft<'_>,
    request: &Request<'_>,
    generation: u32,
    tier: TierName,
) -> Result<Change, PlanError> {
    let missing = PlanError::MissingTier { tier };
    let target = request.targets.get(&tier).ok_or(missing.clone())?;
    let choices = &request.choices;
    let count = *choices.counts.get(&tier).ok_or(missing)?;
    let inventory = draft.inventory;
    let mut new: Names = draft.new_names(tier);
    let stays = |name: &str, node: &InventoryNode| match request.follows {
        Some(plan) if plan.nodes.contains_key(name) => plan.remaining(tier).contains(name),
        _ => node.manifest == target.manifest && !choices.all_nodes.contains(&tier),
    };
    let kept = inventory.select(tier, |name, node| !new.contains(name) && stays(name, node));
    let retiring = inventory.select(tier, |name, _| !new.contains(name) && !kept.contains(name));
    let was_unchanged = new.is_empty() && retiring.is_empty();
    let mut number = draft.last_number(tier, generation);
    while new.len() + kept.len() < count as usize {
        number += 1;
        let name = format!("{}-{tier}-{generation}-{number}", inventory.name);
        let address = draft.free_address(tier, request)?;
        let node = NodePlan {
            tier,
            generation,
            number,
            address,
            image: target.image.clone(),
            version: target.version,
            manifest: target.manifest,
            releases: target.releases.clone(),
            is_new: true,
        };
        draft.nodes.insert(name.clone(), node);
        new.insert(name);
    }
    let is_unchanged = was_unchanged && new.is_empty();
    let fresh: Names = kept.union(&new).cloned().collect();
    let is_down = |name: &&String| !is_unchanged && !inventory.is_up(name);
    let renew = match tier {
        TierName::Consul => {
            let mut others = inventory.select(TierName::Vault, |_, node| node.is_running);
            others.extend(kept.iter().filter(|name| inventory.is_up(name)).cloned());
            others
        }
        TierName::Vault => Names::new(),
    };
    Ok(Change {
        tier,
        starting: fresh.iter().filter(is_down).cloned().collect(),
        fresh,
        retiring,
        renew,
        count: count as usize,
        surge: choices.max_surge.map(|surge| surge.max(1) as usize),
        purpose: Purpose::Replace,
    })
}
