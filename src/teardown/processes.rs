//! Ends processes that carry a mark of a run.
//!
//! In: an argument that only they have. Out: whether there were any, once they are gone. Deliberately asks for no
//! process id: those are used again.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::event::Events;
use crate::process::{all_processes, members};
use crate::wait::{Interrupt, Poll, Urgency, Wait, WaitError};

/// Ends every process marked by `marker`, and waits until it is gone unless we are to leave now.
pub(super) async fn end(
    marker: &str,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<bool, String> {
    let marked = marked_processes(marker);
    let mut groups = Vec::new();
    for pid in &marked {
        // It may have ended between the look and the signal.
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
    let left = || {
        let of_groups = groups.iter().flat_map(|group| members(*group));
        marked_processes(marker).len() + of_groups.count()
    };
    // The teardown itself may run because of an interrupt, so this short wait does not listen to one.
    let gone = Wait::new(format!("the end of process {marker}"), PROCESS_END)
        .until(events, &Interrupt::default(), || async {
            match left() {
                0 => Poll::Ready(()),
                left => Poll::<(), std::convert::Infallible>::NotYet(format!("{left} left")),
            }
        })
        .await;
    gone.map(|()| true)
        .map_err(|error: WaitError<_>| error.to_string())
}

/// How long a killed process may take to be gone.
const PROCESS_END: Duration = Duration::from_secs(10);

/// The processes that have `marker` as a whole argument. Zombies have no command line and so do not count.
fn marked_processes(marker: &str) -> Vec<Pid> {
    let own = rustix::process::getpid();
    let is_marked = |pid: &Pid| {
        let command_line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
        let command_line = command_line.unwrap_or_default();
        let mut arguments = command_line.split(|byte| *byte == 0);
        *pid != own && arguments.any(|argument| argument == marker.as_bytes())
    };
    all_processes().filter(is_marked).collect()
}
