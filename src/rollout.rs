//! Replaces the nodes of a running cluster without a failed request.
//! Takes a cluster, its images and the choices of the user; plans, executes, measures and records.
//! A rollout to earlier images is the rollback.

pub mod canary;
pub mod check;
mod control;
mod error;
pub mod execute;
pub mod fence;
pub mod figures;
pub mod guards;
pub mod journal;
mod local;
pub mod observation;
pub mod operations;
pub mod plan;
pub mod planner;
mod prepare;
pub mod record;
mod refusal;
mod status;
pub mod targets;

use std::path::PathBuf;

use crate::cluster::file::ImageRef;
use crate::cluster::state::{StateFolder, StateLock};
use crate::cluster::{Cluster, Context, Images};
use crate::event::Stage;
use crate::manifest::{RolloutRecord, Tool};
use crate::secret::Secret;
use crate::store::backend::Backend;

use control::Control;

pub use canary::{Canary, CanaryNode, CanaryOptions};
pub use check::{Violation, check};
pub use error::RolloutError;
pub use execute::{ExecuteError, ExecuteOptions, Outcome, Rest, execute};
pub use figures::{CanaryFigures, ClientFigures, ErrorKind};
pub use observation::Observation;
pub use operations::{EffectError, Evidence, Figures, Operations};
pub use plan::{Action, Choices, Condition, NodePlan, Plan, Progress, Step, Target};
pub use planner::{Inventory, InventoryNode, PlanError, Request, plan_abort};
pub use prepare::Prepared;
pub use status::{RolloutStatus, StepState, StepStatus, can_abort, status};

/// The choices of the user.
pub struct Options<'a> {
    /// The images to replace nodes by, instead of those of the cluster file. A tier without one
    /// keeps its image.
    pub to: Vec<ImageRef>,
    /// Shares of the unseal key, if the cluster's secrets do not have them.
    pub unseal_shares: Vec<Secret>,
    /// Whether nodes that have the target image already are replaced too, in the named tiers.
    pub all_nodes: bool,
    /// The most new nodes of a tier that start side by side. `None` starts all at once.
    pub max_surge: Option<u32>,
    /// The time for which clients use the new nodes before old ones are deleted, in seconds.
    pub soak_s: u64,
    /// Whether to rest before the active Vault node is stopped.
    pub stop_before_hand_over: bool,
    /// Whether a failed request of the canary stops the rollout at the next resting point.
    pub require_no_failure: bool,
    /// The reason to accept a jump of versions that is in no table.
    pub allow_version_jump: Option<&'a str>,
    /// Whether an image without a channel is accepted.
    pub allow_unpromoted: bool,
    /// Whether to take the rollout over from another controller.
    pub take_over: bool,
    /// This version of vault-bake, for the record.
    pub tool: &'a Tool,
}

/// The end of a controller's work.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Whether the plan was completed, or where it rests.
    pub outcome: Outcome,
    /// The last plan.
    pub plan: Plan,
    /// What the canary measured during this work.
    pub figures: Figures,
    /// The record, if the rollout has ended.
    pub record: Option<RolloutRecord>,
}

/// Plans a rollout. Changes nothing.
pub async fn plan<B: Backend>(
    cluster: &Cluster<'_>,
    images: &Images<'_, B>,
    options: &Options<'_>,
    context: &Context<'_>,
) -> Result<Prepared, RolloutError> {
    let state = cluster.folder.require()?;
    cluster.check_epoch(&state, images).await?;
    prepare::prepare(cluster, images, options, context).await
}

/// Begins a rollout, and works on it until it is completed or rests. Returns `None` if every node
/// has its target image: there is nothing to record.
pub async fn start<B: Backend>(
    cluster: &Cluster<'_>,
    images: &Images<'_, B>,
    options: &Options<'_>,
    context: &Context<'_>,
) -> Result<Option<Ended>, RolloutError> {
    let _lock = lock(cluster, images, context).await?;
    let prepared = prepare::prepare(cluster, images, options, context).await?;
    let Some(plan) = prepared.accepted(cluster, images).await? else {
        return Ok(None);
    };
    let control = Control::begin(cluster, images, options, context, &plan).await?;
    let work = control.run(plan);
    context.events.stage(Stage::Rollout, work).await.map(Some)
}

/// Continues an open rollout. Observes again what is true, and believes no journal.
pub async fn resume<B: Backend>(
    cluster: &Cluster<'_>,
    images: &Images<'_, B>,
    options: &Options<'_>,
    context: &Context<'_>,
) -> Result<Ended, RolloutError> {
    let _lock = lock(cluster, images, context).await?;
    let control = Control::find(cluster, images, options, context).await?;
    let plan = control.last_plan().await?;
    let work = control.run(plan);
    context.events.stage(Stage::Rollout, work).await
}

/// Goes back to the nodes from before an open rollout.
pub async fn abort<B: Backend>(
    cluster: &Cluster<'_>,
    images: &Images<'_, B>,
    options: &Options<'_>,
    context: &Context<'_>,
) -> Result<Ended, RolloutError> {
    let _lock = lock(cluster, images, context).await?;
    let control = Control::find(cluster, images, options, context).await?;
    let plan = control.plan_abort().await?;
    let work = control.run(plan);
    context.events.stage(Stage::Rollout, work).await
}

/// Locks a cluster for its controller. Fails if a secret of it is lost, or its state is old.
async fn lock<B: Backend>(
    cluster: &Cluster<'_>,
    images: &Images<'_, B>,
    context: &Context<'_>,
) -> Result<StateLock, RolloutError> {
    let lock = cluster.folder.lock_existing()?;
    let mut state = cluster.folder.require()?;
    cluster.check_epoch(&state, images).await?;
    cluster.make_secrets(&mut state, context).await?;
    Ok(lock)
}

/// Returns the folder for the journals and snapshots of rollouts.
fn folder(cluster: &StateFolder) -> PathBuf {
    cluster.path().join("rollouts")
}
