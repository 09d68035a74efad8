//! The command line as clap parses it: one struct of arguments for each verb.
//! It only describes and parses; `commands` does the work.

pub mod build;
pub mod cluster;
pub mod gc;
mod groups;
pub mod identity;
pub mod lint;
pub mod maintain;
pub mod pins;
pub mod proposals;
pub mod release;
pub mod rollout;
mod shared;

use clap::{Parser, Subcommand};

use groups::example;
pub use shared::{Global, Image, ImageReference, Keys, Propose, Releases, Vars};

/// Build hardened VM images for Vault and Consul, check them and sign every record
#[derive(Parser)]
#[command(
    name = "vault-bake",
    version,
    max_term_width = 100,
    propagate_version = false,
    help_template = groups::help_template(),
    after_help = groups::list_of_verbs()
)]
pub struct Cli {
    /// Options that every verb accepts.
    #[command(flatten)]
    pub global: Global,
    /// The command to run.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs, in the order of their groups in `groups`. Their help is the doc comment of the
/// struct.
#[derive(Subcommand)]
pub enum Verb {
    Init(build::Init),
    Validate(build::Validate),
    Lint(lint::Lint),
    Lock(build::Lock),
    Plan(build::Plan),
    Build(build::Build),
    Test(build::Test),
    Images(release::Images),
    Show(release::Show),
    Sbom(release::Sbom),
    Diff(release::Diff),
    Verify(release::Verify),
    Promote(release::Promote),
    Rollback(release::Rollback),
    Channel(release::Channel),
    Revoke(Box<release::Revoke>),
    Restore(release::Restore),
    Proposals(proposals::Proposals),
    Sign(proposals::Sign),
    Complete(proposals::Complete),
    Pin(pins::Pin),
    Resolve(Box<pins::Resolve>),
    Fetch(pins::Fetch),
    CheckPlan(pins::CheckPlan),
    Cluster(cluster::Cluster),
    Rollout(rollout::Rollout),
    Identity(identity::Identity),
    Store(maintain::Store),
    Trust(maintain::Trust),
    Gc(gc::Gc),
    Sweep(maintain::Sweep),
    /// Print what this computer lacks, and how to get it
    ///
    /// Looks for the programs, user ids and folders that vault-bake needs, and says whether KVM
    /// works. Prints the size of the layer cache and of the VM snapshots.
    /// Exit code 1 means that something required is missing.
    #[command(after_help = example("doctor"))]
    Doctor,
    Completions(maintain::Completions),
    Man(maintain::Man),
}
