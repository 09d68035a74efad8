//! Arguments of `rollout`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::cluster::Named;
use super::groups::example;

/// A week. Certificates of nodes and the patience of people are shorter.
const LONGEST_SOAK_S: u64 = 7 * 24 * 3600;

/// Replace every node of a running cluster without a failed request
///
/// New nodes join, old ones leave, the active Vault node is handed over last. A canary client
/// measures what clients feel. A rollout to earlier images is the rollback.
#[derive(Args)]
#[command(after_help = example("rollout start dev"))]
pub struct Rollout {
    /// The command to run.
    #[command(subcommand)]
    pub command: RolloutCommand,
}

/// What to do with a rollout.
#[derive(Subcommand)]
pub enum RolloutCommand {
    Plan(Plan),
    Start(Start),
    Status(Status),
    Resume(Resume),
    Abort(Abort),
    Log(Log),
    Show(Show),
}

/// Which images, and how to replace the nodes.
#[derive(Args)]
pub struct Targets {
    /// Image to roll out: `NAME:CHANNEL` or `NAME@VERSION`, once for each tier. A tier without one
    /// keeps its image [default: the images of cluster.toml]
    #[arg(long, value_name = "REF")]
    pub to: Vec<String>,
    /// Replace nodes that have the target image already, too
    #[arg(long)]
    pub all_nodes: bool,
    /// Largest number of new nodes of a tier that start side by side [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_surge: Option<u32>,
    /// Time in seconds for which clients use the new nodes before the old ones are deleted
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=LONGEST_SOAK_S))]
    pub soak: u64,
    /// Accept a jump of versions that is in no table, for this reason, which the record keeps
    #[arg(long, value_name = "REASON")]
    pub allow_version_jump: Option<String>,
    /// Accept an image that no channel or pin names
    #[arg(long)]
    pub allow_unpromoted: bool,
    /// Accept an image that is untested or failed its test
    #[arg(long)]
    pub allow_untested: bool,
}

/// How a controller works.
#[derive(Args)]
pub struct Control {
    /// File with shares of Vault's unseal key, one a line, if they are not stored with the cluster
    #[arg(long, value_name = "FILE", env = "VAULT_BAKE_UNSEAL_KEYS_FILE")]
    pub unseal_keys: Option<PathBuf>,
    /// Rest before the active Vault node is stopped, the last point from which `abort` goes back
    #[arg(long)]
    pub stop_before_handover: bool,
    /// Rest if a request of the canary failed
    #[arg(long)]
    pub require_no_failure: bool,
}

/// Print the steps of a rollout, and what would refuse it
///
/// Changes nothing. Exit code 6 means that a guard refuses it.
#[derive(Args)]
#[command(after_help = example("rollout plan dev --to vault-server:stable"))]
pub struct Plan {
    /// Which cluster.
    #[command(flatten)]
    pub named: Named,
    /// The images.
    #[command(flatten)]
    pub targets: Targets,
    /// File with shares of Vault's unseal key, one a line, if they are not stored with the cluster
    #[arg(long, value_name = "FILE", env = "VAULT_BAKE_UNSEAL_KEYS_FILE")]
    pub unseal_keys: Option<PathBuf>,
}

/// Begin a rollout, and work on it until it is complete
///
/// Stores the plan and begins the rollout in the store's event log, so only one is open at a time.
/// Ctrl-C finishes the present step and rests; a second one leaves at once. Both can be resumed.
#[derive(Args)]
#[command(after_help = example("rollout start dev --stop-before-handover"))]
pub struct Start {
    /// Which cluster.
    #[command(flatten)]
    pub named: Named,
    /// The images.
    #[command(flatten)]
    pub targets: Targets,
    /// The controller.
    #[command(flatten)]
    pub control: Control,
}

/// Print what is done of a rollout, what is next, and what clients felt
#[derive(Args)]
#[command(after_help = example("rollout status dev"))]
pub struct Status {
    /// Which cluster.
    #[command(flatten)]
    pub named: Named,
}

/// Continue an open rollout
///
/// Observes the cluster again, and continues with the first step that is not done. With the images
/// and choices of its plan.
#[derive(Args)]
#[command(after_help = example("rollout resume dev"))]
pub struct Resume {
    /// Which cluster.
    #[command(flatten)]
    pub named: Named,
    /// The controller.
    #[command(flatten)]
    pub control: Control,
    /// Take the rollout over from another controller, which must not change anything any more
    #[arg(long)]
    pub take_over: bool,
}

/// Go back to the nodes from before an open rollout
///
/// Possible until the hand-over, and after it with the same version of Vault. Otherwise the way
/// forward is printed.
#[derive(Args)]
#[command(after_help = example("rollout abort dev"))]
pub struct Abort {
    /// Which cluster.
    #[command(flatten)]
    pub named: Named,
    /// The controller.
    #[command(flatten)]
    pub control: Control,
    /// Take the rollout over from another controller, which must not change anything any more
    #[arg(long)]
    pub take_over: bool,
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
