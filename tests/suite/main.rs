//! Fast tests: one binary, no machine and no network.

mod qemu;
