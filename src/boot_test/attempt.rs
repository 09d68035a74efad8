//! Boots a captured image once and runs its checks.
//! Takes an image, its checks and an identity; returns the results.
//! If the platform ends the VM, or this computer fails, that is an error and not a result.

use super::{BootTestError, Subject};
use crate::build_record::check_fact;
use crate::builder::{
    AccessBy, Boot, Builder, BuilderError, Disk, Machine as _, MachineEnd, start,
};
use crate::guest_steps::{self, Audit, ProvisionError, StepContext};
use crate::identity::Identity;
use crate::manifest::CheckFact;
use crate::plan::PlannedStep;
use crate::process::last_lines;
use crate::run_context::RunContext;
use crate::secret::Scrubber;
use crate::ssh::{Keys, Reboot, Session, SshError};
use crate::teardown::Teardown;

/// The id of the first check of every boot test: the image boots and answers on SSH.
pub const BOOT_CHECK: &str = "boot.answers";

/// The inputs of one boot.
pub(super) struct Attempt<'a, B> {
    pub builder: &'a B,
    pub subject: &'a Subject<'a>,
    pub steps: &'a [PlannedStep],
    pub identity: &'a Identity,
    pub run: &'a str,
    pub context: &'a RunContext<'a>,
}

/// The result of one boot.
pub(super) struct Outcome {
    pub audit: Option<Audit>,
    pub checks: Vec<CheckFact>,
    pub failure: Option<String>,
}

impl Outcome {
    fn new(booted: bool, failure: Option<String>) -> Self {
        Self {
            audit: None,
            checks: vec![CheckFact {
                description: "the image boots and answers on SSH".to_owned(),
                id: BOOT_CHECK.to_owned(),
                ok: booted,
                skipped: None,
                step: "boot".to_owned(),
            }],
            failure,
        }
    }
}

impl<B: Builder> Attempt<'_, B> {
    /// Boots the image and runs its checks. `again` is true if the platform ended the first boot.
    pub async fn run(
        &self,
        again: bool,
        teardown: &mut Teardown,
    ) -> Result<Outcome, BootTestError> {
        let (checks, context) = (self.subject.checks, self.context);
        let disk = Disk {
            content: self.subject.content.clone(),
            firmware: checks.firmware,
            access: checks.access,
            kernel: None,
        };
        let keys = Keys::generate();
        let tar = self.identity.to_tar();
        // On Azure there is no identity disk.
        let by_ssh = disk.access == AccessBy::CustomData;
        let boot = Boot {
            disk: &disk,
            layer: None,
            machine: &checks.machine,
            keys: &keys,
            identity: (!by_ssh).then_some(&tar),
            role: "test",
            is_retry: again,
        };
        let scrubber = Scrubber::new(self.identity.secrets());
        let reporting = (context.events, context.interrupt);
        let mut machine = None;
        let starting = start::start_once(
            self.builder,
            boot,
            &scrubber,
            &mut machine,
            teardown,
            reporting,
        );
        let session = match starting.await {
            Ok(session) => session,
            Err(error) => return boot_failure(error),
        };
        let guest = StepContext {
            image: &checks.image,
            steps: self.steps,
            folder: teardown.work(),
            lib: checks.lib.as_bytes(),
            releases: &checks.releases,
            archives: &[],
            run: self.run,
            work: context.guest_work,
            uses_upload_disk: false,
            local_work: teardown.work(),
            keys: &keys,
            reboot: &Reboot::default(),
            events: context.events,
            interrupt: context.interrupt,
        };
        let identity = by_ssh.then_some(tar.as_slice());
        let mut outcome = Outcome::new(true, None);
        let checking = self.run_checks(&guest, &session, identity, &mut outcome);
        match checking.await {
            Ok(()) => self.settle(machine.as_mut(), outcome).await,
            Err(error) => self.handle_error(error, machine.as_mut(), outcome).await,
        }
    }

    /// Runs the checks, then the audit, and adds the results to `outcome`.
    async fn run_checks(
        &self,
        guest: &StepContext<'_>,
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

    /// Waits for the platform's report about a VM whose checks have ended: an image on which they
    /// pass may still not report to its cloud that it booted.
    async fn settle(
        &self,
        machine: Option<&mut B::Machine>,
        outcome: Outcome,
    ) -> Result<Outcome, BootTestError> {
        let Some(machine) = machine else {
            return Ok(outcome);
        };
        match self.context.interrupt.or(machine.settle()).await? {
            None => Ok(outcome),
            Some(end) => {
                let failure = format!("the VM ended: {end}");
                Self::ended(end, failure, outcome)
            }
        }
    }

    /// Returns a failed outcome for a VM that ended, or an error if its platform is the cause.
    fn ended(end: MachineEnd, failure: String, outcome: Outcome) -> Result<Outcome, BootTestError> {
        if end.cause.is_platform() {
            return Err(BootTestError::Builder(BuilderError::Died {
                machine: "test".to_owned(),
                end: Box::new(end),
            }));
        }
        Ok(Outcome {
            failure: Some(failure),
            ..outcome
        })
    }

    /// Decides whether an error after the boot is a failure of the image.
    ///
    /// If the platform ended the VM, or this computer failed, it is not. Earlier results are kept.
    async fn handle_error(
        &self,
        error: ProvisionError,
        machine: Option<&mut B::Machine>,
        outcome: Outcome,
    ) -> Result<Outcome, BootTestError> {
        self.context.interrupt.check()?;
        if let ProvisionError::Interrupted(interrupted) = error {
            return Err(interrupted.into());
        }
        if is_host_failure(&error) {
            return Err(BootTestError::Host(error));
        }
        let end = match machine {
            Some(machine) if error.is_broken_connection() => {
                start::wait_for_end(machine, self.context.interrupt).await
            }
            Some(machine) => machine.end(),
            None => None,
        };
        match end {
            Some(end) => {
                let failure = format!("{error}\nthe VM ended: {end}");
                Self::ended(end, failure, outcome)
            }
            None => Ok(Outcome {
                failure: Some(error.to_string()),
                ..outcome
            }),
        }
    }
}

/// Returns a failed outcome if the image did not boot, or an error if that says nothing about it.
fn boot_failure(error: BuilderError) -> Result<Outcome, BootTestError> {
    let failed = |why: String| {
        let failure = format!("the image did not boot: {why}");
        Ok(Outcome::new(false, Some(failure)))
    };
    match error {
        BuilderError::Died { ref end, .. } if !end.cause.is_platform() => failed(end.to_string()),
        BuilderError::NotUp { error, console } if !is_local_ssh_failure(&error) => {
            failed(format!("{error}{}", last_lines(&console)))
        }
        error => Err(error.into()),
    }
}

/// Whether a step failed because of this computer.
fn is_host_failure(error: &ProvisionError) -> bool {
    match error {
        ProvisionError::Local { .. }
        | ProvisionError::Program { .. }
        | ProvisionError::Environment { .. }
        | ProvisionError::NoSeal { .. } => true,
        ProvisionError::Ssh { error, .. } => is_local_ssh_failure(error),
        _ => false,
    }
}

/// Whether a session failed on this computer, not on the VM.
fn is_local_ssh_failure(error: &SshError) -> bool {
    matches!(
        error,
        SshError::Key(_) | SshError::Thread(_) | SshError::Archive(_)
    )
}
