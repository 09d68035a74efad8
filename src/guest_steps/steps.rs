//! Runs the steps of a plan over a session, after the upload.
//! Returns a record of each step, and the session, which is a new one after a reboot.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::check_record::Phase;
use super::checks::check_steps;
use super::{
    CheckRecord, Clock, ProvisionError, StepContext, StepRecord, ansible, disks, leaving, script,
    upload,
};
use crate::digest::Digest;
use crate::event::{Event, millis};
use crate::plan::{PlannedStep, StepKind};
use crate::ssh::{Ended, Script, Session, SshError};

/// Runs the step at `index`. Fails if the machine then shuts down or does not answer.
///
/// During a reboot, `died` returns why the machine is gone, if it is. If `sync` is set, the machine
/// flushes its disk caches after the step.
pub async fn run_step(
    guest: &StepContext<'_>,
    mut session: Session,
    index: usize,
    mut died: impl AsyncFnMut() -> Option<String>,
    sync: bool,
    now: Clock<'_>,
) -> Result<(Session, StepRecord), ProvisionError> {
    let step = &guest.steps[index];
    let running = RunningStep::start(guest, index, now);
    let ended = if step.kind == StepKind::Reboot {
        session = reboot(guest, session, index, &mut died).await?;
        Ended {
            exit: 0,
            last: Vec::new(),
            log_digest: Digest::hash_bytes(""),
        }
    } else {
        run_in_session(guest, &session, step).await?
    };
    leaving::check_still_up(guest, &session, &action_name(step), sync).await?;
    let record = running.finish(guest, &session, ended, now).await?;
    Ok((session, record))
}

/// Runs the plan's last step, the seal, and its checks.
pub async fn seal(
    guest: &StepContext<'_>,
    session: &Session,
    now: Clock<'_>,
) -> Result<(StepRecord, Vec<CheckRecord>), ProvisionError> {
    let last = guest.steps.iter().enumerate().next_back();
    let Some((index, step)) = last.filter(|(_, step)| is_seal(step)) else {
        return Err(ProvisionError::NoSeal {
            image: guest.image.to_owned(),
        });
    };
    let running = RunningStep::start(guest, index, now);
    let ended = run_in_session(guest, session, step).await?;
    leaving::check_still_up(guest, session, &action_name(step), false).await?;
    let record = running.finish(guest, session, ended, now).await?;
    let has_checks = matches!(step.kind, StepKind::Provisioner { checked: true, .. });
    let steps = has_checks.then_some(step).into_iter();
    let checks = check_steps(guest, Phase::Build, session, steps).await?;
    Ok((record, checks))
}

fn is_seal(step: &PlannedStep) -> bool {
    matches!(step.kind, StepKind::Provisioner { seal: true, .. })
}

/// Returns the kind of a step for its record.
fn kind_name(step: &PlannedStep) -> &'static str {
    match step.kind {
        StepKind::Provisioner { .. } => "provisioner",
        StepKind::Shell => "shell",
        StepKind::File { .. } => "file",
        StepKind::Ansible { .. } => "ansible",
        StepKind::Reboot => "reboot",
    }
}

/// Returns the name of a step with its action, as in `vault/install`.
fn action_name(step: &PlannedStep) -> String {
    let action = match step.kind {
        StepKind::Provisioner { .. } => "install",
        StepKind::Shell => "script",
        StepKind::File { .. } => "file",
        StepKind::Ansible { .. } => "playbook",
        StepKind::Reboot => "reboot",
    };
    format!("{}/{action}", step.name)
}

/// Runs a step that keeps the session.
async fn run_in_session(
    guest: &StepContext<'_>,
    session: &Session,
    step: &PlannedStep,
) -> Result<Ended, ProvisionError> {
    let name = action_name(step);
    let run = |file| {
        let invocation = script::Invocation {
            name: name.clone(),
            file,
            timeout: Duration::from_secs(step.timeout_s),
        };
        script::run_file(guest, step, Phase::Build, invocation)
    };
    let script: Script = match &step.kind {
        StepKind::Provisioner { .. } => run("install.sh")?,
        StepKind::Shell => run("script.sh")?,
        StepKind::File {
            destination,
            mode,
            owner,
        } => {
            let target = script::FileTarget {
                destination,
                mode: *mode,
                owner,
            };
            script::install_file(guest, step, &target, name)
        }
        StepKind::Ansible { playbook, .. } => {
            return ansible::run(guest, session, step, (name, playbook)).await;
        }
        StepKind::Reboot => unreachable!("a reboot needs a new session"),
    };
    let ended = session.run(script, guest.events, guest.interrupt).await;
    match ended {
        Ok(ended) => Ok(ended),
        // A machine that shuts down ends its scripts with a signal, or closes the channel.
        Err(error @ (SshError::Signalled { .. } | SshError::NoStatus { .. })) => {
            leaving::check_still_up(guest, session, &action_name(step), false).await?;
            Err(ProvisionError::ssh(session.endpoint(), error))
        }
        Err(error) => Err(ProvisionError::ssh(session.endpoint(), error)),
    }
}

/// Runs the reboot step at `index`.
/// It empties the tmpfs, so the files for later steps are uploaded again.
async fn reboot(
    guest: &StepContext<'_>,
    session: Session,
    index: usize,
    died: &mut impl AsyncFnMut() -> Option<String>,
) -> Result<Session, ProvisionError> {
    let endpoint = session.endpoint().clone();
    let timeout = Duration::from_secs(guest.steps[index].timeout_s);
    let session = session
        .reboot(
            guest.reboot,
            timeout,
            async || died().await,
            guest.events,
            guest.interrupt,
        )
        .await
        .map_err(|error| ProvisionError::ssh(&endpoint, error))?;
    upload::upload(guest, &session, index + 1).await?;
    Ok(session)
}

/// A step that has started.
struct RunningStep<'a> {
    step: &'a PlannedStep,
    started_at: Timestamp,
    began: Instant,
}

impl<'a> RunningStep<'a> {
    fn start(guest: &StepContext<'a>, index: usize, now: Clock<'_>) -> Self {
        let step = &guest.steps[index];
        guest.events.emit(&Event::StepStarted {
            index: index + 1,
            count: guest.steps.len(),
            step: action_name(step),
        });
        Self {
            step,
            started_at: now(),
            began: Instant::now(),
        }
    }

    /// Returns the record of the step, or an error if its exit status is not 0.
    async fn finish(
        self,
        guest: &StepContext<'_>,
        session: &Session,
        ended: Ended,
        now: Clock<'_>,
    ) -> Result<StepRecord, ProvisionError> {
        let name = action_name(self.step);
        let elapsed_ms = millis(self.began.elapsed());
        guest.events.emit(&Event::StepFinished {
            step: name.clone(),
            elapsed_ms,
            exit: ended.exit,
        });
        if ended.exit != 0 {
            return Err(ProvisionError::Step {
                step: name,
                endpoint: session.endpoint().to_string(),
                exit: ended.exit,
                last: ended.last,
                full: disks::full_file_systems(guest, session).await,
            });
        }
        Ok(StepRecord {
            name: self.step.name.clone(),
            digest: self.step.digest,
            kind: kind_name(self.step).to_owned(),
            started_at: self.started_at,
            ended_at: now(),
            elapsed_ms,
            exit: ended.exit,
            log_digest: ended.log_digest,
        })
    }
}
