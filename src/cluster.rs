//! Makes a cluster of Consul and Vault nodes on this computer, observes it and removes it.
//! Takes a cluster file and images of a store; every step can be repeated after a crash.

pub(crate) mod begin;
mod consul;
mod context;
pub(crate) mod controller;
mod down;
mod error;
pub mod file;
pub mod front;
pub mod identities;
pub(crate) mod images;
mod journal;
mod platforms;
pub mod policies;
mod renew;
pub(crate) mod running;
pub mod secrets;
pub(crate) mod serve;
pub mod state;
mod status;
mod tokens;
pub(crate) mod vault;

use crate::event::Stage;
use crate::secret::Secret;
use crate::store::backend::Backend;

use file::ClusterFile;
use running::Running;
use secrets::SecretStore;
use state::{Phase, PlatformKind, StateFolder};
use vault::Keys;

pub use context::Context;
pub use down::down;
pub use error::ClusterError;
pub use images::{Images, NodeImage};
pub use journal::JournalLine;
pub use platforms::platform_of;
pub use renew::renew;
pub use status::{Expiry, FrontStatus, NodeStatus, Problem, Role, Status, status};
pub use tokens::TokenError;
pub(crate) use tokens::{operator_token, token_errors};

/// A cluster and the places that belong to it.
#[derive(Clone, Copy)]
pub struct Cluster<'a> {
    /// The definition.
    pub file: &'a ClusterFile,
    /// The folder of its state.
    pub folder: &'a StateFolder,
    /// Its secrets.
    pub secrets: &'a SecretStore,
}

/// The choices of one `cluster up`.
pub struct UpOptions {
    /// Shares of the unseal key, if the cluster's secrets do not have them.
    pub unseal_shares: Vec<Secret>,
    /// Whether Vault's root token stays valid.
    pub keep_root_token: bool,
    /// The platform for `kind = "auto"`.
    pub auto: PlatformKind,
}

/// The result of `cluster up`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Up {
    /// Whether the cluster was completed now.
    pub is_new: bool,
    /// The URLs for clients of Vault.
    pub addresses: Vec<String>,
}

/// Makes a cluster, or starts what does not run of it.
pub async fn up<B: Backend>(
    cluster: &Cluster<'_>,
    images: &Images<'_, B>,
    options: &UpOptions,
    context: &Context<'_>,
) -> Result<Up, ClusterError> {
    serve::check_port(cluster)?;
    let _lock = cluster.folder.lock()?;
    let events = context.events;
    let mut state = cluster.begin(options.auto, context).await?;
    cluster.check_epoch(&state, images).await?;
    let adding = cluster.add_nodes(&mut state, images, context);
    events.stage(Stage::Images, adding).await?;
    cluster.make_secrets(&mut state, context).await?;
    loop {
        let running = Running::open(*cluster, &state, context).await?;
        events.stage(Stage::Consul, running.start_consul()).await?;
        let keys = events
            .stage(Stage::Vault, running.start_vault(options))
            .await?;
        if keys == Keys::Lost {
            running.start_over().await?;
            continue;
        }
        let addresses = events.stage(Stage::Front, running.serve()).await?;
        let is_new = state.phase == Phase::Creating;
        state.phase = Phase::Created;
        cluster.folder.write(&state)?;
        return Ok(Up { is_new, addresses });
    }
}
