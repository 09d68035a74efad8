//! Decides which answers are retried and when, and limits the rate of all users of a client.
//!
//! Takes statuses and headers; returns pauses. The module `arm` sends the requests.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::wait::TimeScale;

/// The kinds of requests that the service counts separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bucket {
    Reads,
    Writes,
    Deletes,
}

impl Bucket {
    pub(super) fn for_method(verb: &str) -> Self {
        match verb {
            "GET" | "HEAD" => Self::Reads,
            "DELETE" => Self::Deletes,
            _ => Self::Writes,
        }
    }

    /// Returns the burst of requests and the rate in 1/s, as documented for a subscription in a
    /// region.
    fn limits(self) -> (f64, f64) {
        match self {
            Self::Reads => (250.0, 25.0),
            Self::Writes | Self::Deletes => (200.0, 10.0),
        }
    }
}

/// A token bucket for each kind of request, shared by all users of a client.
pub(super) struct Limiter {
    time_scale: TimeScale,
    buckets: Mutex<[BucketState; 3]>,
}

#[derive(Clone, Copy)]
struct BucketState {
    remaining: f64,
    since: Instant,
    /// No request is sent before this time.
    closed_until: Instant,
}

impl Limiter {
    pub(super) fn new(time_scale: TimeScale) -> Self {
        let now = Instant::now();
        let full = |bucket: Bucket| BucketState {
            remaining: bucket.limits().0,
            since: now,
            closed_until: now,
        };
        let buckets = [Bucket::Reads, Bucket::Writes, Bucket::Deletes].map(full);
        Self {
            time_scale,
            buckets: Mutex::new(buckets),
        }
    }

    /// Reserves one request. Fails with the time to wait before the next attempt.
    pub(super) fn acquire(&self, bucket: Bucket) -> Result<(), Duration> {
        self.update(bucket, |state, time_scale| {
            let now = Instant::now();
            let (burst, rate) = bucket.limits();
            let passed = time_scale.unscaled_seconds(now.saturating_duration_since(state.since));
            state.remaining = (state.remaining + passed * rate).min(burst);
            state.since = now;
            if state.closed_until > now {
                return Err(state.closed_until - now);
            }
            if state.remaining < 1.0 {
                return Err(
                    time_scale.scale(Duration::from_secs_f64((1.0 - state.remaining) / rate))
                );
            }
            state.remaining -= 1.0;
            Ok(())
        })
    }

    /// Lowers a bucket to the count that an answer reported.
    pub(super) fn limit_to(&self, bucket: Bucket, remaining: u64) {
        self.update(bucket, |state, _| {
            state.remaining = state.remaining.min(remaining as f64);
        });
    }

    /// Closes a bucket for the time that a throttled answer set.
    pub(super) fn close_for(&self, bucket: Bucket, pause: Duration) {
        self.update(bucket, |state, time_scale| {
            let until = Instant::now() + time_scale.scale(pause);
            state.closed_until = state.closed_until.max(until);
        });
    }

    fn update<T>(&self, bucket: Bucket, work: impl FnOnce(&mut BucketState, TimeScale) -> T) -> T {
        let mut buckets = match self.buckets.lock() {
            Ok(buckets) => buckets,
            Err(poisoned) => poisoned.into_inner(),
        };
        work(&mut buckets[bucket as usize], self.time_scale)
    }
}

/// Returns a random pause up to a limit that doubles with each try (full jitter), so that throttled
/// callers do not return together.
pub(super) fn jittered_pause(tries: u32) -> Duration {
    let limit = FIRST_PAUSE * 2u32.saturating_pow(tries.min(10));
    limit.min(MAX_PAUSE).mul_f64(random())
}

/// Returns the pause before a retry while another operation runs: longer each time, with jitter.
pub(super) fn busy_pause(tries: u32) -> Duration {
    let base = Duration::from_secs(5 * u64::from(tries + 1)).min(MAX_PAUSE);
    base.mul_f64(1.0 + random() / 4.0)
}

/// Returns a random number from 0 to 1.
pub(super) fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// Returns whether a request with this status may succeed later.
pub(super) fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// The number of faults of the service or the connection after which a request fails.
pub(super) const MAX_FAULTS: u32 = 8;
/// The number of answers "throttled" or "busy" after which a request fails.
pub(super) const MAX_REFUSALS: u32 = 20;
/// The longest pause after one answer. If the service sets a longer one, the request fails.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);
