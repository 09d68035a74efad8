//! Tests with real components: machines, mirrors, agents. Each skips only with a printed reason.

mod azurite;
mod bake;
mod fixture_vault;
mod judges;
mod lock;
mod qemu;
mod storm;
mod tamper;

#[path = "../suite/manifest/sample.rs"]
#[expect(
    clippy::unwrap_used,
    reason = "a test whose preparation fails has failed"
)]
mod sample;
#[path = "../suite/support/signing.rs"]
mod signing;
