//! Tracks the threads of all sessions of this process, so that [`join_all`] can wait for them.
//! If a process exits while a thread is inside libssh2, it may die of a signal instead.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::wait;

static STARTED: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

fn started() -> MutexGuard<'static, Vec<JoinHandle<()>>> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` on a new thread.
pub(super) fn start(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name).spawn(work)?;
    let mut started = started();
    started.retain(|thread| !thread.is_finished());
    started.push(thread);
    Ok(())
}

/// Blocks until the threads of dropped sessions and cancelled tries have ended, at most `within`.
///
/// Returns whether all have ended. Call it before the process exits.
pub fn join_all(within: Duration) -> bool {
    wait::block(within, || started().iter().all(JoinHandle::is_finished));
    let mut started = started();
    for thread in started.extract_if(.., |thread| thread.is_finished()) {
        // A thread that panicked has ended as well.
        let _ = thread.join();
    }
    started.is_empty()
}
