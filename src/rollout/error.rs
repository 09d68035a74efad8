//! The errors of a rollout.

use super::check::Violation;
use super::execute::ExecuteError;
use super::journal::JournalError;
use super::planner::PlanError;
use super::refusal::Refusal;
use super::targets::TargetsError;
use crate::cluster::state::StateError;
use crate::cluster::{ClusterError, TokenError};
use crate::store::StoreError;

/// A rollout that cannot begin or continue.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// Guards refuse it.
    #[error("cannot roll out to cluster {name}: {}", reasons(.refusals))]
    Refused {
        /// The name of the cluster.
        name: String,
        /// The reasons, at least one.
        refusals: Vec<Refusal>,
    },
    /// The cluster has no open rollout.
    #[error("cluster {name} has no open rollout")]
    NotOpen {
        /// The name of the cluster.
        name: String,
    },
    /// Another controller has the rollout.
    #[error(
        "cannot continue the rollout of cluster {name}: another controller has it, with epoch {epoch}"
    )]
    Elsewhere {
        /// The name of the cluster.
        name: String,
        /// The epoch of the other controller.
        epoch: u64,
    },
    /// A plan of the store that cannot be read.
    #[error("cannot read the plan {digest}: {why}")]
    BadPlan {
        /// The digest of the plan.
        digest: String,
        /// The reason.
        why: String,
    },
    /// The planner made a plan that its checker refuses: a defect of vault-bake.
    #[error("cannot use the plan: {}", all_texts(.violations))]
    Unsafe {
        /// The broken rules.
        violations: Vec<Violation>,
    },
    /// The cluster changed again and again during the rollout.
    #[error(
        "cannot follow the cluster: it has changed {plans} times during the rollout, last: {why}"
    )]
    Unsteady {
        /// The number of plans.
        plans: usize,
        /// The last difference.
        why: String,
    },
    /// The canary cannot be started.
    #[error("cannot measure what clients feel: {0}")]
    Canary(String),
    /// The administrator's token, with which the canary gets one of its own, does not work.
    #[error("cannot measure what clients feel: {0}")]
    Operator(TokenError),
    /// The images are no targets of one rollout.
    #[error(transparent)]
    Targets(#[from] TargetsError),
    /// There is no plan from here.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A step failed.
    #[error("{error}")]
    Execute {
        /// The error.
        error: ExecuteError,
        /// What to do about it, as an imperative.
        hint: Option<String>,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The cluster cannot be asked or changed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<StateError> for RolloutError {
    fn from(error: StateError) -> Self {
        Self::Cluster(error.into())
    }
}

fn reasons(refusals: &[Refusal]) -> String {
    let reasons: Vec<&str> = refusals.iter().map(|one| one.why.as_str()).collect();
    reasons.join("; ")
}

fn all_texts(violations: &[Violation]) -> String {
    let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl RolloutError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { refusals, .. } => {
                let hints: Vec<&str> = refusals.iter().map(|one| one.hint.as_str()).collect();
                Some(hints.join(" "))
            }
            Self::NotOpen { name } => Some(format!("Run `vault-bake rollout start {name}`.")),
            Self::Elsewhere { name, .. } => Some(format!(
                "If that controller does not run any more, run \
                 `vault-bake rollout resume {name} --take-over`."
            )),
            Self::BadPlan { .. } => Some("Run `vault-bake verify`.".to_owned()),
            Self::Unsafe { .. } => Some("Report this: the plan was not started.".to_owned()),
            Self::Unsteady { .. } => Some("Run `vault-bake cluster status`.".to_owned()),
            Self::Canary(_) => None,
            Self::Operator(error) => Some(error.hint()),
            Self::Targets(error) => Some(error.hint()),
            Self::Plan(error) => error.hint(),
            Self::Execute { hint, .. } => hint.clone(),
            Self::Journal(_) => {
                Some("Free space on the disk, then run `vault-bake rollout resume`.".to_owned())
            }
            // No option of a rollout accepts a revoked image.
            Self::Cluster(ClusterError::Resolve(error)) => {
                error.hint_of(&|option| option != "--allow-revoked")
            }
            Self::Cluster(error) => error.hint(),
            Self::Store(error) => error.hint(),
        }
    }
}
