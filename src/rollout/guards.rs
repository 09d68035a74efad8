//! The conditions for a rollout to begin. Each refusal has its way out.
//! Takes facts that were read before; asks nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use semver::Version;

pub use super::refusal::Refusal;

use super::RolloutError;
use super::plan::{Plan, Target};
use super::planner::{Inventory, InventoryNode};
use crate::cluster::file::TierName;
use crate::cluster::identities::IdentitiesError;
use crate::cluster::{NodeStatus, Problem, Status, TokenError};
use crate::definition::Firmware;
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::product::Product;
use crate::product::upgrade::{self, JumpRefusal};

/// The certificates of running nodes must be valid for longer than any rollout takes.
const CERTIFICATE_MARGIN: SignedDuration = SignedDuration::from_hours(2);

/// What an image is made for, as its manifest says. Debian's release may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageClass {
    /// The builder that made it, for example `qemu`.
    pub builder: String,
    /// The class of its output, for example `qcow2`.
    pub output: String,
    /// The architecture, for example `x86_64`.
    pub arch: String,
}

impl ImageClass {
    /// Returns the class of the output for this computer, if the image has one.
    pub fn of(manifest: &Manifest) -> Option<Self> {
        let mut outputs = manifest.outputs.iter();
        let local = outputs.find(|output| output.target == "local")?;
        Some(Self {
            builder: manifest.builder.name.clone(),
            output: local.class.clone(),
            arch: local.arch.clone(),
        })
    }
}

impl std::fmt::Display for ImageClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} of the builder {}",
            self.arch, self.output, self.builder
        )
    }
}

/// What the guards judge.
pub struct Facts<'a> {
    /// The name of the cluster.
    pub name: &'a str,
    /// The nodes with their images.
    pub inventory: &'a Inventory,
    /// The nodes as they answer.
    pub status: &'a Status,
    /// The image of each tier after the rollout.
    pub targets: &'a BTreeMap<TierName, Target>,
    /// The manifests that a channel or a pin holds.
    pub promoted: &'a BTreeSet<Digest>,
    /// The firmware of the present nodes.
    pub firmware: &'a BTreeMap<TierName, Firmware>,
    /// What the present images and the targets are made for, as far as manifests can be read.
    pub classes: &'a BTreeMap<Digest, ImageClass>,
    /// The highest version of each product that ever served in this cluster.
    pub highest: &'a BTreeMap<String, String>,
    /// Whether new nodes of Vault can be unsealed: by stored shares, shares of the user, or by
    /// themselves.
    pub can_unseal: bool,
    /// Why the administrator's token of Vault cannot be used. Without it, nothing measures clients.
    pub operator: Option<&'a TokenError>,
    /// Why Consul's management token cannot be used, without which new nodes get no tokens.
    pub management: Option<&'a TokenError>,
    /// A secret of the running nodes that is absent. Without it, no node can be replaced.
    pub lost: Option<&'a IdentitiesError>,
    /// The reason of the user to accept a jump of versions, or a version that is not promoted.
    pub allow_version_jump: Option<&'a str>,
    /// Whether an image without a channel is accepted.
    pub allow_unpromoted: bool,
    /// The time.
    pub now: Timestamp,
}

/// Returns the plan that begins, or `None` if it has no steps. Fails if a guard refuses it.
pub fn to_begin(plan: Plan, refusals: Vec<Refusal>) -> Result<Option<Plan>, RolloutError> {
    match (refusals.is_empty(), plan.steps.is_empty()) {
        (false, _) => Err(RolloutError::Refused {
            name: plan.name,
            refusals,
        }),
        (true, true) => Ok(None),
        (true, false) => Ok(Some(plan)),
    }
}

