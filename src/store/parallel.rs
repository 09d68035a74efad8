//! Several pieces of work at once, their results in order.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use tokio::task::JoinError;

/// Runs `pieces`, a few at a time, and hands their results to `take` in the order of the pieces, until that says to
/// stop. At most a handful of results is held at any time, however many pieces there are.
pub(super) async fn in_order<T, E>(
    mut pieces: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
    mut take: impl FnMut(T) -> Result<ControlFlow<()>, E>,
) -> Result<(), E>
where
    T: Send + 'static,
{
    let most = 2 * std::thread::available_parallelism().map_or(1, usize::from);
    let mut running = VecDeque::new();
    loop {
        while running.len() < most
            && let Some(piece) = pieces.next()
        {
            running.push_back(tokio::spawn(piece));
        }
        let Some(first) = running.pop_front() else {
            return Ok(());
        };
        if take(of_task(first.await))?.is_break() {
            return Ok(());
        }
    }
}

/// What came of a task that nobody cancels; its panic is ours.
pub(super) fn of_task<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
