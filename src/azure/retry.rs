//! When to ask again: which answers may pass, how long to wait, and the limit that all callers of a door share.
//!
//! In: answers. Out: pauses. Deliberately asks for nothing itself.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::wait::TimeScale;

/// What is counted apart by the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bucket {
    Reads,
    Writes,
    Deletes,
}

impl Bucket {
    pub(super) fn of(verb: &str) -> Self {
        match verb {
            "GET" | "HEAD" => Self::Reads,
            "DELETE" => Self::Deletes,
            _ => Self::Writes,
        }
    }

    /// How many requests may come at once, and how many a second in the long run: what is documented for a
    /// subscription in a region.
    fn limits(self) -> (f64, f64) {
        match self {
            Self::Reads => (250.0, 25.0),
            Self::Writes | Self::Deletes => (200.0, 10.0),
        }
    }
}

/// The limit that all callers share.
pub(super) struct Limiter {
    pace: TimeScale,
    buckets: Mutex<[Level; 3]>,
}

#[derive(Clone, Copy)]
struct Level {
    left: f64,
    since: Instant,
    /// Nobody asks before this.
    closed_until: Instant,
}

impl Limiter {
    pub(super) fn new(pace: TimeScale) -> Self {
        let now = Instant::now();
        let full = |bucket: Bucket| Level {
            left: bucket.limits().0,
            since: now,
            closed_until: now,
        };
        let buckets = [Bucket::Reads, Bucket::Writes, Bucket::Deletes].map(full);
        Self {
            pace,
            buckets: Mutex::new(buckets),
        }
    }

    /// Takes the right to ask once, or says how long to wait before trying to.
    pub(super) fn take(&self, bucket: Bucket) -> Result<(), Duration> {
        self.with(bucket, |level, pace| {
            let now = Instant::now();
            let (most, rate) = bucket.limits();
            let passed = pace.seconds_of(now.saturating_duration_since(level.since));
            level.left = (level.left + passed * rate).min(most);
            level.since = now;
            if level.closed_until > now {
                return Err(level.closed_until - now);
            }
            if level.left < 1.0 {
                return Err(pace.of(Duration::from_secs_f64((1.0 - level.left) / rate)));
            }
            level.left -= 1.0;
            Ok(())
        })
    }

    /// An answer said that this much is left.
    pub(super) fn left(&self, bucket: Bucket, remaining: u64) {
        self.with(bucket, |level, _| {
            level.left = level.left.min(remaining as f64);
        });
    }

    /// An answer said that it was too much, and how long to stay away.
    pub(super) fn close(&self, bucket: Bucket, asked: Duration) {
        self.with(bucket, |level, pace| {
            let until = Instant::now() + pace.of(asked);
            level.closed_until = level.closed_until.max(until);
        });
    }

    fn with<T>(&self, bucket: Bucket, work: impl FnOnce(&mut Level, TimeScale) -> T) -> T {
        let mut buckets = match self.buckets.lock() {
            Ok(buckets) => buckets,
            Err(poisoned) => poisoned.into_inner(),
        };
        work(&mut buckets[bucket as usize], self.pace)
    }
}

/// Full jitter: anything up to a limit that doubles with each try, so that callers who were turned away together do not
/// come back together.
pub(super) fn jittered(tries: u32) -> Duration {
    let limit = FIRST_PAUSE * 2u32.saturating_pow(tries.min(10));
    limit.min(LONGEST_PAUSE).mul_f64(random())
}

/// How long to wait for something else to end: longer each time, and a little apart.
pub(super) fn busy(tries: u32) -> Duration {
    let base = Duration::from_secs(5 * u64::from(tries + 1)).min(LONGEST_PAUSE);
    base.mul_f64(1.0 + random() / 4.0)
}

/// From 0 to 1.
pub(super) fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// Whether an answer with this status may be another one next time.
pub(super) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// How often a fault of the service or the connection is met until it counts.
pub(super) const TRIES: u32 = 8;
/// How often we may be turned away, or told that something else has to end first.
pub(super) const TURNS: u32 = 20;
/// The most that we stay away after one answer. Who asks for more is not waited for.
pub(super) const LONGEST_ASKED: Duration = Duration::from_secs(600);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
