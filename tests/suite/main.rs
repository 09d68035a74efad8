//! Fast tests: no machine, no network beyond loopback.

mod definition;
mod ground;
mod identity;
mod manifest;
mod provision;
mod qemu;
mod release;
mod ssh;
mod store;
mod support;
mod tidy;
//! Fast tests: no machine, no network.

mod lock;
mod plan;
mod provisioner;
//! Fast tests: one binary, no machine and no network.

