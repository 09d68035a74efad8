//! Prepares a rollout: chooses the images, takes the inventory, asks the guards, makes the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::check::check;
use super::guards::{Facts, ImageClass, Refusal, open_rollout, refusals, unasked};
use super::plan::{Choices, Plan, Target};
use super::planner::{Inventory, InventoryNode, Request, plan, plan_abort};
use super::{Options, RolloutError, targets};
use crate::cluster::begin::check_products;
use crate::cluster::file::{ImageRef, TierName, UnsealKind};
use crate::cluster::state::{NodeStage, PlatformKind, State};
use crate::cluster::{
    Cluster, Context, Images, NodeImage, Role, Status, status, token_errors, vault,
};
use crate::digest::Digest;
use crate::store::backend::Backend;
use crate::wait::pause_for;

/// The factor for limits of gates with VMs, which may be emulated.
const MACHINE_PATIENCE: u64 = 10;

/// How often the cluster is asked before a guard says that it does not serve.
const STATUS_TRIES: u32 = 3;

/// The pause between these questions.
const STATUS_PAUSE: Duration = Duration::from_secs(2);

/// The tiers, in the order of a rollout.
const TIERS: [TierName; 2] = [TierName::Consul, TierName::Vault];

/// A plan that may be started.
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// The images of the plan's tiers.
    pub(super) images: Vec<NodeImage>,
    /// The reasons not to start it. Empty if there is none.
    pub refusals: Vec<Refusal>,
}

/// Plans a rollout to the images of the cluster file, or to those of the options.
pub(super) async fn prepare<B: Backend>(
    cluster: &Cluster<'_>,
    images: &Images<'_, B>,
    options: &Options<'_>,
    context: &Context<'_>,
) -> Result<Prepared, RolloutError> {
    let state = cluster
        .folder
        .require()
        .map_err(crate::cluster::ClusterError::from)?;
    if let Some(open) = super::status(cluster, images.store).await? {
        // Its nodes come and go, so that no other guard has anything to say.
        return Err(RolloutError::Refused {
            refusals: vec![open_rollout(&state.name, open.epoch, open.can_abort)],
            name: state.name,
        });
    }
    let history = images.store.history().await?;
    let seen = patient_status(cluster, images, context).await?;
    if let Some(problem) = &seen.problem {
        return Err(RolloutError::Refused {
            refusals: vec![unasked(problem, &state.name)],
            name: state.name,
        });
    }
    let inventory = inventory(&state, &seen, context);
    let chosen = choose(cluster, images, options, context).await?;
    let named = chosen.iter();
    let named = named.map(|(tier, image)| (*tier, target(image))).collect();
    let targets = targets::complete(named, &state.nodes)?;
    let mut request = request(cluster, &state, options, targets);
    if options.all_nodes {
        request.choices.all_nodes = chosen.keys().copied().collect();
    }
    let plan = proved(plan(&inventory, &request)?, &inventory)?;
    let held = |image: &NodeImage| {
        let is_pin = matches!(
            options
                .to
                .iter()
                .find(|one| one.to_string() == image.reference),
            Some(ImageRef::Pin { .. })
        );
        is_pin || history.holders(&image.manifest).next().is_some()
    };
    let promoted: BTreeSet<Digest> = chosen
        .values()
        .filter(|image| held(image))
        .map(|image| image.manifest)
        .collect();
    let classes = classes(images, &inventory, &request.targets).await;
    let tokens = token_errors(cluster, &state, context).await?;
    let lost = cluster.lost_secret(&state, context).await?;
    let facts = Facts {
        name: &state.name,
        inventory: &inventory,
        status: &seen,
        targets: &request.targets,
        promoted: &promoted,
        firmware: &state
            .nodes
            .values()
            .map(|node| (node.tier, node.firmware))
            .collect(),
        classes: &classes,
        highest: &state.highest,
        can_unseal: can_unseal(cluster, options, context).await?,
        operator: tokens.operator.as_ref(),
        management: tokens.management.as_ref(),
        lost: lost.as_ref(),
        allow_version_jump: options.allow_version_jump,
        allow_unpromoted: options.allow_unpromoted,
        now: (context.now)(),
    };
    Ok(Prepared {
        refusals: refusals(&facts, &plan),
        plan,
        images: chosen.into_values().collect(),
    })
}

/// Asks for the status, and again if the cluster does not seem to serve: a late answer of a busy
/// node refuses no rollout.
async fn patient_status<B: Backend>(
    cluster: &Cluster<'_>,
    images: &Images<'_, B>,
    context: &Context<'_>,
) -> Result<Status, RolloutError> {
    for _ in 1..STATUS_TRIES {
        let seen = status(cluster, Some(images), context).await?;
        if seen.serves() || seen.problem.is_some() {
            return Ok(seen);
        }
        pause_for(STATUS_PAUSE).await;
    }
    Ok(status(cluster, Some(images), context).await?)
}

/// Returns the recorded state of a cluster, and the inventory of what runs now.
async fn observed<B: Backend>(
    cluster: &Cluster<'_>,
    images: &Images<'_, B>,
    context: &Context<'_>,
) -> Result<(State, Inventory), RolloutError> {
    let state = cluster
        .folder
        .require()
        .map_err(crate::cluster::ClusterError::from)?;
    let seen = status(cluster, Some(images), context).await?;
    let inventory = inventory(&state, &seen, context);
    Ok((state, inventory))
}

/// Plans again after the cluster changed. Targets and new nodes stay.
pub(super) async fn plan_again<B: Backend>(
    cluster: &Cluster<'_>,
    images: &Images<'_, B>,
    options: &Options<'_>,
    follows: &Plan,
    context: &Context<'_>,
) -> Result<Plan, RolloutError> {
    let (state, inventory) = observed(cluster, images, context).await?;
    let targets = follows.targets.clone();
    let request = Request {
        follows: Some(follows),
        ..request(cluster, &state, options, targets)
    };
    proved(plan(&inventory, &request)?, &inventory)
}

