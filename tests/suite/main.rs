//! Fast tests: one binary, no machine and no network beyond loopback.

mod definition;
mod ground;
mod identity;
mod lock;
mod manifest;
mod plan;
mod provision;
mod provisioner;
mod qemu;
mod release;
mod ssh;
mod store;
mod support;
mod tidy;
//! Fast tests: no machine, no network.

mod provisioners;
