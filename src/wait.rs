//! Every wait: a name, a deadline, a reason to end. The only place of the library that sleeps.
//!
//! In: a probe to ask again and again. Out: what it found, or an error that says what was last seen. An
//! [`Interrupt`] ends every wait at once. Deliberately knows nothing of what is waited for.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::event::{Event, Events, millis};

/// What a probe saw.
pub enum Poll<T, E> {
    /// It is there.
    Ready(T),
    /// Not yet; in a few words what there was instead.
    NotYet(String),
    /// Not yet, and it is no use to look again any earlier than that.
    Later(String, Duration),
    /// It will never be there.
    Never(E),
}

/// A wait that ended without what it waited for.
#[derive(Debug, thiserror::Error)]
pub enum WaitError<E> {
    /// The deadline passed.
    #[error("waited {waited_s} s for {what}; last seen: {last}")]
    Deadline {
        /// What was waited for.
        what: String,
        /// For how long, in seconds.
        waited_s: u64,
        /// What the last probe saw.
        last: String,
    },
    /// The probe said that it will never be.
    #[error(transparent)]
    Never(E),
    /// Somebody asked us to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Somebody asked us to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// How hard we were asked to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Not at all.
    #[default]
    None,
    /// Once: stop the work and clean up.
    CleanUp,
    /// Twice: start the removal of what there is, and leave.
    LeaveNow,
}

/// The request to stop, seen by every wait. Clones share it.
#[derive(Clone)]
pub struct Interrupt(watch::Sender<Urgency>);

impl Default for Interrupt {
    fn default() -> Self {
        Self(watch::Sender::new(Urgency::None))
    }
}

impl Interrupt {
    /// Asks to stop; the second time more urgently.
    pub fn raise(&self) {
        self.0.send_modify(|urgency| {
            *urgency = match urgency {
                Urgency::None => Urgency::CleanUp,
                Urgency::CleanUp | Urgency::LeaveNow => Urgency::LeaveNow,
            };
        });
    }

    /// How hard we were asked so far.
    pub fn urgency(&self) -> Urgency {
        *self.0.borrow()
    }

    /// An error where we were asked to stop.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.urgency() == Urgency::None {
            Ok(())
        } else {
            Err(Interrupted)
        }
    }

    /// Returns once we were asked at least this hard.
    pub async fn raised(&self, least: Urgency) {
        // The sender is in `self`, so the channel cannot close while we wait.
        let _ = self
            .0
            .subscribe()
            .wait_for(|urgency| *urgency >= least)
            .await;
    }

    /// Runs `work` until it ends or we are asked to stop, then drops it.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            biased;
            () = self.raised(Urgency::CleanUp) => Err(Interrupted),
            value = work => Ok(value),
        }
    }
}

/// How fast time is taken to pass between two looks: as it does, or faster, for services that are played.
/// Of deadlines, those of who has a pace are scaled with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeScale(f64);

impl TimeScale {
    /// As time passes.
    pub const REAL: Self = Self(1.0);

    /// All pauses are `scale` times as long; 0.001 makes a second a millisecond. What is no positive number is 1.
    pub fn scaled(scale: f64) -> Self {
        Self(if scale.is_finite() && scale > 0.0 {
            scale
        } else {
            1.0
        })
    }

    /// How long to pause where `pause` is meant.
    pub fn of(self, pause: Duration) -> Duration {
        pause.mul_f64(self.0)
    }

    /// How many seconds are taken to have passed in `elapsed`.
    pub fn seconds_of(self, elapsed: Duration) -> f64 {
        elapsed.as_secs_f64() / self.0
    }
}

/// A wait: for what, how long at the most, and how often to look.
#[derive(Clone, Debug)]
pub struct Wait {
    what: String,
    deadline: Duration,
    first_pause: Duration,
    longest_pause: Duration,
}

impl Wait {
    /// Waits for `what`, at most `deadline`. Looks again after 50 ms, then ever later, at most a second apart.
    pub fn new(what: impl fmt::Display, deadline: Duration) -> Self {
        Self {
            what: what.to_string(),
            deadline,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(1),
        }
    }

    /// Looks again after `first`, then ever later, at most `longest` apart.
    #[must_use]
    pub fn pausing(self, first: Duration, longest: Duration) -> Self {
        Self {
            first_pause: first,
            longest_pause: longest,
            ..self
        }
    }

    /// Asks `probe` until it is ready, says never, the deadline passes or `interrupt` is raised. A probe that
    /// itself hangs is dropped at the deadline.
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
        let mut told = began;
        loop {
            let left = self.deadline.saturating_sub(began.elapsed());
            let asked = match interrupt.or(tokio::time::timeout(left, probe())).await? {
                Ok(Poll::Ready(value)) => return Ok(value),
                Ok(Poll::Never(error)) => return Err(WaitError::Never(error)),
                Ok(Poll::NotYet(seen)) => {
                    last = seen;
                    None
                }
                Ok(Poll::Later(seen, asked)) => {
                    last = seen;
                    Some(asked)
                }
                Err(_elapsed) => return Err(self.passed(began, last)),
            };
            let now = asked.unwrap_or(pause);
            if began.elapsed() + now >= self.deadline {
                return Err(self.passed(began, last));
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                events.emit(&Event::Waiting {
                    what: self.what.clone(),
                    seen: last.clone(),
                    elapsed_ms: millis(began.elapsed()),
                    deadline_ms: millis(self.deadline),
                });
            }
            interrupt.or(pause_for(now)).await?;
            if asked.is_none() {
                pause = (pause * 3 / 2).min(self.longest_pause);
            }
        }
    }

    fn passed<E>(&self, began: Instant, last: String) -> WaitError<E> {
        WaitError::Deadline {
            what: self.what.clone(),
            waited_s: began.elapsed().as_secs(),
            last,
        }
    }
}

/// How often a wait that goes on says so.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Waits that long. For those who have their own reason to look again.
pub(crate) async fn pause_for(pause: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that sleeps"
    )]
    tokio::time::sleep(pause).await;
}

/// Asks `done` again and again for at most `limit`, and blocks meanwhile; whether it came true. For destructors, which
/// cannot await, and for what takes milliseconds.
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
            reason = "this is the one place that sleeps"
        )]
        std::thread::sleep(pause);
        pause *= 2;
    }
}