/// Returns all reasons not to begin, if no rollout is open. A plan without steps gives no node an
/// image.
pub fn refusals(facts: &Facts<'_>, plan: &Plan) -> Vec<Refusal> {
    let mut found = Vec::new();
    found.extend(unhealthy(facts));
    if plan.steps.is_empty() {
        return found;
    }
    // Also a tier that gets no new node may change, if nodes of two images run.
    let changes = |tier: TierName| {
        let nodes = facts.inventory.nodes.values();
        let nodes = nodes.filter(|node| node.tier == tier).count();
        !plan.names(tier, true).is_empty() || plan.remaining(tier).len() < nodes
    };
    for (tier, target) in facts.targets.iter().filter(|(tier, _)| changes(**tier)) {
        found.extend(unpromoted(facts, target));
        found.extend(other_firmware(facts, *tier, target));
        found.extend(other_class(facts, *tier, target));
        found.extend(wrong_products(*tier, target));
        found.extend(too_many_versions(facts, *tier, target));
        found.extend(jumps(facts, *tier, target));
    }
    found.extend(client_above_servers(facts));
    found.extend(ending_certificates(facts));
    found.extend(sealed(facts));
    found.extend(unmeasured(facts));
    found.extend(without_tokens(facts));
    found.extend(without_secrets(facts));
    found
}

fn refusal(why: String, hint: impl Into<String>) -> Option<Refusal> {
    Some(Refusal {
        why,
        hint: hint.into(),
    })
}

/// Returns why the nodes of a cluster cannot be asked: no guard knows anything of them.
pub fn unasked(problem: &Problem, name: &str) -> Refusal {
    let status = format!("Run `vault-bake cluster status {name}`.");
    Refusal {
        why: problem.why.clone(),
        hint: problem.hint.clone().unwrap_or(status),
    }
}

/// Returns that another rollout of the cluster `name` is open in the store.
pub fn open_rollout(name: &str, epoch: u64, can_abort: bool) -> Refusal {
    let abort = match can_abort {
        true => format!(" or `vault-bake rollout abort {name}`"),
        false => String::new(),
    };
    Refusal {
        why: format!("a rollout of it is open, with epoch {epoch}"),
        hint: format!("Run `vault-bake rollout resume {name}`{abort}."),
    }
}

/// A cluster that does not serve completely has no node to spare.
fn unhealthy(facts: &Facts<'_>) -> Option<Refusal> {
    if facts.status.serves() {
        return None;
    }
    let name = facts.name;
    let serves = |node: &&NodeStatus| {
        !node.stage.is_serving() || (node.role.serves() && node.reason.is_none())
    };
    let node = facts.status.nodes.iter().find(|node| !serves(node));
    let why = match node {
        Some(node) => format!("{} is {}", node.node, node.role.name()),
        None => "it has no leader, no active node or no load balancer".to_owned(),
    };
    refusal(
        why,
        format!("Run `vault-bake cluster up {name}`, and look at `cluster status {name}`."),
    )
}

fn unpromoted(facts: &Facts<'_>, target: &Target) -> Option<Refusal> {
    if facts.allow_unpromoted || facts.promoted.contains(&target.manifest) {
        return None;
    }
    let image = target.name();
    refusal(
        format!("{image} is in no channel"),
        format!("Run `vault-bake promote {image} stable`, or pass --allow-unpromoted for a trial."),
    )
}

fn other_firmware(facts: &Facts<'_>, tier: TierName, target: &Target) -> Option<Refusal> {
    let present = facts.firmware.get(&tier)?;
    if *present == target.firmware {
        return None;
    }
    let image = target.name();
    refusal(
        format!("{image} boots with another firmware than the nodes of {tier}"),
        "Build the image with the firmware of the running nodes.",
    )
}

fn other_class(facts: &Facts<'_>, tier: TierName, target: &Target) -> Option<Refusal> {
    let class = facts.classes.get(&target.manifest)?;
    let nodes = facts.inventory.nodes.values();
    let nodes = nodes.filter(|node| node.tier == tier);
    let mut classes = nodes.filter_map(|node| facts.classes.get(&node.manifest));
    let present = classes.find(|present| *present != class)?;
    refusal(
        format!(
            "{} is {class}, and the nodes of {tier} are {present}",
            target.name()
        ),
        "Build the image with the builder and the architecture of the running nodes.",
    )
}

fn wrong_products(tier: TierName, target: &Target) -> Option<Refusal> {
    let has = |product: &str| target.releases.contains_key(product);
    let why = match tier {
        TierName::Consul if has("vault") => "has Vault, and Consul servers must not",
        TierName::Vault if !has("vault") => "has no Vault",
        _ if !has("consul") => "has no Consul",
        _ => return None,
    };
    refusal(
        format!("{} {why}", target.name()),
        format!("Name another image for {tier} with --to, or in [{tier}] of cluster.toml."),
    )
}

