//! Shared code of test binaries and benchmarks: a simulated Azure, fake builders, backends and
//! sample records.
//! A crate, so that it is compiled once. The tests are in the test binaries.

#![expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "names explain most items, and a test whose preparation fails has failed"
)]

use std::path::Path;

pub mod azure;
pub mod crash_test;
pub mod delay;
pub mod fake_builder;
pub mod harness;
pub mod judged;
pub mod memory_backend;
pub mod network;
pub mod plan;
pub mod recorded_store;
pub mod remote_backend;
pub mod rollout;
pub mod sample;
pub mod signing;
pub mod sshd;

/// Returns the root of the repository.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("two folders above")
}
