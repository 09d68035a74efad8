//! Tests with VMs, mirrors and agents. Each skipped test prints its reason.

mod azure;
mod azurite;
mod bake;
mod consul_files;
mod consul_model;
mod crash_test;
mod example;
mod fixture_vault;
mod front;
mod judges;
mod lock;
mod nodes;
mod platform;
mod policies;
mod products;
mod project;
mod qemu;
mod tamper;
