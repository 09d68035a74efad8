//! Suspended machines: what a builder says of them.

use serde::Serialize;

use crate::digest::Digest;

/// Where a machine came from that went on where an earlier one stood still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The run that suspended it, right after it had started.
    pub run: String,
    /// The SHA-256 of its memory, as it was read.
    pub memory_sha256: Digest,
}

/// The suspended machines of a cache, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SnapshotUse {
    /// How many there are.
    pub machines: u64,
    /// What they take, in bytes.
    pub bytes: u64,
    /// What they may take, in bytes; of more, the oldest go.
    pub at_most_bytes: u64,
}
