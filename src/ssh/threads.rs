//! The threads of all sessions of this process, so that it can end after them.
//!
//! In: work. Out: [`settle`], which waits for what is under way. A process that ends while one of its threads is inside a C
//! library, whose memory its end takes away, can die of a signal instead of ending with its status.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::wait;

static STARTED: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

fn started() -> MutexGuard<'static, Vec<JoinHandle<()>>> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `work` on a thread of its own.
pub(super) fn start(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name).spawn(work)?;
    let mut started = started();
    started.retain(|thread| !thread.is_finished());
    started.push(thread);
    Ok(())
}

/// Blocks until every session that was dropped has taken leave of its machine, and every try that was given up has ended,
/// but no longer than `within`. Returns whether nothing of a session is left. For the end of a process.
pub fn join_all(within: Duration) -> bool {
    wait::block(within, || started().iter().all(JoinHandle::is_finished));
    let mut started = started();
    for thread in started.extract_if(.., |thread| thread.is_finished()) {
        // One that panicked has ended as well.
        let _ = thread.join();
    }
    started.is_empty()
}
