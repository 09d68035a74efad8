//! The errors of a cluster.

use std::io;
use std::path::{Path, PathBuf};

use super::TokenError;
use super::front::FrontError;
use super::identities::IdentitiesError;
use super::secrets::SecretError;
use super::state::{StateError, begin_anew};
use crate::identity::IdentityError;
use crate::nodes::PlatformError;
use crate::pin::PinError;
use crate::process::ProcessError;
use crate::product::ApiError;
use crate::resolve::ResolveError;
use crate::store::StoreError;
use crate::wait::{Interrupted, WaitError};

/// A cluster that cannot be made, observed or removed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The file asks for something that this version does not run.
    #[error("cannot run cluster {name} here: {why}")]
    Unsupported {
        /// The name of the cluster.
        name: String,
        /// The reason.
        why: String,
        /// The way out, as an imperative.
        hint: String,
    },
    /// The removal of the cluster began and did not end.
    #[error("cannot start cluster {name}: its removal has begun")]
    Removing {
        /// The name of the cluster.
        name: String,
    },
    /// The state of the cluster is lost, and other parts of it exist.
    #[error("cannot make cluster {name}: {} is missing, but there is {}", path.display(), .found.join(" and "))]
    Remains {
        /// The name of the cluster.
        name: String,
        /// The path of the state.
        path: PathBuf,
        /// What was found.
        found: Vec<String>,
        /// Whether secrets are behind commands of the user, which `cluster down` cannot remove.
        has_commands: bool,
    },
    /// The cluster file does not fit the nodes that exist.
    #[error("cannot change cluster {name}: {why}")]
    Differs {
        /// The name of the cluster.
        name: String,
        /// The difference.
        why: String,
        /// The way out, as an imperative.
        hint: String,
    },
    /// An image lacks what its tier needs.
    #[error("cannot use {image} for the nodes of {tier}: {why}")]
    Image {
        /// The image.
        image: String,
        /// The tier.
        tier: &'static str,
        /// The reason.
        why: String,
        /// The way out, as an imperative.
        hint: String,
    },
    /// A node of Vault is sealed, and there are not enough shares.
    #[error("cannot unseal {node}: its key shares are not stored with the cluster")]
    UnsealNeeded {
        /// The name of the node.
        node: String,
    },
    /// The Vault of a complete cluster is empty.
    #[error("cannot unseal {node}: its Vault is not initialised, so the data in Consul are lost")]
    NoData {
        /// The name of the node.
        node: String,
    },
    /// The stored shares cannot be read.
    #[error("cannot read the secret `vault-init`: it is not the output of an initialisation")]
    Keys {
        /// Where it belongs.
        place: String,
    },
    /// A file that is no OpenPGP key.
    #[error("cannot read the OpenPGP key {}: {why}", path.display())]
    PgpKey {
        /// The path.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A service that did not become ready.
    #[error("{message}{}", crate::process::last_lines(.console))]
    Service {
        /// The message.
        message: String,
        /// The way out, if there is one.
        hint: Option<String>,
        /// The last lines of the node's console.
        console: Vec<String>,
    },
    /// The node does not exist.
    #[error("cannot find node `{node}`: no cluster on this computer has it")]
    NoNode {
        /// The requested name.
        node: String,
        /// The names of all nodes on this computer.
        nodes: Vec<String>,
    },
    /// The port of the front is in use.
    #[error("cannot listen on 127.0.0.1:{port}, the `front.port` of cluster {name}: {error}")]
    Port {
        /// The name of the cluster.
        name: String,
        /// The port.
        port: u16,
        /// The error of the operating system.
        error: io::Error,
    },
    /// A file that cannot be used.
    #[error("cannot use {}: {error}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The state of the cluster.
    #[error(transparent)]
    State(#[from] StateError),
    /// A secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The identities of the cluster.
    #[error(transparent)]
    Identities(#[from] IdentitiesError),
    /// A token that a product refuses.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A certificate or an archive.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// A request to a product.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The front.
    #[error(transparent)]
    Front(#[from] FrontError),
    /// A program.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The store of images.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The choice of an image.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A pin file.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// An interrupt by the user.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl ClusterError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { hint, .. }
            | Self::Differs { hint, .. }
            | Self::Image { hint, .. } => Some(hint.clone()),
            Self::Remains {
                name, has_commands, ..
            } => {
                let anew = format!("Restore the file from a backup. {}", begin_anew(name));
                Some(match has_commands {
                    true => format!("{anew} Before `up`, remove the secret with your own program."),
                    false => anew,
                })
            }
            Self::Removing { name } => Some(format!("Run `vault-bake cluster down {name}`.")),
            Self::NoData { .. } => Some(
                "Restore a snapshot of Consul, or remove the cluster with `vault-bake cluster down`."
                    .to_owned(),
            ),
            Self::UnsealNeeded { .. } => Some(
                "Unseal each node with `vault operator unseal`, or repeat the command with \
                 --unseal-keys FILE."
                    .to_owned(),
            ),
            Self::Keys { place } => Some(format!(
                "Take its value from a backup, and store it {place}, or pass the shares with \
                 --unseal-keys FILE."
            )),
            Self::File { .. } | Self::Interrupted(_) => None,
            Self::NoNode { nodes, .. } => Some(match nodes.as_slice() {
                [] => "Run `vault-bake cluster up`: no cluster runs on this computer.".to_owned(),
                nodes => format!("Name one of these nodes: {}.", nodes.join(", ")),
            }),
            Self::PgpKey { .. } => Some("Export the key with `gpg --export KEY >FILE`.".to_owned()),
            Self::Port { name, port, .. } => Some(format!(
                "Set another `port` in [front] of clusters/{name}/cluster.toml, or end the program \
                 that `ss -ltnp sport = {port}` lists."
            )),
            Self::Service { hint, .. } => hint.clone(),
            Self::State(error) => error.hint(),
            Self::Secret(error) => error.hint(),
            Self::Identities(error @ IdentitiesError::Lost { cluster, .. }) => {
                let restore = error.hint().unwrap_or_default();
                Some(format!("{restore} {}", begin_anew(cluster)))
            }
            Self::Identities(error) => error.hint(),
            Self::Token(error) => Some(error.hint()),
            Self::Identity(error) => error.hint(),
            Self::Platform(error) => error.hint(),
            Self::Api(error) => error.hint(),
            Self::Front(error) => error.hint(),
            Self::Process(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Resolve(error) => error.hint(),
            Self::Pin(error) => error.hint(),
        }
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }

    /// Turns a wait for a service into an error.
    pub(super) fn wait(error: WaitError<ApiError>) -> Self {
        match error {
            WaitError::Never(error) => Self::Api(error),
            WaitError::Interrupted(interrupted) => interrupted.into(),
            WaitError::Deadline { .. } => Self::Service {
                message: error.to_string(),
                hint: None,
                console: Vec::new(),
            },
        }
    }
}
