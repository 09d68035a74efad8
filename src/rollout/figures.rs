//! The figures of the canary: what clients felt in an interval.
//! [`ClientFigures`] are those of one kind of client; errors are counted by their kind.

use std::fmt;
use std::time::Duration;

use super::operations::Figures;
use crate::event::millis;

/// The figures of an interval.
///
/// A request belongs to the interval in which it ended, with an answer or without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CanaryFigures {
    /// Clients that try a request again after 100 ms, for at most 10 s.
    pub patient: ClientFigures,
    /// Clients that try a request three times, 1 to 1.5 s apart, as Vault's own does.
    pub default: ClientFigures,
    /// The tries that were answered with an error, or not at all.
    pub errors: ErrorCounts,
    /// The number of confirmed writes that have not been read back at the end of the interval.
    pub unchecked: u64,
    /// The length of the interval.
    pub duration: Duration,
}

/// The figures of one kind of client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientFigures {
    /// The number of requests.
    pub requests: u64,
    /// The number of requests that were writes.
    pub writes: u64,
    /// The number of requests without a successful answer in spite of all their tries.
    pub failed: u64,
    /// The number of requests whose first answer was an error, also if a later try succeeded.
    pub retried: u64,
    /// The number of reads that returned another value than the one confirmed before, or none.
    pub stale: u64,
    /// The number of confirmed writes that were read back.
    pub checked: u64,
    /// The number of confirmed writes that could not be read back, as they had another value or
    /// none.
    pub lost: u64,
    /// The longest time without a successful answer while requests of these clients were waiting.
    ///
    /// It begins with the last successful answer, or with the first request after that one if no
    /// request was waiting. It ends with the next successful answer. A gap that began before the
    /// interval, or that has not ended, counts with its length until now.
    pub longest_gap: Duration,
    /// The longest time from the first try of a request to its end.
    pub slowest: Duration,
    /// The times of successful requests, from their first try.
    pub times: Histogram,
}

/// The number of durations in classes, each 1.41 times as long as the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram([u32; CLASSES]);

/// The number of errors of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorCounts([u64; ErrorKind::ALL.len()]);

/// The kind of an error that a try met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// No process accepts connections at the address.
    Refused,
    /// The connection ended before the answer.
    Reset,
    /// There is no route to the address.
    NoRoute,
    /// No answer within the limit.
    TimedOut,
    /// TLS failed.
    Tls,
    /// 307: a standby names the active node.
    Redirect,
    /// 500: a standby knows no active node.
    NoActive,
    /// Another error of Vault, 500 to 599.
    Server,
    /// 503: the node is sealed.
    Sealed,
    /// 429 or 412: the node asks to try again.
    Later,
    /// 400 to 499: Vault refuses the request.
    Denied,
    /// The answer has another form.
    Malformed,
    /// No node is known.
    NoNode,
}

const CLASSES: usize = 28;

impl CanaryFigures {
    /// Returns the figures of both kinds of clients together, with the longer times.
    pub fn total(&self) -> ClientFigures {
        let (a, b) = (&self.patient, &self.default);
        ClientFigures {
            requests: a.requests + b.requests,
            writes: a.writes + b.writes,
            failed: a.failed + b.failed,
            retried: a.retried + b.retried,
            stale: a.stale + b.stale,
            checked: a.checked + b.checked,
            lost: a.lost + b.lost,
            longest_gap: a.longest_gap.max(b.longest_gap),
            slowest: a.slowest.max(b.slowest),
            times: a.times.plus(&b.times),
        }
    }

    /// Whether no request failed, and no confirmed write was lost or read with another value.
    pub fn is_clean(&self) -> bool {
        let total = self.total();
        total.failed == 0 && total.lost == 0 && total.stale == 0
    }

