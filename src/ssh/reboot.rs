//! Reboots a machine and returns a session with its next boot.
//! The kernel's boot id identifies a boot. A lost connection alone does not count as a reboot.

use std::time::{Duration, Instant};

use super::{Script, Session, SshError, quote};
use crate::event::Events;
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// The commands and files for a reboot. Tests replace them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reboot {
    /// A POSIX shell command that starts the reboot and returns.
    pub command: String,
    /// A file whose content differs in each boot.
    pub boot_id: String,
    /// POSIX sh code that prints systemd's targets for a shutdown as `systemctl show` does.
    /// It prints nothing on a machine without systemd.
    pub state: String,
}

impl Default for Reboot {
    fn default() -> Self {
        Self {
            command: "systemctl --no-block reboot".to_owned(),
            boot_id: "/proc/sys/kernel/random/boot_id".to_owned(),
            state: STATE.to_owned(),
        }
    }
}

/// Prints systemd's properties of the normal target and of the shutdown target.
/// Prints `scheduled` if a shutdown is scheduled.
const STATE: &str = "[ -d /run/systemd/system ] || exit 0
systemctl show -p Id -p ActiveState -p ActiveEnterTimestampMonotonic -p Job multi-user.target shutdown.target
[ ! -e /run/systemd/shutdown/scheduled ] || echo scheduled
";

/// The limit for reading the boot id and for starting the reboot.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// The limit for reading the boot id while waiting for the next boot.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn reboot(
    session: Session,
    reboot: &Reboot,
    timeout: Duration,
    mut died: impl AsyncFnMut() -> Option<String>,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Session, SshError> {
    let began = Instant::now();
    let before = boot_id(&session, reboot, COMMAND_TIMEOUT, interrupt).await?;
    let start = Script {
        name: "reboot".to_owned(),
        text: reboot.command.clone(),
        timeout: COMMAND_TIMEOUT,
    };
    match session.run(start, events, interrupt).await {
        Ok(ended) if ended.exit != 0 => {
            return Err(SshError::Failed {
                what: "reboot".to_owned(),
                exit: ended.exit,
                last: ended.last,
            });
        }
        // The machine may shut down before the exit status arrives.
        Ok(_) | Err(SshError::Lost { .. }) => {}
        Err(error) => return Err(error),
    }
    let connector = session.connector.clone();
    drop(session);
    let state = tokio::sync::Mutex::new((&mut died, None));
    let waited = Wait::new(
        format!("the next boot of {}", connector.endpoint()),
        timeout,
    )
    .until(events, interrupt, || async {
        let mut state = state.lock().await;
        let (died, last) = &mut *state;
        // The connection ends a little before this wait, so that its error is the result.
        let remaining = timeout.saturating_sub(began.elapsed() + Duration::from_millis(100));
        let next = connector.connect(remaining, async || died().await, events, interrupt);
        let session = match next.await {
            Ok(session) => session,
            // Too short for an observation, so the earlier one is reported.
            Err(SshError::NotUp { waited_s: 0, .. }) if last.is_some() => {
                return Poll::NotYet(last.clone().unwrap_or_default());
            }
            Err(error) => return Poll::Never(error),
        };
        let observed = match boot_id(&session, reboot, PROBE_TIMEOUT, interrupt).await {
            Ok(id) if id != before => return Poll::Ready(session),
            Ok(_) => "the machine still runs the old boot".to_owned(),
            Err(SshError::Lost { why, .. }) => format!("connection lost: {why}"),
            // A machine that shuts down may still accept a login and then not answer.
            Err(SshError::TimedOut { .. }) => {
                "the machine accepts a login but does not answer".to_owned()
            }
            Err(error) => return Poll::Never(error),
        };
        *last = Some(observed.clone());
        Poll::NotYet(observed)
    })
    .await;
    waited.map_err(|error| match error {
        WaitError::Never(error) => error,
        WaitError::Interrupted(interrupted) => interrupted.into(),
        WaitError::Deadline { waited_s, last, .. } => SshError::NotRebooted {
            endpoint: connector.endpoint().to_string(),
            waited_s,
            last,
        },
    })
}

async fn boot_id(
    session: &Session,
    reboot: &Reboot,
    timeout: Duration,
    interrupt: &Interrupt,
) -> Result<String, SshError> {
    let read = Script {
        name: "boot id".to_owned(),
        text: format!("cat {}", quote(&reboot.boot_id)),
        timeout,
    };
    Ok(session.output(read, interrupt).await?.trim().to_owned())
}
