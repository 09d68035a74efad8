//! Arguments of the verbs that inspect recorded images and decide which of them may be deployed.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::groups::example;
use super::{ImageReference, Propose};

/// List recorded images with their tests, channels and revocations
///
/// One line for each version, with its test state, size, digest and channels.
/// Images with fixture releases, revoked images and missing artifacts are marked.
#[derive(Args)]
#[command(after_help = example("images web"))]
pub struct Images {
    /// Only versions of this image
    pub name: Option<String>,
}

/// Print what an image contains, and whether it may be deployed
///
/// Prints the manifest, the channels of the image and its test records.
/// With --json, prints the stored bytes of the manifest.
#[derive(Args)]
#[command(after_help = example("show web:prod"))]
pub struct Show {
    /// The image to print.
    #[command(flatten)]
    pub image: ImageReference,
}

/// Print the bill of materials of an image, CycloneDX 1.6
///
/// Prints the stored bytes, so the SHA-256 of the output is the one in the manifest.
#[derive(Args)]
#[command(after_help = example("sbom web@2026.1128.0"))]
pub struct Sbom {
    /// The image to list.
    #[command(flatten)]
    pub image: ImageReference,
}

/// Compare two images: releases, packages, inputs, steps and checks
#[derive(Args)]
#[command(after_help = example("diff web:prod web --format markdown"))]
pub struct Diff {
    /// Older image: `name@version`, `sha256:…`, `name:channel`, or a name for its newest version
    pub from: String,
    /// Newer image, in the same forms
    pub to: String,
    /// Output format [default: text]; `--json` is short for `--format json`
    #[arg(long, value_enum)]
    pub format: Option<DiffFormat>,
}

/// The format of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// Plain lines
    Text,
    /// One JSON object
    Json,
    /// Markdown, for pull requests and tickets
    Markdown,
}

/// Verify every record and artifact of the store, or a pin file
///
/// Checks signatures, digests and the links between log entries. Prints what is proved, and what
/// is not. Exit code 7 means that a record or an artifact is wrong.
#[derive(Args)]
#[command(after_help = example("verify --pins vault-bake.pins.json"))]
pub struct Verify {
    /// Verify this pin file instead, without store and network; with --store, also against it
    #[arg(long, value_name = "FILE", conflicts_with = "records_only")]
    pub pins: Option<PathBuf>,
    /// Verify the records without reading the artifacts
    #[arg(long)]
    pub records_only: bool,
}

/// Move a channel to an image that passed its test
///
/// A channel names the version to deploy, for example `web:prod`. The image must be tested,
/// signed and not revoked, and its artifact must exist.
#[derive(Args)]
#[command(after_help = example("promote web@2026.1128.0 staging"))]
pub struct Promote {
    /// Image: `name@version`, `sha256:…`, `name:channel`, or a name for its newest deployable
    /// version
    pub reference: String,
    /// Channel: `staging` or `name:staging`; created if it does not exist
    pub channel: String,
    /// Move the channel only if it is at this generation
    #[arg(long, value_name = "GENERATION")]
    pub expect: Option<u64>,
    /// Note for the channel's history
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Print the move without recording it
    #[arg(long)]
    pub dry_run: bool,
    /// Whether other keys sign too.
    #[command(flatten)]
    pub propose: Propose,
}

/// Move a channel back to an earlier image, as a new generation
///
/// The earlier image must still be deployable. An image with an older Vault or Consul is refused,
/// because it may not read the present data: restore a snapshot first, and name it.
#[derive(Args)]
#[command(after_help = example("rollback web:prod --reason \"logins fail\""))]
pub struct Rollback {
    /// Channel: `name:channel`
    pub channel: String,
    /// Image to move to [default: the last different image of the channel]
    #[arg(long, value_name = "REF")]
    pub to: Option<String>,
    /// Reason, for the channel's history
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Consul snapshot that the data were restored from; allows an older Vault or Consul
    #[arg(long, value_name = "SNAPSHOT")]
    pub data_restored_from: Option<String>,
    /// Print the move without recording it
    #[arg(long)]
    pub dry_run: bool,
    /// Whether other keys sign too.
    #[command(flatten)]
    pub propose: Propose,
}

