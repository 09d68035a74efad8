//! Gives the running nodes of a cluster new certificates, while they serve.

use super::file::TierName;
use super::running::Running;
use super::{Cluster, ClusterError, Context, Images};
use crate::store::backend::Backend;

/// Gives the running nodes of a cluster new certificates, one node after the other.
/// Returns the names of the nodes. Without a store, the state is not compared with past rollouts.
pub async fn renew<B: Backend>(
    cluster: &Cluster<'_>,
    images: Option<&Images<'_, B>>,
    context: &Context<'_>,
) -> Result<Vec<String>, ClusterError> {
    let _lock = cluster.folder.lock_existing()?;
    let mut state = cluster.folder.require()?;
    if let Some(images) = images {
        cluster.check_epoch(&state, images).await?;
    }
    cluster.make_secrets(&mut state, context).await?;
    let running = Running::open(*cluster, &state, context).await?;
    let servers = state.addresses(TierName::Consul);
    let mut renewed = Vec::new();
    for (name, node) in &state.nodes {
        if !running.platform().is_running(name) {
            continue;
        }
        running.put_identity(name, node, &servers).await?;
        let interrupt = context.interrupt;
        running
            .platform()
            .run_script(name, RELOAD, interrupt)
            .await?;
        context.events.note(format!("{name} has new certificates"));
        renewed.push(name.clone());
    }
    Ok(renewed)
}

/// Takes new certificates on a node; see `docs/identity.md`.
const RELOAD: &str = "systemctl reload vault-bake-identity.service";
