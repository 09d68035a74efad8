//! Fast tests in one binary: no VM, and no network beyond loopback.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test whose preparation fails has failed, and tables say how many cases they have"
)]

mod bakes;
mod canary;
mod canonical;
mod cli;
mod cluster_file;
mod clusters;
mod definition;
mod remote;
mod deployable;
mod terraform;
mod docs;
mod endings;
mod event;
mod exits;
mod faults;
mod front;
mod fuzz;
mod ground;
mod hcl1;
mod identity;
mod layers;
mod lint;
mod lock;
mod manifest;
mod network;
mod pin;
mod plan;
mod platforms;
mod product;
mod problems;
mod project_file;
mod promises;
mod guest_steps;
mod provisioner;
mod provisioners;
mod qemu;
mod release;
mod leak_scan;
mod secret;
mod secrets;
mod sign;
mod resolve;
mod rollout;
mod ssh;
mod store;
mod terminal;
mod test_report;
mod tidy;
mod user_ids;
mod voice;

// These files decide how the binary ends: the tests call the same functions.
#[path = "../../src/bin/vault-bake/ending.rs"]
mod ending;
#[path = "../../src/bin/vault-bake/exit.rs"]
mod exit;
#[expect(dead_code, reason = "most of it is used by commands alone")]
#[path = "../../src/bin/vault-bake/failure.rs"]
mod failure;
#[path = "../../src/bin/vault-bake/key_hint.rs"]
mod key_hint;
#[expect(dead_code, reason = "most of it is used by commands alone")]
#[path = "../../src/bin/vault-bake/output.rs"]
mod output;

/// The binary under test.
const VAULT_BAKE: &str = env!("CARGO_BIN_EXE_vault-bake");
