//! Gives the running nodes of a cluster new certificates, while they serve.

use std::net::Ipv4Addr;

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
        let (platform, interrupt) = (running.platform(), context.interrupt);
        // A reload takes certificates alone: all else must be what runs.
        let joined = platform.run_script(name, JOINED, interrupt).await?;
        running
            .put_identity(name, node, &addresses(&joined))
            .await?;
        platform.run_script(name, RELOAD, interrupt).await?;
        // The next start joins the servers of today.
        running.put_identity(name, node, &servers).await?;
        context.events.note(format!("{name} has new certificates"));
        renewed.push(name.clone());
    }
    Ok(renewed)
}

/// Returns the addresses in the lines of a text.
fn addresses(text: &str) -> Vec<Ipv4Addr> {
    let lines = text.lines().map(str::trim);
    lines.filter_map(|line| line.parse().ok()).collect()
}

/// Prints the servers that the running agent of a node was told to join.
const JOINED: &str = "jq --raw-output '.retry_join[]' /run/consul-secrets/node.json";

/// Takes new certificates on a node; see `docs/identity.md`. Prints the reason if it cannot.
const RELOAD: &str = "systemctl reload vault-bake-identity.service && exit
journalctl --unit vault-bake-identity.service --output cat --lines 20 | grep 'not renewed' | tail -n 1 >&2
exit 1";
