//! Arguments of `lint`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use vault_bake::lint::Role;

use super::Vars;
use super::groups::example;

/// Find unsafe settings in Vault and Consul configuration
///
/// Checks the configuration that images contain, or the files of --vault and --consul.
/// `build` applies the same rules. Exit code 6 means that there are findings; notes do not count.
#[derive(Args)]
#[command(after_help = example("lint web"))]
#[command(group(ArgGroup::new("files").args(["vault", "consul"]).multiple(true)))]
pub struct Lint {
    /// Names of images, or folders with an `image.toml` [default: all images of the project]
    pub images: Vec<String>,
    /// Values of variables.
    #[command(flatten)]
    pub vars: Vars,
    /// Check this file or folder of Vault configuration instead, HCL or JSON
    #[arg(long, value_name = "PATH", conflicts_with = "images")]
    pub vault: Option<PathBuf>,
    /// Check this file or folder of Consul configuration instead, HCL or JSON
    #[arg(long, value_name = "PATH", conflicts_with = "images")]
    pub consul: Option<PathBuf>,
    /// Version of Vault, for rules that depend on it [default: the newest]
    #[arg(long, value_name = "VERSION", requires = "vault")]
    pub vault_version: Option<String>,
    /// Version of Consul, for rules that depend on it [default: the newest]
    #[arg(long, value_name = "VERSION", requires = "files")]
    pub consul_version: Option<String>,
    /// Purpose of the files
    #[arg(long, value_enum, default_value_t = RoleName::Node, value_name = "ROLE")]
    pub role: RoleName,
    /// List the rules and exit
    #[arg(long)]
    pub rules: bool,
}

/// The purpose of configuration files.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RoleName {
    /// Part of an image; secrets and other values of a node are added at boot
    Image,
    /// Everything that a node reads
    Node,
    /// Everything that one of the first servers of a new cluster reads
    Founder,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Image => Self::Image,
            RoleName::Node => Self::Node,
            RoleName::Founder => Self::Founder,
        }
    }
}
