//! Restarts a machine and waits for its next boot.
//!
//! In: a session. Out: a session with another boot of the same machine. What tells one boot from the next is the
//! kernel's boot id, never that the connection was lost or that some time passed.

use std::time::{Duration, Instant};

use super::{Script, Session, SshError, quote};
use crate::event::Events;
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// How a machine restarts and how its boots are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reboot {
    /// Starts the restart and returns, as a POSIX shell command.
    pub command: String,
    /// The file that says another thing in each boot.
    pub boot_id: String,
    /// Prints what systemd says of a shutdown, in the form of `systemctl show`, as POSIX sh; nothing on a machine without it.
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

/// systemd's properties of the target of a running machine and of that of a shutdown, and `scheduled` for a shutdown that waits.
const STATE: &str = "[ -d /run/systemd/system ] || exit 0
systemctl show -p Id -p ActiveState -p ActiveEnterTimestampMonotonic -p Job multi-user.target shutdown.target
[ ! -e /run/systemd/shutdown/scheduled ] || echo scheduled
";

/// At the most, for reading the boot id and for starting the restart.
const SHORT: Duration = Duration::from_secs(30);
/// At the most, for one look whether the next boot is there.
const LOOK: Duration = Duration::from_secs(10);

pub(super) async fn reboot(
    session: Session,
    reboot: &Reboot,
    timeout: Duration,
    mut died: impl AsyncFnMut() -> Option<String>,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Session, SshError> {
    let began = Instant::now();
    let before = boot_id(&session, reboot, SHORT, interrupt).await?;
    let start = Script {
        name: "reboot".to_owned(),
        text: reboot.command.clone(),
        timeout: SHORT,
    };
    match session.run(start, events, interrupt).await {
        Ok(ended) if ended.exit != 0 => {
            return Err(SshError::Failed {
                what: "reboot".to_owned(),
                exit: ended.exit,
                last: ended.last,
            });
        }
        // The machine may go down before it can say that the command ended.
        Ok(_) | Err(SshError::Lost { .. }) => {}
        Err(error) => return Err(error),
    }
    let connector = session.connector.clone();
    drop(session);
    let looks = tokio::sync::Mutex::new((&mut died, None));
    let waited = Wait::new(
        format!("the next boot of {}", connector.endpoint()),
        timeout,
    )
    .until(events, interrupt, || async {
        let mut looks = looks.lock().await;
        let (died, last) = &mut *looks;
        // It ends a little before this wait does, so that what it saw is told.
        let left = timeout.saturating_sub(began.elapsed() + Duration::from_millis(100));
        let next = connector.connect(left, async || died().await, events, interrupt);
        let session = match next.await {
            Ok(session) => session,
            // Too short to have seen anything, so what was seen before is told.
            Err(SshError::NotUp { waited_s: 0, .. }) if last.is_some() => {
                return Poll::NotYet(last.clone().unwrap_or_default());
            }
            Err(error) => return Poll::Never(error),
        };
        let seen = match boot_id(&session, reboot, LOOK, interrupt).await {
            Ok(id) if id != before => return Poll::Ready(session),
            Ok(_) => "the machine still runs the old boot".to_owned(),
            Err(SshError::Lost { why, .. }) => format!("connection lost: {why}"),
            // A machine that goes down may still let us in and then say nothing more.
            Err(SshError::TimedOut { .. }) => "it lets us in, and does not answer".to_owned(),
            Err(error) => return Poll::Never(error),
        };
        *last = Some(seen.clone());
        Poll::NotYet(seen)
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
