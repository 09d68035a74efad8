//! Arguments of the verbs that maintain a store and an installation, except `gc`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::groups::example;

/// Show or change which keys may sign records
///
/// The trust policy of the store says which key has which role, and how many keys must sign.
#[derive(Args)]
#[command(after_help = example("trust show"))]
pub struct Trust {
    /// The action.
    #[command(subcommand)]
    pub verb: TrustVerb,
}

/// The actions of `trust`.
#[derive(Subcommand)]
pub enum TrustVerb {
    /// Print the trust policy of the store; keep a copy, and pass it with --trust
    #[command(after_help = example("trust show"))]
    Show,
    /// Replace the trust policy; the roots of the old and of the new policy must sign
    #[command(after_help = example("trust set policy.json --dry-run"))]
    Set(SetTrust),
    /// Print your own public key and its id
    #[command(after_help = example("trust key"))]
    Key,
}

/// Arguments of `trust set`.
#[derive(Args)]
pub struct SetTrust {
    /// File with the new policy
    pub file: PathBuf,
    /// Check the new policy without recording it
    #[arg(long)]
    pub dry_run: bool,
}

/// Delete what crashed or kept runs left: VMs, disks and files
///
/// Reads the journals of the runs on this computer. Running builds are not touched.
/// With an Azure subscription, also deletes expired resources of vault-bake in it.
#[derive(Args)]
#[command(after_help = example("sweep --dry-run"))]
pub struct Sweep {
    /// Print what would be deleted, without deleting it
    #[arg(long)]
    pub dry_run: bool,
}

/// Print a completion script for a shell
///
/// Load it in the start-up file of the shell, or save it to the shell's completion folder.
#[derive(Args)]
#[command(after_help = example("completions bash"))]
pub struct Completions {
    /// Name of the shell
    pub shell: clap_complete::Shell,
}

/// Write the manual pages to a folder
///
/// Writes vault-bake.1 and one page for each verb. Uses no network.
#[derive(Args)]
#[command(after_help = example("man ~/.local/share/man/man1"))]
pub struct Man {
    /// Folder for the pages; created if it does not exist
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}
