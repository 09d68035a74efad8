//! What can go wrong while a machine is provisioned.

use super::checks::{CheckRecord, Phase};
use crate::plan::InvalidFirstLine;
use crate::process::{ProcessError, last_lines};
use crate::ssh::{Endpoint, InvalidVariable, SshError};
use crate::wait::Interrupted;

/// A machine that could not be made into what the plan says.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// A step ended with a status other than 0.
    #[error(
        "step {step} failed on {endpoint} (exit {exit}){}{}",
        last_lines(.last), disk_full(.full.as_deref())
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
        /// The file systems of the machine that are full, as in `/ has 0 of 3900 MiB free`.
        full: Option<String>,
    },
    /// The machine shut down, restarted or left its normal state during a step, or right after it.
    #[error("step {step} cannot be completed: the machine {endpoint} went away: {how}")]
    WentAway {
        /// As in `web/script`.
        step: String,
        /// Which machine.
        endpoint: String,
        /// What was seen.
        how: Leaving,
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
    /// A script names its interpreter in a way that no machine can follow.
    #[error("step {step}: {file}: {error}")]
    FirstLine {
        /// As in `web`.
        step: String,
        /// The script, as in `script.sh`.
        file: String,
        /// What is wrong with it.
        error: InvalidFirstLine,
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

/// How a machine showed that it went away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Leaving {
    /// The connection broke, and how.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// systemd shuts the machine down.
    #[error("it is shutting down")]
    ShuttingDown,
    /// A shutdown waits for its time.
    #[error("a shutdown is scheduled")]
    Scheduled,
    /// systemd left the target of a running machine.
    #[error("it left multi-user.target, as after `systemctl isolate`")]
    Isolated,
}

impl ProvisionError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }

    /// Whether the connection to the machine broke, as it does if the machine is gone.
    pub fn is_broken_connection(&self) -> bool {
        matches!(
            self,
            Self::Ssh {
                error: SshError::Died { .. } | SshError::NoStatus { .. },
                ..
            } | Self::WentAway {
                how: Leaving::Lost(_),
                ..
            }
        )
    }

    /// `error` of a session with `endpoint`.
    pub(super) fn ssh(endpoint: &Endpoint, error: SshError) -> Self {
        match error {
            SshError::Interrupted(interrupted) => interrupted.into(),
            SshError::Lost { what, why } => Self::WentAway {
                step: what,
                endpoint: endpoint.to_string(),
                how: Leaving::Lost(why),
            },
            error => Self::Ssh {
                endpoint: endpoint.to_string(),
                error,
            },
        }
    }
}

/// A line on the file systems that are full.
fn disk_full(full: Option<&str>) -> String {
    full.map(|full| format!("\n  the machine's disk is full: {full}; give it more with `disk_gib`"))
        .unwrap_or_default()
}

/// The ids of the checks that failed.
fn failed(records: &[CheckRecord]) -> Vec<&str> {
    records
        .iter()
        .filter(|record| !record.ok)
        .map(|record| record.id.as_str())
        .collect()
}
