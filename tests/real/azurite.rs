//! Tests of the store in Azure Blob Storage, with Azurite.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test whose preparation fails has failed, and the crash test prints its counts"
)]

mod faults;
mod names;
mod person;
mod proxy;
pub mod server;
pub mod crash_test;
mod stores;

use vault_bake::store::backend::{Backend, Created};

/// Returns how many of these creates succeeded.
fn won(results: &[Created]) -> usize {
    results.iter().filter(|one| **one == Created::New).count()
}

/// Returns the bytes of `name`, which must exist.
async fn read(backend: &impl Backend, name: &str) -> Vec<u8> {
    let bytes = backend
        .get(name)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    bytes.unwrap_or_else(|| panic!("{name} is not there"))
}
