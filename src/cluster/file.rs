//! Reads `clusters/NAME/cluster.toml` into a [`ClusterFile`].
//! Errors name file, line and key. Files that it names must exist, except private keys and pins,
//! which [`ProjectCluster::check`] looks for.
//! Nothing is resolved or started.

mod check;
mod document;
mod model;
mod or_table;
mod project;
mod raw;
mod schema;
mod subnet;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::definition::{Problems, read_hint};
use document::Document;

pub use model::{
    Authority, AzurePlatform, EnvValue, Front, FrontKind, Identity, ImageRef, Platform,
    PlatformKind, Secrets, Tier, TierName, Unseal, UnsealKind,
};
pub use project::{ProjectCluster, check_folders};
pub use subnet::{InvalidSubnet, Subnet};

/// Name of the file in the folder of a cluster.
pub const FILE: &str = "cluster.toml";

/// Name of the folder of a project that has a folder for each cluster.
pub const FOLDER: &str = "clusters";

/// The schema of the file.
const SCHEMA: i64 = 1;

/// Most characters of a cluster's name, which is a part of host names.
const LONGEST_NAME: usize = 20;

/// The definition of a cluster, with defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFile {
    /// Name of the cluster, which is the name of its folder.
    pub name: String,
    /// Version of the format.
    pub schema: u32,
    /// Consul's datacenter.
    pub datacenter: String,
    /// The Consul servers.
    pub consul: Tier,
    /// The Vault nodes.
    pub vault: Tier,
    /// Where the nodes run.
    pub platform: Platform,
    /// Where the nodes get certificates and secrets.
    pub identity: Identity,
    /// How Vault is initialised and unsealed.
    pub unseal: Unseal,
    /// What clients of Vault connect to.
    pub front: Front,
}

/// A cluster file that could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ClusterFileError {
    /// The file could not be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the file system.
        error: std::io::Error,
    },
    /// The file has problems.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

impl ClusterFileError {
    /// Returns the way out as an imperative, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { error, .. } => Some(read_hint(
                error,
                "Name a cluster below clusters/, or add it with `vault-bake cluster init`.",
            )),
            Self::Invalid(problems) => problems.hint(),
        }
    }
}

/// The text cannot be the name of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name of a cluster; expected 1 to {LONGEST_NAME} lower-case letters, digits and `-`, from a letter to a letter or digit"
)]
pub struct InvalidClusterName(String);

impl InvalidClusterName {
    /// Returns the way out as an imperative.
    pub fn hint(&self) -> Option<String> {
        Some("Choose a short name such as `dev`: it is a part of the nodes' host names.".to_owned())
    }
}

/// Fails if `name` cannot be the name of a cluster.
pub fn check_name(name: &str) -> Result<(), InvalidClusterName> {
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
    if starts && name.len() <= LONGEST_NAME && is_label(name) {
        Ok(())
    } else {
        Err(InvalidClusterName(name.to_owned()))
    }
}

/// Returns whether `text` is a lower-case label of a host name.
fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=63).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

impl ClusterFile {
    /// Loads `cluster.toml` in `folder`, whose name is the name of the cluster.
    pub fn load(folder: &Path) -> Result<Self, ClusterFileError> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => return Err(ClusterFileError::Read { path, error }),
        };
        Ok(Self::parse(&path, &text)?)
    }

    /// Parses `text`, the content of `file`. Its folder gives the name of the cluster, and the
    /// start of relative paths.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Problems> {
        let document = Document::parse(file, text)?;
        let cluster = check::check(file, &document);
        let unread = || document.at("").already_reported();
        document.found.result_of(cluster.ok_or_else(unread))
    }

    /// Returns the JSON Schema of the file, for editors.
    pub fn json_schema() -> serde_json::Value {
        schema::json_schema()
    }

    /// Returns the address of the gateway.
    pub fn gateway(&self) -> Ipv4Addr {
        self.platform.subnet.gateway()
    }

    /// Returns the address of Consul node `n`, from 1. There is one more than `nodes`, for a
    /// replacement.
    ///
    /// # Panics
    ///
    /// Panics if the subnet has no address for `n`.
    pub fn consul_address(&self, n: u32) -> Ipv4Addr {
        self.platform.subnet.consul_address(n)
    }

    /// Returns the address of Vault node `n`, from 1. There are twice as many as `nodes`, for
    /// replacements.
    ///
    /// # Panics
    ///
    /// Panics if the subnet has no address for `n`.
    pub fn vault_address(&self, n: u32) -> Ipv4Addr {
        self.platform.subnet.vault_address(n)
    }

    /// Returns the tier with this name.
    pub fn tier(&self, name: TierName) -> &Tier {
        match name {
            TierName::Consul => &self.consul,
            TierName::Vault => &self.vault,
        }
    }

    /// Returns the name of node `n` of a tier, from 1. Replaced nodes have another `generation`.
    pub fn node_name(&self, tier: TierName, generation: u32, n: u32) -> String {
        format!("{}-{tier}-{generation}-{n}", self.name)
    }
}
