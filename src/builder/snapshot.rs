//! VM snapshots, as far as the caller of a builder knows them.

use serde::Serialize;

use crate::digest::Digest;

/// The VM snapshot that a VM resumed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The id of the run that saved it, after its first boot.
    pub run: String,
    /// The SHA-256 of the memory, computed on load.
    pub memory_sha256: Digest,
}

/// The size of the VM snapshots in the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SnapshotCacheUsage {
    /// The number of VM snapshots.
    pub machines: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// The largest allowed size, in bytes. The oldest VM snapshots are removed first.
    pub at_most_bytes: u64,
}
