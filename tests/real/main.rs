//! Tests with real components: machines, mirrors, agents. Each skips only with a printed reason.

mod bake;
mod fixture_vault;
mod judges;
mod lock;
mod qemu;
