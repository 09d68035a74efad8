//! One start of a captured image: does it come up, and do its checks pass.
//!
//! In: an image, its checks, an identity. Out: what the machine showed, as a verdict on the image.
//! An end by the platform, or a fault of this computer, is an error and no verdict.

use super::{BootTestError, Subject};
use crate::build_record::check_fact;
use crate::builder::{AccessBy, Boot, Builder, BuilderError, Disk, Machine as _, start};
use crate::guest_steps::{self, Audit, Guest, ProvisionError};
use crate::identity::Identity;
use crate::manifest::CheckFact;
use crate::plan::PlannedStep;
use crate::process::last_lines;
use crate::run_context::RunContext;
use crate::secret::Scrubber;
use crate::ssh::{Keys, Reboot, Session, SshError};
use crate::teardown::Teardown;

/// The first check of every test: that the image comes up at all.
pub const BOOT_CHECK: &str = "boot.answers";

/// What an image is started for.
pub(super) struct Attempt<'a, B> {
    pub builder: &'a B,
    pub subject: &'a Subject<'a>,
    pub steps: &'a [PlannedStep],
    pub identity: &'a Identity,
    pub run: &'a str,
    pub world: &'a RunContext<'a>,
}

/// What a machine showed.
pub(super) struct Outcome {
    pub audit: Option<Audit>,
    pub checks: Vec<CheckFact>,
    pub failure: Option<String>,
}

impl Outcome {
    /// An image that came up, or did not, with what else is wrong.
    fn new(came_up: bool, failure: Option<String>) -> Self {
        Self {
            audit: None,
            checks: vec![CheckFact {
                description: "the image boots and answers on ssh".to_owned(),
                id: BOOT_CHECK.to_owned(),
                ok: came_up,
                skipped: None,
                step: "boot".to_owned(),
            }],
            failure,
        }
    }
}

impl<B: Builder> Attempt<'_, B> {
    /// Starts the image and checks it. `again` says that the platform ended its first start.
    pub async fn make(
        &self,
        again: bool,
        teardown: &mut Teardown,
    ) -> Result<Outcome, BootTestError> {
        let (checks, world) = (self.subject.checks, self.world);
        let disk = Disk {
            content: self.subject.content.clone(),
            firmware: checks.firmware,
            access: checks.access,
            kernel: None,
        };
        let keys = Keys::generate();
        let tar = self.identity.to_tar();
        // On Azure no disk brings it.
        let by_ssh = disk.access == AccessBy::CustomData;
        let boot = Boot {
            disk: &disk,
            layer: None,
            machine: &checks.machine,
            keys: &keys,
            identity: (!by_ssh).then_some(&tar),
            role: "test",
            again,
        };
        let scrubber = Scrubber::new(self.identity.secrets());
        let told = (world.events, world.interrupt);
        let mut machine = None;
        let starting =
            start::start_once(self.builder, boot, &scrubber, &mut machine, teardown, told);
        let session = match starting.await {
            Ok(session) => session,
            Err(error) => return not_up(error),
        };
        let guest = Guest {
            image: &checks.image,
            steps: self.steps,
            folder: teardown.work(),
            lib: checks.lib.as_bytes(),
            releases: &checks.releases,
            archives: &[],
            run: self.run,
            work: world.guest_work,
            shown: false,
            local_work: teardown.work(),
            keys: &keys,
            reboot: &Reboot::default(),
            events: world.events,
            interrupt: world.interrupt,
        };
        let identity = by_ssh.then_some(tar.as_slice());
        let mut outcome = Outcome::new(true, None);
        match self.check(&guest, &session, identity, &mut outcome).await {
            Ok(()) => Ok(outcome),
            Err(error) => self.failed(error, machine.as_mut(), outcome).await,
        }
    }

    /// Runs the checks, then the audit, and notes in `outcome` what is known so far.
    async fn check(
        &self,
        guest: &Guest<'_>,
        session: &Session,
        identity: Option<&[u8]>,
        outcome: &mut Outcome,
    ) -> Result<(), ProvisionError> {
        guest_steps::upload(guest, session, 0).await?;
        if let Some(tar) = identity {
            guest_steps::give_identity(guest, session, tar).await?;
        }
        let records = match guest_steps::run_checks(guest, session).await {
            Ok(records) | Err(ProvisionError::Checks { records, .. }) => records,
            Err(error) => return Err(error),
        };
        outcome.checks.extend(records.iter().map(check_fact));
        if let Some(audits) = self.subject.audits {
            let (events, interrupt) = (guest.events, guest.interrupt);
            let auditing =
                guest_steps::audit(&audits.lynis, session, guest.work, events, interrupt);
            outcome.audit = Some(auditing.await?);
        }
        Ok(())
    }

    /// What `error` says about an image that came up: an end by the platform, or a fault of this computer, nothing. What the
    /// checks said before counts.
    async fn failed(
        &self,
        error: ProvisionError,
        machine: Option<&mut B::Machine>,
        outcome: Outcome,
    ) -> Result<Outcome, BootTestError> {
        self.world.interrupt.check()?;
        if let ProvisionError::Interrupted(interrupted) = error {
            return Err(interrupted.into());
        }
        if is_of_this_computer(&error) {
            return Err(BootTestError::Host(error));
        }
        let end = match machine {
            Some(machine) if error.is_broken_connection() => {
                start::end_of(machine, self.world.interrupt).await
            }
            Some(machine) => machine.died(),
            None => None,
        };
        let failure = match end {
            Some(end) if end.by.is_platform() => {
                return Err(BootTestError::Builder(BuilderError::Died {
                    machine: "test".to_owned(),
                    end: Box::new(end),
                }));
            }
            Some(end) => format!("{error}\nthe machine is gone: {end}"),
            None => error.to_string(),
        };
        Ok(Outcome {
            failure: Some(failure),
            ..outcome
        })
    }
}

/// What it says about an image to which no login succeeded.
fn not_up(error: BuilderError) -> Result<Outcome, BootTestError> {
    let failed = |why: String| {
        let failure = format!("the image did not come up: {why}");
        Ok(Outcome::new(false, Some(failure)))
    };
    match error {
        BuilderError::Died { ref end, .. } if !end.by.is_platform() => failed(end.to_string()),
        BuilderError::NotUp { error, console } if !is_own_fault(&error) => {
            failed(format!("{error}{}", last_lines(&console)))
        }
        error => Err(error.into()),
    }
}

/// Whether a step failed for what this computer lacks or does, whatever the machine is like.
fn is_of_this_computer(error: &ProvisionError) -> bool {
    match error {
        ProvisionError::Local { .. }
        | ProvisionError::Program { .. }
        | ProvisionError::Environment { .. }
        | ProvisionError::NoSeal { .. } => true,
        ProvisionError::Ssh { error, .. } => is_own_fault(error),
        _ => false,
    }
}

/// Whether our side of a session failed, not the machine's.
fn is_own_fault(error: &SshError) -> bool {
    matches!(
        error,
        SshError::Key(_) | SshError::Thread(_) | SshError::Archive(_)
    )
}
