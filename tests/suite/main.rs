mod ground;
mod tidy;
mod qemu;
mod provision;
mod ssh;
mod support;
mod identity;
mod manifest;
mod store;
mod release;
//! Fast tests: no machine, no network.

mod definition;
