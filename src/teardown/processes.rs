//! Ends the processes of a run, and returns whether there were any.
//! A unique argument identifies them, because the kernel reuses process ids.

use std::time::Duration;

use rustix::process::Signal;

use crate::event::Events;
use crate::process::{members, with_argument};
use crate::wait::{Interrupt, Poll, Urgency, Wait, WaitError};

/// Kills every process with the argument `marker`.
/// Waits for their end, unless the user interrupted twice.
pub(crate) async fn end(
    marker: &str,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<bool, String> {
    let marked = with_argument(marker);
    let mut groups = Vec::new();
    for pid in &marked {
        // Fails if the process has just ended.
        let _ = match rustix::process::getpgid(Some(*pid)) {
            Ok(group) if group == *pid => {
                groups.push(group);
                rustix::process::kill_process_group(group, Signal::KILL)
            }
            _ => rustix::process::kill_process(*pid, Signal::KILL),
        };
    }
    if marked.is_empty() || interrupt.urgency() == Urgency::LeaveNow {
        return Ok(!marked.is_empty());
    }
    let running = || {
        let of_groups = groups.iter().flat_map(|group| members(*group));
        with_argument(marker).len() + of_groups.count()
    };
    // An interrupt may have started the teardown, so this short wait ignores it.
    let gone = Wait::new(format!("the end of process {marker}"), PROCESS_END)
        .until(events, &Interrupt::default(), || async {
            match running() {
                0 => Poll::Ready(()),
                count => {
                    Poll::<(), std::convert::Infallible>::NotYet(format!("{count} still running"))
                }
            }
        })
        .await;
    gone.map(|()| true)
        .map_err(|error: WaitError<_>| error.to_string())
}

/// The limit for the end of killed processes.
const PROCESS_END: Duration = Duration::from_secs(10);
