//! The command line, as clap sees it. Says what may be asked; does nothing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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

/// Options of every verb.
#[derive(Args)]
pub struct Global {
    /// Print one JSON object a line on standard output, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Folder with `images/` and perhaps `provisioners/` [default: the nearest one upwards from here]
    #[arg(long, global = true, value_name = "DIR", env = "VAULT_BAKE_PROJECT")]
    pub project: Option<PathBuf>,
    /// Store of manifests, test records, images: a folder, or https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]
    /// [default: what `vault-bake.toml` says, or ~/.local/share/vault-bake/store]
    #[arg(
        long,
        global = true,
        value_name = "PLACE",
        env = "VAULT_BAKE_STORE",
        hide_env_values = true
    )]
    pub store: Option<PathBuf>,
    /// Folder for what can be made again: bases, releases, logs, work in progress [default: ~/.cache/vault-bake]
    #[arg(long, global = true, value_name = "DIR", env = "VAULT_BAKE_CACHE")]
    pub cache: Option<PathBuf>,
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
    /// Resolve every input to an exact version and digest, into `image.lock`
    Lock {
        /// Which image, and with which variables
        #[command(flatten)]
        image: Image,
        /// Where releases come from
        #[command(flatten)]
        releases: Releases,
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
        /// Print the plan and bake nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Boot a recorded image with a throw-away identity, check it, and record the result
    Test {
        /// `name@version`, `sha256:…` or a name (the newest)
        reference: String,
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
    /// Show what differs between two images
    Diff {
        /// The older one: `name@version`, `sha256:…` or a name
        from: String,
        /// The newer one
        to: String,
    },
    /// Prove the store: its log, every record, every image file
    Verify {
        /// Do not read the image files, only the records
        #[arg(long)]
        records_only: bool,
    },
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
    /// Value of a variable; sensitive ones better through the environment, as VB_VAR_NAME
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

/// What runs temporary machines.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BuilderName {
    /// QEMU on this machine
    Qemu,
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