/// Nodes of three versions never serve together.
fn too_many_versions(facts: &Facts<'_>, tier: TierName, target: &Target) -> Option<Refusal> {
    let nodes = facts.inventory.nodes.values();
    let nodes = nodes.filter(|node| node.tier == tier);
    let mut images: BTreeSet<String> = nodes.map(image_of).collect();
    images.insert(target.name());
    if images.len() <= 2 {
        return None;
    }
    let list: Vec<String> = images.into_iter().collect();
    refusal(
        format!(
            "the nodes of {tier} would have three images: {}",
            list.join(", ")
        ),
        "Finish the rollout to one of the present images first.",
    )
}

fn image_of(node: &InventoryNode) -> String {
    format!("{}@{}", node.image, node.version)
}

/// Compares each product with every version that runs, and with the highest that ever served.
fn jumps(facts: &Facts<'_>, tier: TierName, target: &Target) -> Vec<Refusal> {
    let mut found = Vec::new();
    let nodes = facts.inventory.nodes.values();
    let nodes: Vec<_> = nodes.filter(|node| node.tier == tier).collect();
    for (product, to) in &target.releases {
        let is_data = product == tier.as_str();
        let running = nodes.iter().filter_map(|node| node.releases.get(product));
        let highest = facts.highest.get(product).filter(|_| is_data);
        let from: BTreeSet<&String> = running.chain(highest).collect();
        let Some(known) = Product::by_name(product) else {
            continue;
        };
        for from in from {
            let Err(error) = upgrade::jump(known, from, to) else {
                continue;
            };
            if facts.allow_version_jump.is_some() && error.can_be_allowed() {
                continue;
            }
            found.push(jump_refusal(&error));
        }
    }
    found.dedup();
    found
}

fn jump_refusal(error: &JumpRefusal) -> Refusal {
    Refusal {
        why: error.to_string(),
        hint: error.hint(),
    }
}

/// Servers of Consul accept agents of their version and of older ones.
fn client_above_servers(facts: &Facts<'_>) -> Option<Refusal> {
    let agent = facts
        .targets
        .get(&TierName::Vault)?
        .releases
        .get("consul")?;
    let servers = facts
        .targets
        .get(&TierName::Consul)?
        .releases
        .get("consul")?;
    let (agent_version, server_version) = (parse(agent)?, parse(servers)?);
    if agent_version <= server_version {
        return None;
    }
    refusal(
        format!("the Vault image has Consul {agent}, which is newer than the servers' {servers}"),
        "Roll the Consul servers to that version first.",
    )
}

fn parse(version: &str) -> Option<Version> {
    Version::parse(version).ok()
}

fn ending_certificates(facts: &Facts<'_>) -> Option<Refusal> {
    let ends = |node: &&NodeStatus| {
        node.certificate_end
            .is_some_and(|end| end.duration_since(facts.now) < CERTIFICATE_MARGIN)
    };
    let node = facts.status.nodes.iter().find(ends)?;
    let (node, name) = (&node.node, facts.name);
    refusal(
        format!("the certificate of {node} ends within two hours"),
        format!("Run `vault-bake cluster renew {name}`."),
    )
}

fn sealed(facts: &Facts<'_>) -> Option<Refusal> {
    if facts.can_unseal {
        return None;
    }
    refusal(
        "new Vault nodes cannot be unsealed: the key shares are not stored with the cluster"
            .to_owned(),
        "Pass them with --unseal-keys FILE.",
    )
}

fn unmeasured(facts: &Facts<'_>) -> Option<Refusal> {
    let error = facts.operator?;
    refusal(
        format!("cannot measure what clients feel: {error}"),
        error.hint(),
    )
}

fn without_tokens(facts: &Facts<'_>) -> Option<Refusal> {
    let error = facts.management?;
    refusal(
        format!("cannot make the tokens of new nodes: {error}"),
        error.hint(),
    )
}

fn without_secrets(facts: &Facts<'_>) -> Option<Refusal> {
    let error = facts.lost?;
    refusal(error.to_string(), error.hint().unwrap_or_default())
}
