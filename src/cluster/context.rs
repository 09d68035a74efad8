//! What the caller passes to every function of a cluster.

use std::time::Duration;

use jiff::Timestamp;

use super::ClusterError;
use crate::event::Events;
use crate::product::ApiError;
use crate::wait::{Interrupt, Poll, Wait};

/// Limit for a request that fails while a service starts.
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);

/// Events, interrupt and clock.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The receiver of events.
    pub events: &'a Events,
    /// The user's request to stop.
    pub interrupt: &'a Interrupt,
    /// The clock.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
}

impl Context<'_> {
    /// Repeats a request that can be repeated, while its error may go away.
    pub(super) async fn retry<T>(
        &self,
        what: &str,
        request: impl AsyncFn() -> Result<T, ApiError>,
    ) -> Result<T, ClusterError> {
        let wait = Wait::new(what, RETRY_TIMEOUT)
            .pausing(Duration::from_millis(200), Duration::from_secs(1));
        let waiting = wait.until(self.events, self.interrupt, || async {
            match request().await {
                Ok(done) => Poll::Ready(done),
                Err(error) if error.is_transient() => Poll::NotYet(error.to_string()),
                Err(error) => Poll::Never(error),
            }
        });
        waiting.await.map_err(ClusterError::wait)
    }
}
