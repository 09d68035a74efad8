//! How an execution ends: completed, at rest, in need of a new plan, or with an error.

use crate::rollout::EffectError;
use crate::rollout::journal::JournalError;
use crate::rollout::plan::{Plan, Purpose};
use crate::terminal::counted;

/// The end of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Completed,
    /// The cluster serves, and the rollout can be resumed or aborted.
    Resting {
        /// The position of the next step, from 0.
        next: usize,
        /// The reason.
        why: Rest,
    },
    /// The cluster differs from the plan in a way that a new plan takes into account.
    Changed {
        /// The position of the next step, from 0.
        next: usize,
        /// The difference.
        why: String,
    },
}

/// The end of a step that is no error.
pub(super) enum StepEnd {
    /// Its gate was reached.
    Done,
    /// The plan does not fit, with the difference.
    Changed(String),
    /// The user interrupted it, which only a soak allows.
    Interrupted,
}

/// Why a controller rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// The user asked for it.
    Interrupted,
    /// The next step is the hand-over.
    BeforeHandOver,
    /// Requests of the canary failed.
    CanaryFailed {
        /// Their number.
        failed: u64,
    },
}

impl std::fmt::Display for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::BeforeHandOver => f.write_str("the next step is the hand-over"),
            Self::CanaryFailed { failed } => {
                write!(f, "{} of the canary failed", counted(failed, "request"))
            }
        }
    }
}

/// A rollout that cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// A step whose effect failed, or that did not reach its gate.
    #[error("cannot {step}: {why}")]
    Step {
        /// The step in words, beginning with a verb.
        step: String,
        /// The position of the step, from 0.
        index: usize,
        /// The reason, or what was seen last.
        why: String,
        /// What to do about it, as an imperative.
        hint: Option<String>,
        /// Whether the effect was undone.
        undone: bool,
    },
    /// A step whose conditions are not met. It has changed nothing.
    #[error("cannot begin to {step}: {why}")]
    NotReady {
        /// The step in words, beginning with a verb.
        step: String,
        /// The position of the step, from 0.
        index: usize,
        /// What was seen last.
        why: String,
    },
    /// The cluster could not be asked. Whether the step succeeded is unknown.
    #[error("cannot tell whether to {step} succeeded: {why}")]
    Inconclusive {
        /// The step in words, beginning with a verb.
        step: String,
        /// The position of the step, from 0.
        index: usize,
        /// The reason.
        why: String,
    },
    /// The store forbids a step that takes a node away, as after a revocation. It changed nothing.
    #[error("cannot {step}: {why}")]
    Refused {
        /// The step in words, beginning with a verb.
        step: String,
        /// The position of the step, from 0.
        index: usize,
        /// The reason.
        why: String,
        /// What to do about it, as an imperative.
        hint: String,
    },
    /// Vault's key shares are needed.
    #[error("cannot unseal {node}: key shares are needed")]
    UnsealNeeded {
        /// The node.
        node: String,
    },
    /// Another controller took over.
    #[error("cannot continue: another controller took the rollout over with epoch {epoch}")]
    TakenOver {
        /// Its epoch.
        epoch: u64,
    },
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The user interrupted twice. The journal tells what was begun.
    #[error("interrupted")]
    LeftNow,
}

impl ExecuteError {
    /// Returns what to do about it, as an imperative, if there is something to do. `plan` is the
    /// plan that was executed.
    pub fn hint(&self, plan: &Plan) -> Option<String> {
        let name = &plan.name;
        let (resume, abort) = (
            format!("`vault-bake rollout resume {name}`"),
            format!("`vault-bake rollout abort {name}`"),
        );
        let ways = |begun: usize| match plan.goes_back(begun) {
            true => format!("{resume} or {abort}"),
            false => resume.clone(),
        };
        Some(match self {
            Self::Step {
                hint: Some(hint), ..
            }
            | Self::Refused { hint, .. } => hint.clone(),
            Self::Step {
                undone: true,
                index,
                ..
            } => format!(
                "The step was undone, and the cluster serves. Mend the cause, then run {}.",
                ways(*index)
            ),
            Self::Step { index, .. } => left_as_it_is(name, &ways(index + 1)),
            Self::NotReady { index, .. } => left_as_it_is(name, &ways(*index)),
            Self::Inconclusive { .. } => format!(
                "Nothing more was changed. Run {resume} when the cluster can be reached again."
            ),
            Self::UnsealNeeded { .. } => {
                let verb = match plan.purpose {
                    Purpose::Replace => "resume",
                    Purpose::Abort => "abort",
                };
                format!(
                    "Run `vault-bake rollout {verb} {name} --unseal-keys FILE`. No node was taken \
                     away."
                )
            }
            Self::TakenOver { .. } => "Leave the rollout to the other controller.".to_owned(),
            Self::Journal(_) => format!("Free space on the disk, then run {resume}."),
            Self::LeftNow => {
                format!("A step may be half done. Run {resume}, which finishes or undoes it.")
            }
        })
    }
}

fn left_as_it_is(name: &str, ways: &str) -> String {
    format!(
        "The cluster was left as it is. Run `vault-bake cluster status {name}`, mend the cause, \
         then run {ways}."
    )
}

pub(super) fn inconclusive(index: usize, step: String, why: String) -> ExecuteError {
    ExecuteError::Inconclusive { step, index, why }
}

pub(super) fn effect_error(index: usize, step: &str, error: EffectError) -> ExecuteError {
    let step = step.to_owned();
    match error {
        EffectError::Failed { message, hint } => ExecuteError::Step {
            step,
            index,
            why: message,
            hint,
            undone: false,
        },
        EffectError::UnsealNeeded { node } => ExecuteError::UnsealNeeded { node },
        EffectError::Inconclusive(why) => inconclusive(index, step, why),
        EffectError::Refused { message, hint } => ExecuteError::Refused {
            step,
            index,
            why: message,
            hint,
        },
        EffectError::TakenOver { epoch } => ExecuteError::TakenOver { epoch },
        EffectError::Interrupted(_) => ExecuteError::LeftNow,
    }
}
