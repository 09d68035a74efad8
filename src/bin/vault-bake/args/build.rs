//! Arguments of the verbs that make an image: from `init` to `test`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use vault_bake::builder::LayerCacheLimits;

use super::groups::example;
use super::{Image, ImageReference, Releases, Vars};

/// Make a project with two images, a cluster and a CI workflow
///
/// Writes definitions of `consul-server` and `vault-server`, `clusters/dev/cluster.toml`,
/// `.gitignore` and `.github/workflows/images.yml`. Prints the next commands.
/// If one of the files exists, lists it and writes nothing.
#[derive(Args)]
#[command(after_help = example("init vault-images"))]
pub struct Init {
    /// Folder of the project; created if it does not exist
    /// [default: --project, or the current folder]
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// Check definitions of images and clusters without using the network
///
/// Reads `image.toml`, the provisioners that it names and the values of its variables.
/// Reads `cluster.toml` of each cluster.
/// Prints every problem with its file, line and key. Changes nothing.
#[derive(Args)]
#[command(after_help = example("validate web"))]
pub struct Validate {
    /// Names of images and clusters, or their folders [default: all of the project]
    #[arg(value_name = "NAMES")]
    pub names: Vec<String>,
    /// Values of variables.
    #[command(flatten)]
    pub vars: Vars,
}

/// Write the exact version and digest of every input to `image.lock`
///
/// Looks up the base and the releases over the network, and verifies their signatures.
/// `plan` and `build` use only the inputs of this file, so commit it.
/// To take newer packages, run `lock` again.
#[derive(Args)]
#[command(after_help = example("lock web --builder qemu"))]
pub struct Lock {
    /// The definition.
    #[command(flatten)]
    pub image: Image,
    /// The source of releases.
    #[command(flatten)]
    pub releases: Releases,
    /// Update the base of this builder only [default: all builders of the definition]
    #[arg(long, value_enum)]
    pub builder: Option<BuilderName>,
    /// Print the lock file instead of writing it
    #[arg(long)]
    pub dry_run: bool,
}

/// Print every step, file and value that `build` will use
///
/// Needs the lock file, which `vault-bake lock` writes. Uses no network and changes nothing.
#[derive(Args)]
#[command(after_help = example("plan web"))]
pub struct Plan {
    /// The image to plan.
    #[command(flatten)]
    pub source: BuildSource,
}

/// The definition, the releases and the builder of a plan.
#[derive(Args)]
pub struct BuildSource {
    /// The definition.
    #[command(flatten)]
    pub image: Image,
    /// The source of releases.
    #[command(flatten)]
    pub releases: Releases,
    /// Where the build VM runs
    #[arg(long, value_enum, default_value_t = BuilderName::Qemu)]
    pub builder: BuilderName,
}

/// Build an image, scan it for secrets, record it and test it
///
/// Runs the steps of the definition in a temporary build VM and captures its disk.
/// The disk is scanned for secrets, and the signed manifest is recorded in the store.
/// Then the image is booted and checked. Unless the image passes, no channel accepts it.
///
/// When the build ends, everything temporary is deleted. After a crash, run `vault-bake sweep`.
#[derive(Args)]
#[command(after_help = example("build web --on-error keep"))]
pub struct Build {
    /// The image to build.
    #[command(flatten)]
    pub source: BuildSource,
    /// Version of the image, MAJOR.MINOR.PATCH [default: YYYY.MMDD.N with the next free N]
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// What happens to the build VM if a stage fails
    #[arg(long, value_enum, default_value_t = OnError::Clean, value_name = "ACTION")]
    pub on_error: OnError,
    /// Skip the boot test; the image stays untested
    #[arg(long)]
    pub skip_test: bool,
    /// Audit the booted image and its base with Lynis, which takes minutes
    #[arg(long, conflicts_with = "skip_test")]
    pub audit: bool,
    /// Run every step, without the layer cache
    #[arg(long)]
    pub no_cache: bool,
    /// Maximum age of a cache entry, in days
    #[arg(
        long,
        value_name = "DAYS",
        default_value_t = 7,
        conflicts_with = "no_cache"
    )]
    pub layer_age: u32,
    /// Boot from scratch: neither use nor save a VM snapshot
    #[arg(long)]
    pub fresh_boot: bool,
    /// Print the plan without building
    #[arg(long)]
    pub dry_run: bool,
}

impl Build {
    /// Returns the rules of the layer cache that the options ask for.
    pub fn layer_rules(&self) -> LayerCacheLimits {
        LayerCacheLimits {
            reuse: !self.no_cache,
            max_age: Duration::from_secs(u64::from(self.layer_age) * 24 * 3600),
            ..LayerCacheLimits::default()
        }
    }
}

/// Boot a recorded image again, run its checks and record the result
///
/// The image gets a throw-away identity. Its checks come from the manifest, so no definition is
/// needed. The last result decides whether the image is `tested` or `failed`.
#[derive(Args)]
#[command(after_help = example("test web@2026.1128.0"))]
pub struct Test {
    /// The image to test.
    #[command(flatten)]
    pub image: ImageReference,
    /// Audit the booted image with Lynis, and its base if it still exists
    #[arg(long)]
    pub audit: bool,
    /// Print which image would be booted, without booting it
    #[arg(long)]
    pub dry_run: bool,
}

/// Where the build VM runs.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BuilderName {
    /// QEMU on this computer
    Qemu,
    /// Azure
    Azure,
}

impl BuilderName {
    /// Returns the name of the platform.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Azure => "azure",
        }
    }
}

/// What happens to the build VM of a failed build.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// Delete it
    Clean,
    /// Leave it running and print how to log in; `sweep` deletes it later
    Keep,
    /// Ask on the terminal; without a terminal, delete it
    Ask,
}
