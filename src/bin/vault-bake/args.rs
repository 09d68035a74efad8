//! The command line, as clap sees it. Says what may be asked; does nothing.

pub mod gc;
pub mod lint;
pub mod pins;
mod shared;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use vault_bake::definition::BuilderKind;

pub use shared::{Global, Keys};

/// Bakes hardened, verified and recorded Vault and Consul images.
#[derive(Parser)]
#[command(
    name = "vault-bake",
    version,
    max_term_width = 100,
    propagate_version = false
)]
pub struct Cli {
    /// What all verbs share.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Check definitions, without network and without side effects
    Validate {
        /// Names of images, or folders with an `image.toml` [default: all of the project]
        images: Vec<String>,
        /// Values of variables
        #[command(flatten)]
        vars: Vars,
    },
    /// Find what would start and not be safe in the configuration of Vault and Consul
    Lint(lint::Lint),
    /// Resolve every input to an exact version and digest, into `image.lock`
    Lock {
        /// Which image, and with which variables
        #[command(flatten)]
        image: Image,
        /// Where releases come from
        #[command(flatten)]
        releases: Releases,
        /// Look up the base of this builder alone; what is locked for others stays [default: all that the image has]
        #[arg(long, value_enum)]
        builder: Option<BuilderName>,
        /// Say what would be locked and write nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Print every step of a bake with its digest; nothing is left to choose
    Plan {
        /// Which image, and with which variables
        #[command(flatten)]
        image: Image,
        /// Where releases come from
        #[command(flatten)]
        releases: Releases,
        /// What runs the temporary machine
        #[arg(long, value_enum, default_value_t = BuilderName::Qemu)]
        builder: BuilderName,
    },
    /// Bake: boot, provision, check, seal, capture, record, and test the captured image
    Build {
        /// Which image, and with which variables
        #[command(flatten)]
        image: Image,
        /// Where releases come from
        #[command(flatten)]
        releases: Releases,
        /// What runs the temporary machine
        #[arg(long, value_enum, default_value_t = BuilderName::Qemu)]
        builder: BuilderName,
        /// Version of the image, MAJOR.MINOR.PATCH [default: YYYY.MMDD.N, the next free N]
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
        /// What to do with the machine when a stage fails
        #[arg(long, value_enum, default_value_t = OnError::Clean, value_name = "WHAT")]
        on_error: OnError,
        /// Do not boot and check the captured image; it stays untested
        #[arg(long)]
        skip_test: bool,
        /// Have Lynis, as this machine has it, measure the booted image, and its base: takes minutes
        #[arg(long, conflicts_with = "skip_test")]
        audit: bool,
        /// Do every step, also those that an earlier bake left a layer of
        #[arg(long)]
        no_cache: bool,
        /// Continue only from layers that are not older than this, in days
        #[arg(
            long,
            value_name = "DAYS",
            default_value_t = 7,
            conflicts_with = "no_cache"
        )]
        layer_age: u32,
        /// Boot the machine, also where one like it was kept suspended, and keep none (under emulation only)
        #[arg(long)]
        fresh_boot: bool,
        /// Print the plan and bake nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Boot a recorded image with a throw-away identity, check it, and record the result
    Test {
        /// `name@version`, `sha256:…` or a name (the newest)
        reference: String,
        /// Have Lynis, as this machine has it, measure the booted image, and its base where that is still there
        #[arg(long)]
        audit: bool,
        /// Say what would be booted and checked, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List recorded images: tested, failed or untested
    Images {
        /// Only of this name
        name: Option<String>,
    },
    /// Show the manifest of an image
    Show {
        /// `name@version`, `sha256:…` or a name (the newest)
        reference: String,
    },
    /// Print the bill of materials of an image: CycloneDX 1.6, the stored bytes
    Sbom {
        /// `name@version`, `sha256:…` or a name (the newest)
        reference: String,
    },
    /// Show what differs between two images
    Diff {
        /// The older one: `name@version`, `sha256:…` or a name
        from: String,
        /// The newer one
        to: String,
        /// How to print it [default: text]; `--json` is short for `--format json`
        #[arg(long, value_enum)]
        format: Option<DiffFormat>,
    },
    /// Prove the store: its log, every record, every image file; or a pin file by itself
    Verify {
        /// Prove this pin file instead, without store and network; with --store, against that store as well
        #[arg(long, value_name = "FILE", conflicts_with = "records_only")]
        pins: Option<PathBuf>,
        /// Do not read the image files, only the records
        #[arg(long)]
        records_only: bool,
    },
    /// Move a channel to an image that was tested, is not revoked, and whose artifact is there
    Promote {
        /// What to promote: `name@version`, `sha256:…`, `name:channel` or a name (the newest that may be
        /// deployed)
        reference: String,
        /// The channel, as in `staging` or `name:staging`; it is made where it is not there
        channel: String,
        /// Only where the channel is at this generation
        #[arg(long, value_name = "GENERATION")]
        expect: Option<u64>,
        /// Why, in words
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// Say what would move and move nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a channel back to an image that it held, as a new generation
    Rollback {
        /// The channel: `name:channel`
        channel: String,
        /// Where to [default: what it held before]
        #[arg(long, value_name = "REF")]
        to: Option<String>,
        /// Why, in words
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The Consul snapshot that the data were restored from; allows an older Vault or Consul
        #[arg(long, value_name = "SNAPSHOT")]
        data_restored_from: Option<String>,
        /// Say what would move and move nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Show where channels stand, and every position that they ever had
    Channel {
        /// What to show [default: list]
        #[command(subcommand)]
        verb: Option<ChannelVerb>,
    },
    /// Revoke images by a rule that also holds for those to come
    Revoke(Box<Revoke>),
    /// Take a revocation back
    Restore {
        /// The number of the log's entry that revoked
        entry: u64,
        /// Why, in words
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Say what would be restored and restore nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Write into a deployment's repository which image it uses, with the proof
    Pin(pins::Pin),
    /// Print what a deployment needs of an image, in the form that it reads
    Resolve(Box<pins::Resolve>),
    /// Say whether a Terraform plan may be applied, as far as images are concerned
    CheckPlan(pins::CheckPlan),
    /// Show or change whose signatures count
    Trust {
        /// What to do
        #[command(subcommand)]
        verb: TrustVerb,
    },
    /// Say which image files nothing needs any more; plan their removal, and carry it out. Records stay
    Gc(gc::Gc),
    /// Remove what killed runs left: machines, disks, files
    Sweep {
        /// Say what would be removed and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Say what this machine lacks, and how to get it
    Doctor,
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// What to show of channels.
#[derive(Subcommand)]
pub enum ChannelVerb {
    /// All channels
    List {
        /// Only of this image
        image: Option<String>,
    },
    /// What a channel holds
    Show {
        /// `name:channel`, or `name:channel@GENERATION` for what it held then
        channel: String,
    },
    /// Every position that a channel ever had
    Log {
        /// `name:channel`
        channel: String,
    },
}

/// What to do with the trust policy.
#[derive(Subcommand)]
pub enum TrustVerb {
    /// Print the policy in force; keep a copy and pass it with --trust
    Show,
    /// Put another policy in force; roots of both have to sign
    Set {
        /// File with the new policy
        file: PathBuf,
        /// Say what would change and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Print the public key that signs here, in PEM, with its id
    Key,
}

/// A revocation.
#[derive(Args)]
#[command(group(
    ArgGroup::new("rule").required(true).args(["references", "versions_of", "release", "input", "package", "list"])
))]
pub struct Revoke {
    /// These images: `name@version`, `sha256:…`, `name:channel` or a name (the newest)
    pub references: Vec<String>,
    /// Versions of this image, all or as --from and --to say; `*` stands for any text
    #[arg(long, value_name = "IMAGE")]
    pub versions_of: Option<String>,
    /// The first of these versions
    #[arg(long, value_name = "VERSION", requires = "versions_of")]
    pub from: Option<String>,
    /// The last of these versions
    #[arg(long, value_name = "VERSION", requires = "versions_of")]
    pub to: Option<String>,
    /// Images with a release of this product below --below
    #[arg(long, value_name = "PRODUCT", requires = "below")]
    pub release: Option<String>,
    /// Images that something with this digest went into
    #[arg(long, value_name = "DIGEST")]
    pub input: Option<String>,
    /// Images with this package, or one built from this source package, below --below
    #[arg(long, value_name = "NAME", requires = "below")]
    pub package: Option<String>,
    /// The first good version of the release or package
    #[arg(long, value_name = "VERSION")]
    pub below: Option<String>,
    /// Why, in words
    #[arg(long, value_name = "TEXT", required_unless_present = "list")]
    pub reason: Option<String>,
    /// From when on, as in 2026-12-01T00:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// What to use instead
    #[arg(long = "use", value_name = "REF")]
    pub replacement: Option<String>,
    /// Show what would be concerned (images, channels) and revoke nothing
    #[arg(long)]
    pub dry_run: bool,
    /// List all revocations and revoke nothing
    #[arg(long)]
    pub list: bool,
}

/// An image to work on.
#[derive(Args)]
pub struct Image {
    /// Name of the image, or a folder with an `image.toml`
    pub image: String,
    /// Values of variables
    #[command(flatten)]
    pub vars: Vars,
    /// The lock file to read or write [default: `image.lock` beside `image.toml`]
    #[arg(long, value_name = "FILE")]
    pub lock_file: Option<PathBuf>,
}

/// Values of variables.
#[derive(Args)]
pub struct Vars {
    /// Value of a variable, for a list as in `a,b` or `["a","b"]`; sensitive ones better through the environment, as
    /// VB_VAR_name, with the name as the definition has it
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub vars: Vec<String>,
}

/// Where releases come from, where not from the place that the definition says.
#[derive(Args)]
pub struct Releases {
    /// URL or folder laid out as HashiCorp's release server is
    #[arg(long, value_name = "URL", env = "VAULT_BAKE_RELEASES")]
    pub releases: Option<String>,
    /// File with the certificate that signs the releases
    #[arg(long, value_name = "FILE", env = "VAULT_BAKE_RELEASE_KEY_FILE")]
    pub release_key_file: Option<PathBuf>,
    /// Primary fingerprint that the certificate must have [default: HashiCorp's]
    #[arg(long, value_name = "HEX", env = "VAULT_BAKE_RELEASE_FINGERPRINT")]
    pub release_fingerprint: Option<String>,
}

/// How a difference is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// Lines for people
    Text,
    /// One JSON object
    Json,
    /// For pull requests and tickets
    Markdown,
}

/// What runs temporary machines.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BuilderName {
    /// QEMU on this machine
    Qemu,
    /// Azure
    Azure,
}

impl From<BuilderName> for BuilderKind {
    fn from(name: BuilderName) -> Self {
        match name {
            BuilderName::Qemu => Self::Qemu,
            BuilderName::Azure => Self::Azure,
        }
    }
}

/// What to do with the machine of a failed bake.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// Remove everything
    Clean,
    /// Leave it running and say how to get in; `sweep` removes it later
    Keep,
    /// Ask on the terminal
    Ask,
}