/// List channels, or show the history of one
///
/// A channel names the version to deploy. Each move of a channel is a generation, numbered from 1.
/// Without a command, lists all channels.
#[derive(Args)]
#[command(after_help = example("channel log web:prod"))]
pub struct Channel {
    /// The part to print.
    #[command(subcommand)]
    pub verb: Option<ChannelVerb>,
}

/// What to print about channels.
#[derive(Subcommand)]
pub enum ChannelVerb {
    /// List channels with their current image
    #[command(after_help = example("channel list web"))]
    List {
        /// Only channels of this image
        image: Option<String>,
    },
    /// Print the image of a channel
    #[command(after_help = example("channel show web:prod"))]
    Show {
        /// `name:channel`, or `name:channel@GENERATION` for an earlier generation
        channel: String,
    },
    /// Print every generation of a channel, the newest first
    #[command(after_help = example("channel log web:prod"))]
    Log {
        /// `name:channel`
        channel: String,
    },
}

/// Revoke images by rule, including images built later
///
/// A revoked image cannot be promoted or pinned any more. Channels and running nodes do
/// not change: promote another version and roll it out. Look first with --dry-run.
#[derive(Args)]
#[command(
    group(ArgGroup::new("rule").required(true).args([
        "references", "versions_of", "release", "input", "package", "list",
    ])),
    after_help = example("revoke --release vault --below 1.21.2 --reason CVE-2026-0001 --dry-run")
)]
pub struct Revoke {
    /// Images: `name@version`, `sha256:…`, `name:channel`, or a name for its newest version
    pub references: Vec<String>,
    /// Versions of this image, all or from --from to --to; `*` matches any text
    #[arg(long, value_name = "IMAGE")]
    pub versions_of: Option<String>,
    /// First version
    #[arg(long, value_name = "VERSION", requires = "versions_of")]
    pub from: Option<String>,
    /// Last version
    #[arg(long, value_name = "VERSION", requires = "versions_of")]
    pub to: Option<String>,
    /// Images with a release of this product below --below
    #[arg(long, value_name = "PRODUCT", requires = "below")]
    pub release: Option<String>,
    /// Images built from an input with this digest
    #[arg(long, value_name = "DIGEST")]
    pub input: Option<String>,
    /// Images with this binary or source package below --below
    #[arg(long, value_name = "NAME", requires = "below")]
    pub package: Option<String>,
    /// First good version of the release or package
    #[arg(long, value_name = "VERSION")]
    pub below: Option<String>,
    /// Reason, shown wherever a revoked image is refused
    #[arg(long, value_name = "TEXT", required_unless_present = "list")]
    pub reason: Option<String>,
    /// Start of the revocation, for example 2026-12-01T00:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Image to use instead
    #[arg(long = "use", value_name = "REF")]
    pub replacement: Option<String>,
    /// Print the images and channels that the rule matches, without revoking
    #[arg(long)]
    pub dry_run: bool,
    /// Whether other keys sign too.
    #[command(flatten)]
    pub propose: Propose,
    /// List all revocations
    #[arg(long)]
    pub list: bool,
}

/// Take back a revocation
///
/// `vault-bake revoke --list` prints the revocations with their entry numbers.
#[derive(Args)]
#[command(after_help = example("restore 7 --reason \"revoked by mistake\""))]
pub struct Restore {
    /// Number of the log entry that revoked
    pub entry: u64,
    /// Reason, for the event log
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Print which revocation would be taken back, without recording it
    #[arg(long)]
    pub dry_run: bool,
    /// Whether other keys sign too.
    #[command(flatten)]
    pub propose: Propose,
}
