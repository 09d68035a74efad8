//! Arguments of `rollout`.

use clap::{Args, Subcommand};

use super::groups::example;

/// Print the recorded rollouts of clusters
#[derive(Args)]
#[command(after_help = example("rollout log dev"))]
pub struct Rollout {
    /// The command to run.
    #[command(subcommand)]
    pub command: RolloutCommand,
}

/// What to do with a rollout.
#[derive(Subcommand)]
pub enum RolloutCommand {
    Log(Log),
    Show(Show),
}

/// List the rollouts that the store records, the newest last
///
/// Prints for each: cluster and epoch, the day, how it ended, what its canary client measured
/// (failed requests, lost writes, longest gap), and the images of each tier.
#[derive(Args)]
#[command(after_help = example("rollout log dev"))]
pub struct Log {
    /// Name or id of a cluster [default: all]
    pub cluster: Option<String>,
}

/// Print a rollout: its images, its controllers, its steps, and what clients felt
///
/// The record of a rollout that ended is checked against the event log and the trust policy.
#[derive(Args)]
#[command(after_help = example("rollout show dev@2"))]
pub struct Show {
    /// Name or id of a cluster, with `@` and an epoch [default: the last epoch]
    #[arg(value_name = "CLUSTER[@EPOCH]")]
    pub rollout: String,
}
