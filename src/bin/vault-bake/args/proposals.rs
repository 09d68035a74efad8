//! Arguments of the verbs with which several people sign one event.

use std::path::PathBuf;

use clap::Args;

use super::groups::example;

/// List proposals, with the signatures that each one lacks
///
/// A proposal is an event that several keys must sign: a move of a channel, a revocation or a
/// trust policy. The option --propose of the other commands makes one.
#[derive(Args)]
#[command(after_help = example("proposals"))]
pub struct Proposals {
    /// Only this proposal: the first 6 or more digits of its digest
    pub proposal: Option<String>,
    /// Write the proposal with its signatures to this new file, for a computer without the store
    #[arg(long, value_name = "FILE", requires = "proposal")]
    pub to: Option<PathBuf>,
    /// Also list completed and outdated proposals
    #[arg(long)]
    pub all: bool,
}

/// Sign a proposal
///
/// Prints the event before it signs. The last required signature also records it in the event log.
/// A file gets the signature instead; with --trust, no store is read.
#[derive(Args)]
#[command(after_help = example("sign 3f2a1b4c5d6e"))]
pub struct Sign {
    /// The first 6 or more digits of the digest of a proposal, or a file with one
    pub proposal: String,
    /// Print the event without signing it
    #[arg(long)]
    pub dry_run: bool,
}

/// Record a proposal that enough keys have signed
///
/// Any key of the trust policy may do this: the signatures of the proposal decide.
#[derive(Args)]
#[command(after_help = example("complete 3f2a1b4c5d6e"))]
pub struct Complete {
    /// The first 6 or more digits of the digest of a proposal, or a file with one
    pub proposal: String,
    /// Check the proposal without recording it
    #[arg(long)]
    pub dry_run: bool,
}
