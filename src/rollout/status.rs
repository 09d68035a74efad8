//! What is done of a rollout, what is next, and what clients felt: from the store and the journal.
//! Works while a controller runs, and after it was killed.

use jiff::Timestamp;
use serde::Serialize;

use super::journal::{Entries, Entry, JournalFile, Mark};
use super::plan::{Plan, Purpose};
use super::record::measured;
use super::{Figures, RolloutError, folder};
use crate::cluster::state::State;
use crate::cluster::{Cluster, ClusterError};
use crate::digest::Digest;
use crate::store::Store;
use crate::store::backend::Backend;

/// An open rollout at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct RolloutStatus {
    /// The name of the cluster.
    pub cluster: String,
    /// The epoch of the controller.
    pub epoch: u64,
    /// Whether a controller works on it on this computer now.
    pub is_running: bool,
    /// Whether another controller has it.
    pub is_elsewhere: bool,
    /// The direction.
    pub purpose: Purpose,
    /// The digest of the present plan.
    pub plan: Digest,
    /// The number of plans so far.
    pub plans: usize,
    /// The time of its begin.
    pub begun_at: Timestamp,
    /// The steps of the present plan.
    pub steps: Vec<StepStatus>,
    /// Why the last controller stopped, if it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resting: Option<String>,
    /// Whether an abort can go back: Vault's data is not yet that of another version.
    pub can_abort: bool,
    /// What clients felt so far.
    pub figures: Figures,
    /// The lines of the journal that cannot be read, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// A step at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepStatus {
    /// The step in words.
    pub step: String,
    /// Its state.
    pub state: StepState,
    /// The time that it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// The longest time that clients waited during it, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_gap_ms: Option<u64>,
}

/// The state of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Its gate was reached.
    Done,
    /// The cluster was there already.
    Skipped,
    /// It was begun.
    Begun,
    /// It failed.
    Failed,
    /// It was undone.
    Undone,
    /// It has not begun.
    Waiting,
}

/// Returns the open rollout of a cluster, if there is one.
pub async fn status<B: Backend>(
    cluster: &Cluster<'_>,
    store: &Store<B>,
) -> Result<Option<RolloutStatus>, RolloutError> {
    let state: State = cluster.folder.require()?;
    let history = store.history().await?;
    let Some(open) = history.open_rollout(&state.id) else {
        return Ok(None);
    };
    let name = format!("{}.jsonl", &open.plan.hex()[..16]);
    let path = folder(cluster.folder).join(name);
    let Entries { entries, damaged } = match path.is_file() {
        true => JournalFile::read(&path)?,
        false => Entries::default(),
    };
    let plan = entries.last().map_or(open.plan, |last| last.plan);
    let bytes = store.object(&plan).await?;
    let planned = Plan::parse(&bytes).map_err(|error| RolloutError::BadPlan {
        digest: plan.to_string(),
        why: error.to_string(),
    })?;
    let mut plans: Vec<Digest> = entries.iter().map(|entry| entry.plan).collect();
    plans.dedup();
    let first = history.rollout_epochs(open);
    let steps = steps(&planned, plan, &entries);
    Ok(Some(RolloutStatus {
        cluster: state.name.clone(),
        epoch: open.epoch,
        is_running: is_locked(cluster)?,
        is_elsewhere: state.rollout.is_none_or(|own| own.epoch != open.epoch),
        purpose: planned.purpose,
        plan,
        plans: plans.len().max(1),
        begun_at: first
            .first()
            .map_or(open.at, |one| one.begun_at)
            .timestamp(),
        can_abort: can_abort(&planned, &entries),
        steps,
        resting: resting(&entries),
        figures: measured(&entries).0,
        damaged,
    }))
}

/// Whether an abort of `plan` can go back, as far as its journal tells: see [`Plan::goes_back`].
pub fn can_abort(plan: &Plan, entries: &[Entry]) -> bool {
    let digest = plan.digest();
    let begun = entries.iter().filter(|entry| {
        let is_step = !matches!(
            entry.mark,
            Mark::Started | Mark::Measured { .. } | Mark::Resting { .. }
        );
        entry.plan == digest && is_step
    });
    let last = begun.map(|entry| entry.step + 1).max();
    plan.goes_back(last.unwrap_or(0))
}

fn is_locked(cluster: &Cluster<'_>) -> Result<bool, RolloutError> {
    use crate::cluster::state::StateError;
    match cluster.folder.lock_existing() {
        Ok(_) => Ok(false),
        Err(StateError::Locked { .. }) => Ok(true),
        Err(error) => Err(ClusterError::from(error).into()),
    }
}

fn steps(plan: &Plan, digest: Digest, entries: &[Entry]) -> Vec<StepStatus> {
    let status = |(index, step): (usize, &super::Step)| {
        let mut status = StepStatus {
            step: step.action.to_string(),
            state: StepState::Waiting,
            elapsed_ms: None,
            longest_gap_ms: None,
        };
        let own = |entry: &&Entry| entry.plan == digest && entry.step == index;
        for entry in entries.iter().filter(own) {
            let (state, result) = match &entry.mark {
                Mark::Intent | Mark::UndoIntent => (StepState::Begun, None),
                Mark::Done(result) => (StepState::Done, Some(result)),
                Mark::Failed(result) => (StepState::Failed, Some(result)),
                Mark::Skipped if status.state == StepState::Done => continue,
                Mark::Skipped => (StepState::Skipped, None),
                Mark::Undone => (StepState::Undone, None),
                Mark::Started | Mark::Measured { .. } | Mark::Resting { .. } => continue,
            };
            status.state = state;
            status.elapsed_ms = result.map(|result| result.elapsed_ms);
            status.longest_gap_ms = result.map(|result| result.figures.longest_gap_ms);
        }
        status
    };
    plan.steps.iter().enumerate().map(status).collect()
}

/// Returns why the last controller stopped, unless another one has begun since.
fn resting(entries: &[Entry]) -> Option<String> {
    let mut why = None;
    for entry in entries {
        match &entry.mark {
            Mark::Started => why = None,
            Mark::Resting { why: text } => why = Some(text.clone()),
            _ => {}
        }
    }
    why
}
