//! Finds the holder of the namespaces and the processes in them.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use rustix::process::Pid;

use super::{PlatformError, START_TIMEOUT, Site, marker};
use crate::event::Events;
use crate::process::{end_of_log, with_argument};
use crate::wait::{Interrupt, Poll, Wait};

/// Waits until the namespaces are ready. Returns the first process in them.
pub(super) async fn first_process(
    site: &Site,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Pid, PlatformError> {
    let holder = marker(site);
    let wait = Wait::new("namespaces", START_TIMEOUT);
    let misses = Misses::default();
    let waiting = wait.until(events, interrupt, || async {
        let marked = with_argument(&holder);
        // The script in the namespaces has the argument too.
        let first = marked
            .iter()
            .filter_map(|pid| child_of(*pid))
            .find(|child| marked.contains(child));
        let ready = |first: &Pid| {
            let path = format!("/proc/{}/root/run/ready", first.as_raw_nonzero());
            Path::new(&path).exists()
        };
        match first.filter(ready) {
            Some(first) => Poll::Ready(first),
            None if marked.is_empty() && misses.are_too_many() => {
                Poll::Never(std::io::Error::other("the holder ended"))
            }
            None => Poll::NotYet("nothing".to_owned()),
        }
    });
    let waited = waiting.await;
    let log = end_of_log(&site.folder.join("network.log"));
    waited.map_err(PlatformError::wait("make namespaces", log))
}

/// Counts how often a process was not found. One that starts has no arguments for a moment.
#[derive(Default)]
pub(super) struct Misses(Cell<u32>);

impl Misses {
    pub(super) fn are_too_many(&self) -> bool {
        self.0.set(self.0.get() + 1);
        self.0.get() > MAX_MISSES
    }
}

const MAX_MISSES: u32 = 5;

/// Returns the only child of a process.
pub(super) fn child_of(process: Pid) -> Option<Pid> {
    let id = process.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}
