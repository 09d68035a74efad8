//! Polls a probe until it succeeds, a deadline passes, or an [`Interrupt`] ends the wait.
//! Returns the probe's value, or an error with the last observation.
//! This is the only module of the library that sleeps.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::event::{Event, Events, millis};

/// The result of one call of a probe.
pub enum Poll<T, E> {
    /// Success.
    Ready(T),
    /// Not ready, with a short observation.
    NotYet(String),
    /// Not ready, with a short observation, and the pause before the next call.
    Later(String, Duration),
    /// A permanent failure.
    Never(E),
}

/// A wait that ended without success.
#[derive(Debug, thiserror::Error)]
pub enum WaitError<E> {
    /// A deadline that passed.
    #[error("waited {waited_s} s for {what}; last seen: {last}")]
    Deadline {
        /// The name of the wait.
        what: String,
        /// The time waited, in seconds.
        waited_s: u64,
        /// The last observation.
        last: String,
    },
    /// A permanent failure of the probe.
    #[error(transparent)]
    Never(E),
    /// An interrupt by the user.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// An interrupt by the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// The urgency of an interrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// No interrupt.
    #[default]
    None,
    /// One interrupt: stop the work and clean up.
    CleanUp,
    /// Two interrupts: start the cleanup but do not wait for it.
    LeaveNow,
}

/// A request to stop, which every wait observes. Clones share it.
#[derive(Clone)]
pub struct Interrupt(watch::Sender<Urgency>);

impl Default for Interrupt {
    fn default() -> Self {
        Self(watch::Sender::new(Urgency::None))
    }
}

impl Interrupt {
    /// Requests a stop. The second call is more urgent.
    pub fn raise(&self) {
        self.0.send_modify(|urgency| {
            *urgency = match urgency {
                Urgency::None => Urgency::CleanUp,
                Urgency::CleanUp | Urgency::LeaveNow => Urgency::LeaveNow,
            };
        });
    }

    /// Returns the current urgency.
    pub fn urgency(&self) -> Urgency {
        *self.0.borrow()
    }

    /// Fails if a stop was requested.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.urgency() == Urgency::None {
            Ok(())
        } else {
            Err(Interrupted)
        }
    }

    /// Waits until the urgency is at least `least`.
    pub(crate) async fn raised(&self, least: Urgency) {
        // The sender is in `self`, so the channel cannot close meanwhile.
        let _ = self
            .0
            .subscribe()
            .wait_for(|urgency| *urgency >= least)
            .await;
    }

    /// Runs `work` until it ends. Drops it when a stop is requested.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            biased;
            () = self.raised(Urgency::CleanUp) => Err(Interrupted),
            value = work => Ok(value),
        }
    }
}

/// A factor for pauses and deadlines, so that tests with fake services run fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeScale(f64);

impl TimeScale {
    /// Real time.
    pub const REAL: Self = Self(1.0);

    /// Multiplies all pauses by `scale`: 0.001 turns a second into a millisecond.
    /// A `scale` that is not positive and finite counts as 1.
    pub fn scaled(scale: f64) -> Self {
        Self(if scale.is_finite() && scale > 0.0 {
            scale
        } else {
            1.0
        })
    }

    /// Returns the scaled length of `pause`.
    pub fn scale(self, pause: Duration) -> Duration {
        pause.mul_f64(self.0)
    }

    /// Returns the unscaled seconds that correspond to the real time `elapsed`.
    pub(crate) fn unscaled_seconds(self, elapsed: Duration) -> f64 {
        elapsed.as_secs_f64() / self.0
    }
}

/// A wait with a name, a deadline and pauses between the calls of its probe.
#[derive(Clone, Debug)]
pub struct Wait {
    what: String,
    deadline: Duration,
    first_pause: Duration,
    longest_pause: Duration,
}

impl Wait {
    /// Names a wait and sets its deadline. The pauses grow from 50 ms to one second.
    pub fn new(what: impl fmt::Display, deadline: Duration) -> Self {
        Self {
            what: what.to_string(),
            deadline,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(1),
        }
    }

    /// Sets the pauses, which grow from `first` to `longest`.
    #[must_use]
    pub fn pausing(self, first: Duration, longest: Duration) -> Self {
        Self {
            first_pause: first,
            longest_pause: longest,
            ..self
        }
    }

    /// Calls `probe` until it is ready or fails, the deadline passes, or `interrupt` is raised.
    ///
    /// Drops a probe that is still running at the deadline.
    pub async fn until<T, E, F>(
        &self,
        events: &Events,
        interrupt: &Interrupt,
        mut probe: impl FnMut() -> F,
    ) -> Result<T, WaitError<E>>
    where
        F: Future<Output = Poll<T, E>>,
    {
        let began = Instant::now();
        let mut pause = self.first_pause;
        let mut last = String::from("nothing yet");
        let mut last_event = began;
        loop {
            let remaining = self.deadline.saturating_sub(began.elapsed());
            let polled = interrupt.or(tokio::time::timeout(remaining, probe()));
            let requested_pause = match polled.await? {
                Ok(Poll::Ready(value)) => return Ok(value),
                Ok(Poll::Never(error)) => return Err(WaitError::Never(error)),
                Ok(Poll::NotYet(observation)) => {
                    last = observation;
                    None
                }
                Ok(Poll::Later(observation, pause)) => {
                    last = observation;
                    Some(pause)
                }
                Err(_elapsed) => return Err(self.deadline_error(began, last)),
            };
            let next_pause = requested_pause.unwrap_or(pause);
            if began.elapsed() + next_pause >= self.deadline {
                return Err(self.deadline_error(began, last));
            }
            if last_event.elapsed() >= EVENT_INTERVAL {
                last_event = Instant::now();
                events.emit(&Event::Waiting {
                    what: self.what.clone(),
                    last_seen: last.clone(),
                    elapsed_ms: millis(began.elapsed()),
                    timeout_ms: millis(self.deadline),
                });
            }
            interrupt.or(pause_for(next_pause)).await?;
            if requested_pause.is_none() {
                pause = (pause * 3 / 2).min(self.longest_pause);
            }
        }
    }

    fn deadline_error<E>(&self, began: Instant, last: String) -> WaitError<E> {
        WaitError::Deadline {
            what: self.what.clone(),
            waited_s: began.elapsed().as_secs(),
            last,
        }
    }
}

/// The interval between events of a wait.
pub(crate) const EVENT_INTERVAL: Duration = Duration::from_secs(5);

/// Sleeps, for loops that are not a [`Wait`].
pub(crate) async fn pause_for(pause: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the only module that sleeps"
    )]
    tokio::time::sleep(pause).await;
}

/// Pauses between two observations that are repeated for ever.
pub async fn pause(pause: Duration, interrupt: &Interrupt) -> Result<(), Interrupted> {
    interrupt.or(pause_for(pause)).await
}

/// Blocks until `done` returns true, at most `limit`. Returns whether it did.
///
/// For destructors, which cannot await, and for conditions that take milliseconds.
pub(crate) fn block(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if done() {
            return true;
        }
        if began.elapsed() >= limit {
            return false;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the only module that sleeps"
        )]
        std::thread::sleep(pause);
        pause *= 2;
    }
}
