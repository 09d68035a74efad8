//! What can go wrong while a machine is provisioned.

use super::checks::{CheckRecord, Phase};
use crate::process::{ProcessError, last_lines};
use crate::ssh::{Endpoint, InvalidVariable, SshError};
use crate::wait::Interrupted;

/// A machine that could not be made into what the plan says.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// A step ended with a status other than 0.
    #[error(
        "step {step} failed on {endpoint} (exit {exit}){}",
        last_lines(.last)
    )]
    Step {
        /// As in `vault/install`.
        step: String,
        /// Which machine.
        endpoint: String,
        /// Its exit status.
        exit: i32,
        /// Its last lines, scrubbed.
        last: Vec<String>,
    },
    /// A step did not come to its own end.
    #[error("on {endpoint}: step {error}")]
    Ssh {
        /// Which machine.
        endpoint: String,
        /// What happened, with the step's name.
        error: SshError,
    },
    /// A program of this machine that a step needs could not do its work.
    #[error("step {step}: {error}")]
    Program {
        /// As in `site/ansible`.
        step: String,
        /// What happened.
        error: ProcessError,
    },
    /// A program of this machine did not end in time.
    #[error("step {step} did not end within {timeout_s} s and was killed{}", last_lines(.last))]
    TimedOut {
        /// As in `site/ansible`.
        step: String,
        /// What it had, in seconds.
        timeout_s: u64,
        /// Its last lines, scrubbed.
        last: Vec<String>,
    },
    /// A file that a step needs on this machine could not be written.
    #[error("step {step}: {path}: {error}")]
    Local {
        /// As in `site/ansible`.
        step: String,
        /// The file.
        path: String,
        /// What happened.
        error: std::io::Error,
    },
    /// An environment variable that no machine can have.
    #[error("step {step}: {error}")]
    Environment {
        /// As in `vault`.
        step: String,
        /// What is wrong with it.
        error: InvalidVariable,
    },
    /// Checks do not hold.
    #[error("{} of {} checks failed on {endpoint} ({phase}): {}", failed(.records).len(), .records.len(), failed(.records).join(", "))]
    Checks {
        /// Which machine.
        endpoint: String,
        /// When.
        phase: Phase,
        /// All checks that were made.
        records: Vec<CheckRecord>,
    },
    /// The plan's last step is not the seal.
    #[error("the plan of {image} has no seal: its last step must be one")]
    NoSeal {
        /// The image.
        image: String,
    },
    /// The machine said something that cannot be understood.
    #[error("{what} on {endpoint} printed something unexpected: `{line}`")]
    Unexpected {
        /// What was asked.
        what: String,
        /// Which machine.
        endpoint: String,
        /// The first line that makes no sense.
        line: String,
    },
    /// We were asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl ProvisionError {
    /// `error` of a session with `endpoint`.
    pub(super) fn ssh(endpoint: &Endpoint, error: SshError) -> Self {
        match error {
            SshError::Interrupted(interrupted) => interrupted.into(),
            error => Self::Ssh {
                endpoint: endpoint.to_string(),
                error,
            },
        }
    }
}

/// The ids of the checks that failed.
fn failed(records: &[CheckRecord]) -> Vec<&str> {
    records
        .iter()
        .filter(|record| !record.ok)
        .map(|record| record.id.as_str())
        .collect()
}
