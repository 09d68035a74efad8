//! The products whose images are built and whose clusters run. This file lists them.
//!
//! All that the program knows of one product is in its folder: the changes of its configuration by
//! version, its configuration, lint rules, permitted upgrades, and a client for its HTTP API.
//!
//! Clients use mutual TLS and tokens. They take an [`Endpoint`] and a [`TlsMaterial`], and return
//! typed answers, without unknown fields. A request is sent once: callers repeat it with
//! [`crate::wait::Wait`].

mod client;
pub mod config;
pub mod consul;
mod error;
pub mod publisher;
pub mod upgrade;
pub mod vault;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use semver::Version;
use serde_json::Value;

use crate::lint::{Profile, Rule};
use crate::network::Network;
use crate::secret::Secret;
use crate::version_changes::VersionChange;

use config::InvalidInput;

pub use error::ApiError;

/// A product of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// A Consul agent, server or client.
    Consul,
    /// A Vault server.
    Vault,
}

impl Product {
    /// All products.
    pub const ALL: [Self; 2] = [Self::Consul, Self::Vault];

    /// The names of all products.
    pub const NAMES: [&'static str; 2] = ["consul", "vault"];

    fn facts(self) -> &'static Facts {
        match self {
            Self::Consul => &consul::FACTS,
            Self::Vault => &vault::FACTS,
        }
    }
}

/// What the program knows of any product.
struct Facts {
    /// Its names, how it reads its configuration, and its lint rules.
    profile: &'static Profile,
    /// The changes of its configuration.
    changes: &'static [&'static VersionChange],
    /// Generates its configuration from the inputs of a provisioner.
    configuration: fn(&Version, &BTreeMap<String, Value>) -> Result<String, InvalidInput>,
    /// Its systemd unit.
    unit: &'static str,
    /// Which versions may replace which.
    upgrades: upgrade::Table,
}

impl Product {
    /// Returns the product with a name, as in `vault`.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|product| product.name() == name)
    }

    /// Returns the name as in file names.
    pub fn name(self) -> &'static str {
        self.facts().profile.name
    }

    /// Returns the name as in sentences.
    pub fn title(self) -> &'static str {
        self.facts().profile.title
    }

    /// Returns what the linter knows of it.
    pub fn profile(self) -> &'static Profile {
        self.facts().profile
    }

    /// Returns its systemd unit.
    pub fn unit(self) -> &'static str {
        self.facts().unit
    }

    /// Generates its configuration: the name and text of its file.
    pub fn configuration(
        self,
        version: &Version,
        inputs: &BTreeMap<String, Value>,
    ) -> Result<(String, String), InvalidInput> {
        let text = (self.facts().configuration)(version, inputs)?;
        Ok((format!("{}.json", self.name()), text))
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Product> for &'static Profile {
    fn from(product: Product) -> Self {
        product.profile()
    }
}

/// Returns the lint rules of all products.
pub fn lint_rules() -> impl Iterator<Item = &'static Rule> {
    let products = Product::ALL.into_iter();
    products.flat_map(|product| product.profile().rules())
}

/// Returns the changes of the configuration of all products, by product and version.
pub fn version_changes() -> impl Iterator<Item = &'static VersionChange> {
    let products = Product::ALL.into_iter();
    products.flat_map(|product| product.facts().changes.iter().copied())
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate, then its chain, PEM.
    pub certificate_pem: String,
    /// The key, PKCS #8 PEM.
    pub key_pem: Secret,
}

/// A server: its address, the name in its certificate, and the network that reaches it.
#[derive(Clone)]
pub struct Endpoint {
    /// The address and port.
    pub address: SocketAddr,
    /// The name that the server's certificate must have, such as `server.dc1.consul`.
    pub server_name: String,
    /// The network that the client connects from.
    pub network: Network,
}

/// The authority that a client trusts, and its own certificate.
#[derive(Clone)]
pub struct TlsMaterial {
    /// The certificates of the authority, PEM. No other authority is trusted.
    pub ca_pem: String,
    /// The certificate and key of the client, if it has one.
    pub client: Option<Leaf>,
}

/// The effect of an idempotent request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The object was created.
    Created,
    /// The object existed and was changed.
    Updated,
    /// The object existed as requested.
    Unchanged,
}
