//! Starts a VM and connects to it over SSH.
//! Takes a builder and the parameters of the start; returns an SSH session.
//! Retries once if the platform ended the VM, because the disk is not the cause then.

use std::time::Duration;

use super::{Boot, Builder, BuilderError, Machine, MachineEnd};
use crate::event::Events;
use crate::secret::Scrubber;
use crate::ssh::{Session, SshError};
use crate::teardown::Teardown;
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// Starts a VM and connects to it, with one retry if the platform ended the first VM. `vm_slot`
/// receives the last VM that was started, also after an error.
pub(crate) async fn start<B: Builder>(
    builder: &B,
    boot: Boot<'_>,
    scrubber: &Scrubber,
    vm_slot: &mut Option<B::Machine>,
    teardown: &mut Teardown,
    (events, interrupt): (&Events, &Interrupt),
) -> Result<Session, BuilderError> {
    // Boxed, because these large futures would become part of the caller's.
    let first = Box::pin(start_once(
        builder,
        boot,
        scrubber,
        vm_slot,
        teardown,
        (events, interrupt),
    ))
    .await;
    match first {
        Err(error) if is_retryable(&error) => {
            interrupt.check()?;
            warn_of_retry(&error, events);
            drop(vm_slot.take());
            let boot = Boot {
                is_retry: true,
                ..boot
            };
            Box::pin(start_once(
                builder,
                boot,
                scrubber,
                vm_slot,
                teardown,
                (events, interrupt),
            ))
            .await
        }
        started => started,
    }
}

/// Starts a VM and connects to it, without a retry.
pub(crate) async fn start_once<B: Builder>(
    builder: &B,
    boot: Boot<'_>,
    scrubber: &Scrubber,
    vm_slot: &mut Option<B::Machine>,
    teardown: &mut Teardown,
    (events, interrupt): (&Events, &Interrupt),
) -> Result<Session, BuilderError> {
    let machine = vm_slot.insert(builder.boot(boot, teardown, events, interrupt).await?);
    let endpoint = machine.endpoint();
    let timeout = Duration::from_secs(boot.machine.boot_timeout_s());
    let died = async || machine.end().map(|end| end.to_string());
    let scrubber = scrubber.clone();
    let connecting = Session::connect(
        &endpoint, boot.keys, timeout, died, scrubber, events, interrupt,
    );
    match connecting.await {
        Ok(session) => Ok(session),
        Err(error) => Err(not_up(boot.role, error, machine).await),
    }
}

/// Returns the error for a VM that no connection succeeded to: its end if it ended, otherwise
/// `error`.
pub(crate) async fn not_up<M: Machine>(
    role: &str,
    error: SshError,
    machine: &mut M,
) -> BuilderError {
    match (error, machine.end()) {
        (SshError::Interrupted(interrupted), _) => interrupted.into(),
        (_, Some(end)) => BuilderError::Died {
            machine: role.to_owned(),
            end: Box::new(end),
        },
        (error, None) => BuilderError::NotUp {
            error: Box::new(error),
            console: machine.console().await,
        },
    }
}

/// Returns whether `error` is an end of the VM after which a second start may succeed.
pub(crate) fn is_retryable(error: &BuilderError) -> bool {
    matches!(error, BuilderError::Died { end, .. } if end.cause.is_retryable())
}

/// Warns that the VM is started again after `error`.
pub(crate) fn warn_of_retry(error: &BuilderError, events: &Events) {
    events.warn(format!(
        "{error}\nstarting the VM again, because the platform ended it"
    ));
}

/// Returns the cause of the end of `machine`, or `None` if it still runs after a few seconds.
/// Called after a connection broke, which is visible before the end of the VM.
pub(crate) async fn wait_for_end<M: Machine>(
    machine: &mut M,
    interrupt: &Interrupt,
) -> Option<MachineEnd> {
    let waited = Wait::new("the end of the VM", END_DEADLINE)
        .until(&Events::silent(), interrupt, || {
            let poll = match machine.end() {
                Some(end) => Poll::Ready(end),
                None => Poll::NotYet("it still runs".to_owned()),
            };
            async { poll }
        })
        .await;
    waited.map_err(|_: WaitError<()>| ()).ok()
}

/// An emulator closes its connections shortly before its process ends.
const END_DEADLINE: Duration = Duration::from_secs(3);
