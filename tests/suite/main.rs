//! Fast tests: one binary, no machine and no network beyond loopback.

mod bakes;
mod definition;
mod faults;
mod ground;
mod identity;
mod lock;
mod manifest;
mod plan;
mod provision;
mod provisioner;
mod provisioners;
mod qemu;
mod release;
mod ssh;
mod store;
mod support;
mod tidy;
