//! Fast tests: one binary, no machine and no network beyond loopback.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test whose preparation fails has failed, and tables say how many cases they have"
)]

mod bakes;
mod cli;
mod definition;
mod deployment;
mod faults;
mod ground;
mod identity;
mod lock;
mod manifest;
mod pin;
mod plan;
mod provision;
mod provisioner;
mod provisioners;
mod qemu;
mod release;
mod resolve;
mod ssh;
mod store;
mod support;
mod tidy;
