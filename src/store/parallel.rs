//! Runs several tasks at once and returns their results in order.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use tokio::task::JoinError;

/// Runs `pieces`, a few at a time, and passes their results to `handle` in the order of the pieces,
/// until that breaks. Only a few results are in memory at any time.
pub(super) async fn in_order<T, E>(
    mut pieces: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
    mut handle: impl FnMut(T) -> Result<ControlFlow<()>, E>,
) -> Result<(), E>
where
    T: Send + 'static,
{
    let limit = 2 * std::thread::available_parallelism().map_or(1, usize::from);
    let mut running = VecDeque::new();
    loop {
        while running.len() < limit
            && let Some(piece) = pieces.next()
        {
            running.push_back(tokio::spawn(piece));
        }
        let Some(first) = running.pop_front() else {
            return Ok(());
        };
        if handle(join(first.await))?.is_break() {
            return Ok(());
        }
    }
}

/// Returns the result of a task that is never cancelled, and propagates its panic.
pub(super) fn join<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
