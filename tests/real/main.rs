//! Tests with real components.

mod qemu;
mod fixture_vault;
//! Tests against real components.

mod lock;
