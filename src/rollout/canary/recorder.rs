//! Counts requests and measures gaps, at the moment they happen.
//! A mark is a copy of the counts; the longest times since it are found in a list of maxima.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rollout::figures::{ClientFigures, ErrorCounts, ErrorKind, Figures};

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Patient,
    Default,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Patient, Self::Default];
}

/// The end of a request.
pub(super) struct Ended {
    pub(super) began: Instant,
    pub(super) is_write: bool,
    pub(super) had_error: bool,
    pub(super) result: Outcome,
}

/// The result of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Succeeded,
    /// A read returned another value, or none.
    Stale,
    Failed,
}

/// A moment from which figures are asked.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    at: Instant,
    counts: [ClientFigures; 2],
    errors: ErrorCounts,
}

/// The counts since the start of the canary.
pub(super) struct Recorder {
    start: Mark,
    kinds: [State; 2],
    errors: ErrorCounts,
    closed: Option<Instant>,
}

#[derive(Default)]
struct State {
    counts: ClientFigures,
    pending: usize,
    /// The time of the last successful answer, or of the first request after it. `None` if no
    /// request began since the last successful answer and none was waiting then.
    waiting_since: Option<Instant>,
    gaps: Maxima,
    slowest: Maxima,
}

impl Recorder {
    pub(super) fn new(now: Instant) -> Self {
        let start = Mark {
            at: now,
            counts: Default::default(),
            errors: ErrorCounts::default(),
        };
        Self {
            start,
            kinds: Default::default(),
            errors: ErrorCounts::default(),
            closed: None,
        }
    }

    pub(super) fn begin(&mut self, kind: Kind, now: Instant) {
        let state = &mut self.kinds[kind as usize];
        state.pending += 1;
        state.waiting_since.get_or_insert(now);
    }

    pub(super) fn error(&mut self, kind: ErrorKind) {
        self.errors.add(kind);
    }

    pub(super) fn end(&mut self, kind: Kind, ended: &Ended, now: Instant) {
        let state = &mut self.kinds[kind as usize];
        let time = now.saturating_duration_since(ended.began);
        state.pending -= 1;
        state.counts.requests += 1;
        state.counts.writes += u64::from(ended.is_write);
        state.counts.retried += u64::from(ended.had_error);
        state.slowest.add(now, time);
        match ended.result {
            Outcome::Failed => state.counts.failed += 1,
            Outcome::Stale => state.counts.stale += 1,
            Outcome::Succeeded => {
                state.counts.times.add(time);
                if let Some(since) = state.waiting_since {
                    state.gaps.add(now, now.saturating_duration_since(since));
                }
                state.waiting_since = (state.pending > 0).then_some(now);
            }
        }
    }

    /// Records whether a confirmed write of a client was there when it was read back.
    pub(super) fn read_back(&mut self, writer: Kind, is_there: bool) {
        let counts = &mut self.kinds[writer as usize].counts;
        if is_there {
            counts.checked += 1;
        } else {
            counts.lost += 1;
        }
    }

    /// Ends the interval of all later figures, as no request follows.
    pub(super) fn close(&mut self, now: Instant) {
        self.closed.get_or_insert(now);
    }

    pub(super) fn mark(&self, now: Instant) -> Mark {
        Mark {
            at: now,
            counts: Kind::ALL.map(|kind| self.kinds[kind as usize].counts),
            errors: self.errors,
        }
    }

    pub(super) fn figures(&self, now: Instant) -> Figures {
        self.since(&self.start, now)
    }

    pub(super) fn since(&self, mark: &Mark, now: Instant) -> Figures {
        let now = self.closed.unwrap_or(now);
        let [patient, default] = Kind::ALL.map(|kind| {
            let state = &self.kinds[kind as usize];
            let lasting = state.waiting_since.map(|since| now - since.min(now));
            ClientFigures {
                longest_gap: state.gaps.since(mark.at).max(lasting.unwrap_or_default()),
                slowest: state.slowest.since(mark.at),
                ..state.counts.minus(&mark.counts[kind as usize])
            }
        });
        Figures {
            patient,
            default,
            errors: self.errors.minus(&mark.errors),
            unchecked: 0,
            duration: now.saturating_duration_since(mark.at),
        }
    }
}

/// The longest durations since any moment: each one that no later one exceeds, with its end.
#[derive(Default)]
struct Maxima(VecDeque<(Instant, Duration)>);

impl Maxima {
    fn add(&mut self, end: Instant, duration: Duration) {
        while self.0.back().is_some_and(|(_, last)| *last <= duration) {
            self.0.pop_back();
        }
        self.0.push_back((end, duration));
        // Durations that only fall for so long are unlikely; the longest ones count.
        if self.0.len() > LONGEST_LIST {
            self.0.remove(LONGEST_LIST / 2);
        }
    }

    fn since(&self, moment: Instant) -> Duration {
        let first = self.0.iter().find(|(end, _)| *end >= moment);
        first.map_or(Duration::ZERO, |(_, duration)| *duration)
    }
}

const LONGEST_LIST: usize = 4096;
