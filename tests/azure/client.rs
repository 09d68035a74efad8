//! Tests of the ARM client against a server with scripted replies.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test whose preparation fails has failed, and tables say how many cases they have"
)]

mod credentials;
mod errors;
mod operations;
mod play;
mod requests;
mod retries;

use vault_bake::azure::ResourceId;

const API: &str = "2025-11-01";
/// The resource of all requests; its type does not matter.
const VM: &str =
    "/subscriptions/s1/resourceGroups/g1/providers/Microsoft.Compute/virtualMachines/vm1";

fn vm() -> ResourceId {
    VM.parse().unwrap()
}
