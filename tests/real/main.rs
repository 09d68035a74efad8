//! Tests with real components: machines, mirrors, agents. Each skips only with a printed reason.

mod bake;
mod fixture_vault;
mod lock;
mod qemu;
