//! The start of a machine, until it lets us in.
//!
//! In: a builder, a disk, keys. Out: a machine and a session with it, or why there is none.
//! Starts a machine once more if its platform ended the first: that end says nothing about what is on the disk.

use std::time::Duration;

use super::{Boot, Builder, BuilderError, Machine, MachineEnd};
use crate::event::Events;
use crate::secret::Scrubber;
use crate::ssh::{Session, SshError};
use crate::teardown::Teardown;
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// Starts a machine, logs in, and does so once more if the platform ended the first machine. `held` has the last one
/// that was started, also after an error.
pub(crate) async fn start<B: Builder>(
    builder: &B,
    boot: Boot<'_>,
    scrubber: &Scrubber,
    held: &mut Option<B::Machine>,
    teardown: &mut Teardown,
    (events, interrupt): (&Events, &Interrupt),
) -> Result<Session, BuilderError> {
    let log_in = (events, interrupt);
    // Each is a large thing to be part of its caller.
    let first = Box::pin(start_once(builder, boot, scrubber, held, teardown, log_in)).await;
    match first {
        Err(error) if is_worth_another_start(&error) => {
            interrupt.check()?;
            announce(&error, events);
            drop(held.take());
            let boot = Boot {
                again: true,
                ..boot
            };
            Box::pin(start_once(builder, boot, scrubber, held, teardown, log_in)).await
        }
        started => started,
    }
}

/// Starts a machine and logs in.
pub(crate) async fn start_once<B: Builder>(
    builder: &B,
    boot: Boot<'_>,
    scrubber: &Scrubber,
    held: &mut Option<B::Machine>,
    teardown: &mut Teardown,
    (events, interrupt): (&Events, &Interrupt),
) -> Result<Session, BuilderError> {
    let machine = held.insert(builder.boot(boot, teardown, events, interrupt).await?);
    let endpoint = machine.endpoint();
    let timeout = Duration::from_secs(boot.machine.boot_timeout_s());
    let died = async || machine.died().map(|end| end.to_string());
    let scrubber = scrubber.clone();
    let connecting = Session::connect(
        &endpoint, boot.keys, timeout, died, scrubber, events, interrupt,
    );
    match connecting.await {
        Ok(session) => Ok(session),
        Err(error) => Err(not_up(boot.role, error, machine).await),
    }
}

/// The error that it is if no login to `machine` succeeded.
pub(super) async fn not_up<M: Machine>(
    role: &str,
    error: SshError,
    machine: &mut M,
) -> BuilderError {
    match (error, machine.died()) {
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

/// Whether the platform ended the machine, and another start may not end so.
pub(crate) fn is_worth_another_start(error: &BuilderError) -> bool {
    matches!(error, BuilderError::Died { end, .. } if end.by.is_worth_another_start())
}

/// Tells that the machine of `error` is started once more.
pub(crate) fn announce(error: &BuilderError, events: &Events) {
    events.warn(format!(
        "{error}\nThis says nothing about what is on its disk, so the machine is started once more."
    ));
}

/// How `machine` ended, if it did so within a few seconds: a connection to it broke, which is seen before its end is.
pub(crate) async fn end_of<M: Machine>(
    machine: &mut M,
    interrupt: &Interrupt,
) -> Option<MachineEnd> {
    let waited = Wait::new("the end of the machine", END_DEADLINE)
        .until(&Events::silent(), interrupt, || {
            let seen = match machine.died() {
                Some(end) => Poll::Ready(end),
                None => Poll::NotYet("it runs".to_owned()),
            };
            async { seen }
        })
        .await;
    waited.map_err(|_: WaitError<()>| ()).ok()
}

/// An emulator lets go of its connections some moments before it is gone.
const END_DEADLINE: Duration = Duration::from_secs(3);
