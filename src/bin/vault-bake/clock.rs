//! The clock of this computer. Only the binary reads it.

use jiff::Timestamp;

/// Returns the current time.
#[expect(
    clippy::disallowed_methods,
    reason = "the only place that reads the clock"
)]
pub fn clock() -> Timestamp {
    Timestamp::now()
}
