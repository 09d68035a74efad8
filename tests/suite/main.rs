//! Fast tests: no machine, no network.

mod definition;
mod lock;
mod plan;
mod provisioner;
