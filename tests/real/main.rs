//! Tests with real components: machines, mirrors, agents. Each skips only with a printed reason.

mod azure;
mod azurite;
mod bake;
mod consul_files;
mod fixture_vault;
mod judges;
mod lock;
mod nodes;
mod qemu;
mod storm;
mod tamper;

#[path = "../azure/simulator/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the tests of Azure use more of it"
)]
mod simulator;
#[path = "../suite/manifest/sample.rs"]
#[expect(
    clippy::unwrap_used,
    reason = "a test whose preparation fails has failed"
)]
mod sample;
#[path = "../suite/support/signing.rs"]
mod signing;
