//! Errors of running steps and checks in a build VM.

use super::check_record::{CheckRecord, Phase};
use crate::plan::InvalidFirstLine;
use crate::process::{ProcessError, last_lines};
use crate::ssh::{Endpoint, InvalidVariable, SshError};
use crate::wait::Interrupted;

/// A step or check that failed.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// A step with a non-zero exit status.
    #[error(
        "step {step} failed on {endpoint} (exit {exit}){}{}",
        last_lines(.last), disk_full(.full.as_deref())
    )]
    Step {
        /// The step and its action, as in `vault/install`.
        step: String,
        /// The user and address of the machine.
        endpoint: String,
        /// The exit status.
        exit: i32,
        /// The last lines of its output, scrubbed.
        last: Vec<String>,
        /// The machine's full file systems, as in `/ has 0 of 3900 MiB free`.
        full: Option<String>,
    },
    /// A machine that shut down, rebooted or left its normal state during or after a step.
    #[error("step {step} cannot be completed: the machine {endpoint} went away: {how}")]
    WentAway {
        /// The step and its action, as in `web/script`.
        step: String,
        /// The user and address of the machine.
        endpoint: String,
        /// The observed reason.
        how: DepartureReason,
    },
    /// A step that the SSH session could not complete.
    #[error("on {endpoint}: step {error}")]
    Ssh {
        /// The user and address of the machine.
        endpoint: String,
        /// The error, with the name of the step.
        error: SshError,
    },
    /// A program on this computer that failed, such as `ansible-playbook`.
    #[error("step {step}: {error}")]
    Program {
        /// The step and its action, as in `site/playbook`.
        step: String,
        /// The error of the program.
        error: ProcessError,
    },
    /// A program on this computer that did not end in time.
    #[error("step {step} did not end within {timeout_s} s and was killed{}", last_lines(.last))]
    TimedOut {
        /// The step and its action, as in `site/playbook`.
        step: String,
        /// The limit in seconds.
        timeout_s: u64,
        /// The last lines of its output, scrubbed.
        last: Vec<String>,
    },
    /// A file on this computer that a step cannot read or write.
    #[error("step {step}: cannot access {path}: {error}")]
    Local {
        /// The step and its action, as in `site/playbook`.
        step: String,
        /// The path of the file.
        path: String,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// A malformed environment variable.
    #[error("step {step}: {error}")]
    Environment {
        /// The name of the step, as in `vault`.
        step: String,
        /// The defect.
        error: InvalidVariable,
    },
    /// A script whose first line does not name a usable interpreter.
    #[error("step {step}: {file}: {error}")]
    FirstLine {
        /// The name of the step, as in `web`.
        step: String,
        /// The file name of the script, as in `script.sh`.
        file: String,
        /// The defect.
        error: InvalidFirstLine,
    },
    /// Failed checks.
    #[error("{} of {} checks failed on {endpoint} ({phase}): {}", failed(.records).len(), .records.len(), failed(.records).join(", "))]
    Checks {
        /// The user and address of the machine.
        endpoint: String,
        /// The phase in which the checks ran.
        phase: Phase,
        /// The records of all checks.
        records: Vec<CheckRecord>,
    },
    /// A plan whose last step is not the seal.
    #[error("the last step of {image} is not a seal")]
    NoSeal {
        /// The name of the image.
        image: String,
    },
    /// A script with unexpected output.
    #[error("cannot parse the output of {what} on {endpoint}: `{line}`")]
    Unexpected {
        /// The name of the script.
        what: String,
        /// The user and address of the machine.
        endpoint: String,
        /// The first unexpected line.
        line: String,
    },
    /// An interrupt by the user.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// The observed reason why a machine went away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DepartureReason {
    /// The connection broke, with the reason.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// systemd is shutting the machine down.
    #[error("it is shutting down")]
    ShuttingDown,
    /// A shutdown is scheduled for later.
    #[error("a shutdown is scheduled")]
    Scheduled,
    /// systemd left the normal target of a running machine.
    #[error("it left multi-user.target, as after `systemctl isolate`")]
    Isolated,
}

impl ProvisionError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Step { full: Some(_), .. } => "Raise `disk_gib` in the definition.",
            Self::WentAway { .. } => {
                "Reboot only in a separate step with `reboot = true`. \
                 Remove commands that shut down the build VM from this step and earlier ones."
            }
            Self::NoSeal { .. } => "Add the provisioner `seal` as the last step of the definition.",
            Self::Ssh { error, .. } => return error.hint(),
            Self::Program { error, .. } => return error.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether the connection to the machine broke, as it does if the machine is gone.
    pub(crate) fn is_broken_connection(&self) -> bool {
        matches!(
            self,
            Self::Ssh {
                error: SshError::Died { .. } | SshError::NoStatus { .. },
                ..
            } | Self::WentAway {
                how: DepartureReason::Lost(_),
                ..
            }
        )
    }

    /// Converts the error of a session with `endpoint`.
    pub(super) fn ssh(endpoint: &Endpoint, error: SshError) -> Self {
        match error {
            SshError::Interrupted(interrupted) => interrupted.into(),
            SshError::Lost { what, why } => Self::WentAway {
                step: what,
                endpoint: endpoint.to_string(),
                how: DepartureReason::Lost(why),
            },
            error => Self::Ssh {
                endpoint: endpoint.to_string(),
                error,
            },
        }
    }
}

fn disk_full(full: Option<&str>) -> String {
    full.map(|full| format!("\n  the disk of the build VM is full: {full}"))
        .unwrap_or_default()
}

/// Returns the ids of the failed checks.
fn failed(records: &[CheckRecord]) -> Vec<&str> {
    records
        .iter()
        .filter(|record| !record.ok)
        .map(|record| record.id.as_str())
        .collect()
}