/// Plans the way back from the rollout of a plan.
pub(super) async fn plan_back<B: Backend>(
    cluster: &Cluster<'_>,
    images: &Images<'_, B>,
    follows: &Plan,
    context: &Context<'_>,
) -> Result<Plan, RolloutError> {
    let (_, inventory) = observed(cluster, images, context).await?;
    proved(plan_abort(&inventory, follows)?, &inventory)
}

/// Returns a plan that its checker accepts. No other plan is executed.
fn proved(plan: Plan, inventory: &Inventory) -> Result<Plan, RolloutError> {
    let violations = check(&plan, inventory);
    match violations.is_empty() {
        true => Ok(plan),
        false => Err(RolloutError::Unsafe { violations }),
    }
}

fn request<'a>(
    cluster: &Cluster<'_>,
    state: &State,
    options: &Options<'_>,
    targets: BTreeMap<TierName, Target>,
) -> Request<'a> {
    let file = cluster.file;
    let count = |tier: TierName| file.tier(tier).nodes;
    Request {
        targets,
        choices: Choices {
            counts: TIERS.map(|tier| (tier, count(tier))).into(),
            all_nodes: BTreeSet::new(),
            max_surge: options.max_surge,
            soak_s: options.soak_s,
            version_jump_reason: options.allow_version_jump.map(ToOwned::to_owned),
        },
        addresses: TIERS
            .map(|tier| {
                // The cluster file keeps twice as many for replacements.
                let numbers = 1..=2 * count(tier);
                let address = |n| match tier {
                    TierName::Consul => file.consul_address(n),
                    TierName::Vault => file.vault_address(n),
                };
                (tier, numbers.map(address).collect())
            })
            .into(),
        patience: match state.platform {
            PlatformKind::Containers => 1,
            PlatformKind::Machines => MACHINE_PATIENCE,
        },
        follows: None,
    }
}

/// Describes the nodes of a cluster.
fn inventory(state: &State, seen: &Status, context: &Context<'_>) -> Inventory {
    let in_front = |name: &str| match &seen.front {
        Some(front) => front.nodes.iter().any(|node| node == name),
        None => true,
    };
    let nodes = state.nodes.iter().map(|(name, node)| {
        let found = seen.nodes.iter().find(|one| one.node == *name);
        let role = found.map_or(Role::Stopped, |one| one.role);
        let planned = InventoryNode {
            tier: node.tier,
            generation: node.generation,
            number: node.number,
            address: node.address,
            image: node.image.clone(),
            version: node.version,
            manifest: node.manifest,
            releases: node.releases.clone(),
            is_running: found.is_some_and(|one| one.running),
            role: match node.stage {
                NodeStage::Serving => role,
                NodeStage::Stopped | NodeStage::Retired => Role::Stopped,
            },
            is_in_front: in_front(name),
        };
        (name.clone(), planned)
    });
    let generations = state.nodes.values().map(|node| node.generation);
    Inventory {
        cluster: state.id.clone(),
        name: state.name.clone(),
        at: (context.now)().into(),
        generation: generations.max().unwrap_or(0).max(state.generation),
        nodes: nodes.collect(),
    }
}

/// Chooses the images of `--to`, or those of the cluster file without it.
async fn choose<B: Backend>(
    cluster: &Cluster<'_>,
    images: &Images<'_, B>,
    options: &Options<'_>,
    context: &Context<'_>,
) -> Result<BTreeMap<TierName, NodeImage>, RolloutError> {
    let now = (context.now)();
    let mut chosen = BTreeMap::new();
    if options.to.is_empty() {
        for tier in TIERS {
            let image = images.choose(&cluster.file.tier(tier).image, now).await?;
            chosen.insert(tier, image);
        }
    }
    for reference in &options.to {
        let image = images.choose(reference, now).await?;
        targets::add(&mut chosen, image)?;
    }
    for (tier, image) in &chosen {
        check_products(*tier, image)?;
        cluster.check_reach(*tier, image, images).await?;
        for warning in &image.warnings {
            context.events.warn(warning);
        }
    }
    Ok(chosen)
}

/// Reads what images are made for. A manifest that cannot be read is left out.
async fn classes<B: Backend>(
    images: &Images<'_, B>,
    inventory: &Inventory,
    targets: &BTreeMap<TierName, Target>,
) -> BTreeMap<Digest, ImageClass> {
    let present = inventory.nodes.values().map(|node| node.manifest);
    let manifests: BTreeSet<Digest> = targets
        .values()
        .map(|target| target.manifest)
        .chain(present)
        .collect();
    let mut classes = BTreeMap::new();
    for digest in manifests {
        if let Ok(manifest) = images.store.manifest(&digest).await {
            classes.extend(ImageClass::of(&manifest).map(|class| (digest, class)));
        }
    }
    classes
}

fn target(image: &NodeImage) -> Target {
    Target {
        reference: image.reference.clone(),
        image: image.image.clone(),
        version: image.version,
        manifest: image.manifest,
        artifact: image.artifact,
        firmware: image.firmware,
        releases: image.releases.clone(),
    }
}

/// Whether new Vault nodes can be unsealed.
async fn can_unseal(
    cluster: &Cluster<'_>,
    options: &Options<'_>,
    context: &Context<'_>,
) -> Result<bool, RolloutError> {
    let unseal = &cluster.file.unseal;
    Ok(!matches!(unseal.kind, UnsealKind::Shares)
        || !options.unseal_shares.is_empty()
        || vault::has_shares(cluster.secrets, context).await?)
}
