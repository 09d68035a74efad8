//! Does the steps of a plan, in order.
//!
//! In: a session with everything uploaded. Out: a record of each step, and the session, which is another one after a
//! restart. The first step that fails ends it.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::checks::{Phase, check_steps};
use super::{
    CheckRecord, Guest, ProvisionError, StepContext, StepRecord, ansible, disks, leaving, script,
    upload,
};
use crate::digest::Digest;
use crate::event::{Event, millis};
use crate::plan::{PlannedStep, StepKind};
use crate::ssh::{Ended, Script, Session, SshError};

/// Runs the step at `index`, and fails if the machine goes away with it. `died` says why the machine is gone, where it is,
/// while it restarts. With `sync` the machine then writes to its disk all that it holds back.
pub async fn run_step(
    guest: &Guest<'_>,
    mut session: Session,
    index: usize,
    mut died: impl AsyncFnMut() -> Option<String>,
    sync: bool,
    now: StepContext<'_>,
) -> Result<(Session, StepRecord), ProvisionError> {
    let step = &guest.steps[index];
    let begun = RunningStep::new(guest, index, now);
    let ended = if step.kind == StepKind::Reboot {
        session = restart(guest, session, index, &mut died).await?;
        Ended {
            exit: 0,
            last: Vec::new(),
            log_digest: Digest::of(""),
        }
    } else {
        one(guest, &session, step).await?
    };
    leaving::check(guest, &session, &names(step).1, sync).await?;
    let record = begun.record(guest, &session, ended, now).await?;
    Ok((session, record))
}

/// Does the plan's last step, the seal, and makes its checks.
pub async fn seal(
    guest: &Guest<'_>,
    session: &Session,
    now: StepContext<'_>,
) -> Result<(StepRecord, Vec<CheckRecord>), ProvisionError> {
    let last = guest.steps.iter().enumerate().next_back();
    let Some((index, step)) = last.filter(|(_, step)| is_seal(step)) else {
        return Err(ProvisionError::NoSeal {
            image: guest.image.to_owned(),
        });
    };
    let begun = RunningStep::new(guest, index, now);
    let ended = one(guest, session, step).await?;
    leaving::check(guest, session, &names(step).1, false).await?;
    let record = begun.record(guest, session, ended, now).await?;
    let checked = matches!(step.kind, StepKind::Provisioner { checked: true, .. });
    let own = checked.then_some(step);
    let checks = check_steps(guest, Phase::Build, session, own.into_iter()).await?;
    Ok((record, checks))
}

fn is_seal(step: &PlannedStep) -> bool {
    matches!(step.kind, StepKind::Provisioner { seal: true, .. })
}

/// The step's kind in a word, and what its doing is called: `vault/install`.
fn names(step: &PlannedStep) -> (&'static str, String) {
    let (kind, doing) = match step.kind {
        StepKind::Provisioner { .. } => ("provisioner", "install"),
        StepKind::Shell => ("shell", "script"),
        StepKind::File { .. } => ("file", "file"),
        StepKind::Ansible { .. } => ("ansible", "playbook"),
        StepKind::Reboot => ("reboot", "reboot"),
    };
    (kind, format!("{}/{doing}", step.name))
}

/// Does a step that leaves the session as it is.
async fn one(
    guest: &Guest<'_>,
    session: &Session,
    step: &PlannedStep,
) -> Result<Ended, ProvisionError> {
    let (_, name) = names(step);
    let timeout = Duration::from_secs(step.timeout_s);
    let run = |file| script::run_file(guest, step, Phase::Build, (name.clone(), file, timeout));
    let script: Script = match &step.kind {
        StepKind::Provisioner { .. } => run("install.sh")?,
        StepKind::Shell => run("script.sh")?,
        StepKind::File {
            destination,
            mode,
            owner,
        } => script::put_file(guest, step, (destination, *mode, owner), name),
        StepKind::Ansible { playbook, .. } => {
            return ansible::run(guest, session, step, (name, playbook)).await;
        }
        StepKind::Reboot => unreachable!("a restart makes another session"),
    };
    let ended = session.run(script, guest.events, guest.interrupt).await;
    match ended {
        Ok(ended) => Ok(ended),
        // A machine that shuts down ends its scripts by a signal, or closes the channel.
        Err(error @ (SshError::Signalled { .. } | SshError::NoStatus { .. })) => {
            leaving::check(guest, session, &names(step).1, false).await?;
            Err(ProvisionError::ssh(session.endpoint(), error))
        }
        Err(error) => Err(ProvisionError::ssh(session.endpoint(), error)),
    }
}

/// Does the restart at `index`: the machine's tmpfs is empty then, and what later steps need is uploaded again.
async fn restart(
    guest: &Guest<'_>,
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

/// A step that was begun.
struct RunningStep<'a> {
    step: &'a PlannedStep,
    started_at: Timestamp,
    began: Instant,
}

impl<'a> RunningStep<'a> {
    fn new(guest: &Guest<'a>, index: usize, now: StepContext<'_>) -> Self {
        let step = &guest.steps[index];
        guest.events.emit(&Event::StepStarted {
            index: index + 1,
            count: guest.steps.len(),
            step: names(step).1,
        });
        Self {
            step,
            started_at: now(),
            began: Instant::now(),
        }
    }

    /// The record of its end, or the error that its end is.
    async fn record(
        self,
        guest: &Guest<'_>,
        session: &Session,
        ended: Ended,
        now: StepContext<'_>,
    ) -> Result<StepRecord, ProvisionError> {
        let (kind, name) = names(self.step);
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
                full: disks::full(guest, session).await,
            });
        }
        Ok(StepRecord {
            name: self.step.name.clone(),
            digest: self.step.digest,
            kind: kind.to_owned(),
            started_at: self.started_at,
            ended_at: now(),
            elapsed_ms,
            exit: ended.exit,
            log_digest: ended.log_digest,
        })
    }
}
