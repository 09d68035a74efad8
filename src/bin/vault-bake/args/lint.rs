//! `lint`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vault_bake::lint::Role;

use super::Vars;

/// What to look at.
#[derive(Args)]
pub struct Lint {
    /// Names of images, or folders with an `image.toml` [default: all of the project]
    pub images: Vec<String>,
    /// Values of variables
    #[command(flatten)]
    pub vars: Vars,
    /// Look at this file or folder of Vault's configuration instead, HCL or JSON
    #[arg(long, value_name = "PATH", conflicts_with = "images")]
    pub vault: Option<PathBuf>,
    /// Look at this file or folder of Consul's configuration instead, HCL or JSON
    #[arg(long, value_name = "PATH", conflicts_with = "images")]
    pub consul: Option<PathBuf>,
    /// Vault's version, where rules depend on it [default: the newest]
    #[arg(long, value_name = "VERSION", requires = "vault")]
    pub vault_version: Option<String>,
    /// Consul's version, where rules depend on it [default: the newest]
    #[arg(long, value_name = "VERSION", requires = "consul")]
    pub consul_version: Option<String>,
    /// What the files are for
    #[arg(long, value_enum, default_value_t = ProductName::Node, value_name = "WHAT")]
    pub role: ProductName,
    /// List the rules, and look at nothing
    #[arg(long)]
    pub rules: bool,
}

/// What a configuration is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ProductName {
    /// Part of an image: what is a node's own, secrets first of all, comes when it boots
    Image,
    /// All that a node reads, also one that replaces another
    Node,
    /// All that one of the first servers of a new cluster reads
    Founder,
}

impl From<ProductName> for Role {
    fn from(whose: ProductName) -> Self {
        match whose {
            ProductName::Image => Self::Image,
            ProductName::Node => Self::Node,
            ProductName::Founder => Self::Founder,
        }
    }
}
