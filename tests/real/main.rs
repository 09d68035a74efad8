//! Tests with real components.

mod qemu;
