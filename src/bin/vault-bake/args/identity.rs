//! Arguments of `identity`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::groups::example;

/// Make, check and renew the identity archives of nodes
///
/// An archive has the certificates, keys and tokens of one node, which no image contains.
#[derive(Args)]
#[command(after_help = example("identity make dev --to identities"))]
pub struct Identity {
    /// The action.
    #[command(subcommand)]
    pub verb: IdentityVerb,
}

/// The actions of `identity`.
#[derive(Subcommand)]
pub enum IdentityVerb {
    /// Make an archive for each node of a cluster
    ///
    /// Makes the certificate authority, the gossip key and the tokens if they are absent.
    /// Each archive is checked with the program of the image before it is written.
    #[command(after_help = example("identity make dev --to identities"))]
    Make(MakeIdentities),
    /// Check an archive with the program of the image, and print its public content
    ///
    /// Prints names and ends of certificates, and no secret.
    /// Exit code 4 means that a node would refuse the archive today.
    #[command(after_help = example("identity check identities/dev-vault-1-1.tar"))]
    Check(CheckIdentity),
    /// Give the archives of a cluster new certificates
    ///
    /// The names, tokens and the gossip key stay, so that running nodes accept the new archives.
    #[command(after_help = example("identity renew dev --to identities"))]
    Renew(MakeIdentities),
}

/// Arguments of `identity make` and `identity renew`.
#[derive(Args)]
pub struct MakeIdentities {
    /// Name of the cluster in `clusters/`, or a folder with a `cluster.toml`
    pub cluster: String,
    /// Folder for the archives, NODE.tar for each node; only you get access
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Folder with the secrets of the cluster
    /// [default: a folder of this cluster below ~/.local/state/vault-bake]
    #[arg(long, value_name = "DIR")]
    pub secrets: Option<PathBuf>,
}

/// Arguments of `identity check`.
#[derive(Args)]
pub struct CheckIdentity {
    /// The archive: a tar file, or a compressed one
    pub file: PathBuf,
    /// Also fail with exit code 4 if a certificate ends within this number of hours
    #[arg(long, value_name = "HOURS")]
    pub valid_h: Option<u32>,
}
