//! Arguments of the verbs that maintain a store and an installation, except `gc`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Propose;
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
    /// Give a key a role
    #[command(after_help = example("trust add new.pem --role promoter"))]
    Add(ChangeTrust),
    /// Take a role from a key
    #[command(after_help = example("trust remove old.pem --role promoter"))]
    Remove(ChangeTrust),
    /// Set how many keys must sign for a role
    #[command(after_help = example("trust threshold promoter 2 --propose"))]
    Threshold(SetThreshold),
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
    /// Whether other keys sign too.
    #[command(flatten)]
    pub propose: Propose,
}

/// Arguments of `trust add` and `trust remove`.
#[derive(Args)]
pub struct ChangeTrust {
    /// Key: a file with a public key in PEM or with the output of `trust key --json`, or the id of
    /// a key of the policy
    pub key: String,
    /// Role; repeat it for several
    #[arg(long = "role", value_name = "ROLE", required = true, value_enum)]
    pub roles: Vec<RoleName>,
    /// The grants of the role.
    #[command(flatten)]
    pub grant: GrantOptions,
    /// Print the changed policy without recording it
    #[arg(long)]
    pub dry_run: bool,
    /// Whether other keys sign too.
    #[command(flatten)]
    pub propose: Propose,
}

/// Arguments of `trust threshold`.
#[derive(Args)]
pub struct SetThreshold {
    /// Role: root, promoter or revoker
    #[arg(value_enum)]
    pub role: RoleName,
    /// Number of keys that must sign
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub number: u64,
    /// The grants of the role.
    #[command(flatten)]
    pub grant: GrantOptions,
    /// Print the changed policy without recording it
    #[arg(long)]
    pub dry_run: bool,
    /// Whether other keys sign too.
    #[command(flatten)]
    pub propose: Propose,
}

/// Which grant of a role is meant.
#[derive(Args)]
pub struct GrantOptions {
    /// Pattern of images of the grant [default: the only grant of the role, or all images]
    #[arg(long = "image", value_name = "PATTERN")]
    pub images: Vec<String>,
    /// Pattern of channels of the grant [default: the only grant of the role, or all channels]
    #[arg(long = "channel", value_name = "PATTERN")]
    pub channels: Vec<String>,
}

/// The name of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// Change the trust policy
    Root,
    /// Record builds and tests
    Builder,
    /// Move channels
    Promoter,
    /// Revoke images, and take revocations back
    Revoker,
    /// Delete artifacts
    Keeper,
    /// Replace the nodes of clusters
    Operator,
}

/// Create a store, with its trust policy
///
/// Other commands create a missing store too, with a policy that trusts your key alone.
#[derive(Args)]
#[command(after_help = example("store init --key a.pem --key b.pem --key c.pem --threshold 2"))]
pub struct Store {
    /// The action.
    #[command(subcommand)]
    pub verb: StoreVerb,
}

/// The actions of `store`.
#[derive(Subcommand)]
pub enum StoreVerb {
    /// Create a store before the first build
    #[command(after_help = example("store init --key a.pem --key b.pem --key c.pem --threshold 2"))]
    Init(InitStore),
}

/// Arguments of `store init`.
#[derive(Args)]
pub struct InitStore {
    /// File with the trust policy
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keys", "threshold"])]
    pub policy: Option<PathBuf>,
    /// File with a public key that gets all roles; repeat it for several [default: your own key]
    #[arg(long = "key", value_name = "FILE")]
    pub keys: Vec<PathBuf>,
    /// Number of these keys that must sign policies, promotions and revocations
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1,
        requires = "keys",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub threshold: u64,
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