    /// Returns the sums for a journal. Reads with another value than the confirmed one count as
    /// failed.
    pub fn summary(&self) -> Figures {
        let total = self.total();
        Figures {
            requests: total.requests,
            writes: total.writes,
            failed: total.failed + total.stale,
            retried: total.retried,
            lost: total.lost,
            longest_gap_ms: millis(total.longest_gap),
            slowest_ms: millis(total.slowest),
        }
    }

    /// Returns the number of requests in a second, which is lower on a slow machine.
    pub fn rate(&self) -> f64 {
        let seconds = self.duration.as_secs_f64();
        if seconds > 0.0 {
            self.total().requests as f64 / seconds
        } else {
            0.0
        }
    }
}

impl ClientFigures {
    /// Returns the counts since an earlier moment. The longest times are those of `self`.
    pub(super) fn minus(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests - earlier.requests,
            writes: self.writes - earlier.writes,
            failed: self.failed - earlier.failed,
            retried: self.retried - earlier.retried,
            stale: self.stale - earlier.stale,
            checked: self.checked - earlier.checked,
            lost: self.lost - earlier.lost,
            longest_gap: self.longest_gap,
            slowest: self.slowest,
            times: self.times.minus(&earlier.times),
        }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, time: Duration) {
        let class = (0..CLASSES - 1).find(|class| time <= Self::end(*class));
        self.0[class.unwrap_or(CLASSES - 1)] += 1;
    }

    /// Returns the longest duration of a class.
    fn end(class: usize) -> Duration {
        let odd = if class % 2 == 1 { 1.414 } else { 1.0 };
        Duration::from_millis(1 << (class / 2)).mul_f64(odd)
    }

    /// Returns a time that 99 of 100 requests did not exceed, rounded up by at most 41 %.
    /// Zero without requests.
    pub fn p99(&self) -> Duration {
        let all: u64 = self.0.iter().copied().map(u64::from).sum();
        let mut below = 0;
        for (class, number) in self.0.iter().enumerate() {
            below += u64::from(*number);
            if below > 0 && below * 100 >= all * 99 {
                return Self::end(class);
            }
        }
        Duration::ZERO
    }

    fn plus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|class| self.0[class] + other.0[class]))
    }

    fn minus(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|class| {
            self.0[class] - earlier.0[class]
        }))
    }
}

impl ErrorCounts {
    pub(super) fn add(&mut self, kind: ErrorKind) {
        self.0[kind as usize] += 1;
    }

    pub(super) fn minus(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|kind| self.0[kind] - earlier.0[kind]))
    }

    /// Returns the number of errors of a kind.
    pub fn of(&self, kind: ErrorKind) -> u64 {
        self.0[kind as usize]
    }

    /// Returns the kinds that occurred, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (ErrorKind, u64)> {
        let counts = ErrorKind::ALL.map(|kind| (kind, self.of(kind)));
        counts.into_iter().filter(|(_, count)| *count > 0)
    }
}

impl fmt::Display for ErrorCounts {
    /// Writes as `3 connection refused, 2 redirect to the active node`, or `none`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        out.write_str(if counts.is_empty() { "none" } else { "" })?;
        out.write_str(&counts.join(", "))
    }
}

impl ErrorKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Refused,
        Self::Reset,
        Self::NoRoute,
        Self::TimedOut,
        Self::Tls,
        Self::Redirect,
        Self::NoActive,
        Self::Server,
        Self::Sealed,
        Self::Later,
        Self::Denied,
        Self::Malformed,
        Self::NoNode,
    ];
}

impl fmt::Display for ErrorKind {
    /// Writes a few words without an address.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Refused => "connection refused",
            Self::Reset => "connection closed",
            Self::NoRoute => "no route",
            Self::TimedOut => "time-out",
            Self::Tls => "TLS failure",
            Self::Redirect => "redirect to the active node",
            Self::NoActive => "no active node",
            Self::Server => "error of Vault",
            Self::Sealed => "sealed",
            Self::Later => "asked to try later",
            Self::Denied => "request refused",
            Self::Malformed => "malformed answer",
            Self::NoNode => "no node known",
        })
    }
}
