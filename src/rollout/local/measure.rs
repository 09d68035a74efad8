//! The canary of a rollout on this computer: its token, its nodes and its end.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Local;
use crate::cluster::controller::vault_endpoint;
use crate::cluster::file::{FrontKind, TierName};
use crate::cluster::running::Running;
use crate::cluster::state::{OpenRollout, PlatformKind, State};
use crate::cluster::{Cluster, Context, operator_token, vault};
use crate::network::Network;
use crate::platform::qemu::kvm_works;
use crate::product::Endpoint;
use crate::product::vault::{API_PORT as VAULT_PORT, SERVER_NAME as VAULT_NAME};
use crate::rollout::canary::{self, Canary, CanaryNode, CanaryOptions, Pace};
use crate::rollout::{Figures, RolloutError};
use crate::secret::Secret;
use crate::store::backend::Backend;

/// Starts the canary, with a token of its own.
pub(in crate::rollout) async fn start_canary(
    cluster: &Cluster<'_>,
    open: &OpenRollout,
    running: &Running<'_>,
    state: &State,
    context: &Context<'_>,
) -> Result<(Canary, Option<Secret>), RolloutError> {
    let (events, interrupt) = (context.events, context.interrupt);
    let canary_error = |error: &dyn std::fmt::Display| RolloutError::Canary(error.to_string());
    let mut clients = Vec::new();
    let mut nodes = Vec::new();
    for (name, node) in state.serving(TierName::Vault) {
        clients.push((name.clone(), running.vault(node).await?));
        let endpoint = vault_endpoint(running.platform(), node, context).await?;
        nodes.push(canary_node(node.address, endpoint));
    }
    let active = vault::active(&clients, context).await?;
    let secrets = cluster.secrets;
    let admin = operator_token(&active, secrets, context).await?;
    let admin = admin.map_err(RolloutError::Operator)?;
    let token = canary::setup(&active, &admin, events, interrupt).await;
    let token = token.map_err(|error| canary_error(&error))?;
    let front = (cluster.file.front.kind == FrontKind::Haproxy).then(|| Endpoint {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.file.front.port)),
        server_name: VAULT_NAME.to_owned(),
        network: Network::host(),
    });
    let canary = Canary::start(CanaryOptions {
        tls: running.keys().tls.clone(),
        front,
        nodes,
        token: token.clone(),
        mount: canary::MOUNT.to_owned(),
        prefix: format!("{}-{}", &open.plan.hex()[..16], open.epoch),
        pace: pace(state.platform),
    });
    Ok((canary.map_err(|error| canary_error(&error))?, Some(token)))
}

/// Returns the pace of clients. Emulated VMs would be busy with 40 requests a second alone.
fn pace(platform: PlatformKind) -> Pace {
    if platform == PlatformKind::Machines && !kvm_works() {
        return Pace {
            clients: 3,
            interval: Duration::from_secs(3),
            ..Pace::default()
        };
    }
    Pace::default()
}

/// Returns a node as clients of Vault reach it.
fn canary_node(address: Ipv4Addr, endpoint: Endpoint) -> CanaryNode {
    CanaryNode {
        api_address: format!("https://{address}:{VAULT_PORT}"),
        endpoint,
    }
}

impl<B: Backend> Local<'_, B> {
    /// Tells the canary which nodes there are now. It follows redirects to them alone.
    pub(super) async fn tell_nodes(&self) {
        let Some(canary) = &self.canary else {
            return;
        };
        let state = self.state().clone();
        let mut known = Vec::new();
        for (_, node) in state.serving(TierName::Vault) {
            let endpoint = vault_endpoint(self.running.platform(), node, self.context).await;
            // A node without a way to it is none that clients reach.
            if let Ok(endpoint) = endpoint {
                known.push(canary_node(node.address, endpoint));
            }
        }
        if let Err(error) = canary.set_nodes(known) {
            self.context.events.warn(error.to_string());
        }
    }

    /// Ends the canary and its token, and releases the lock. Returns the figures.
    pub(in crate::rollout) async fn close(self) -> Figures {
        let state = self.state().clone();
        let running = self.running;
        let figures = match self.canary {
            Some(canary) => canary.stop().await.summary(),
            None => Figures::default(),
        };
        if let Some(token) = &self.vault_token {
            for (_, node) in state.serving(TierName::Vault) {
                let client = running.vault(node).await;
                // If no node serves, the token ends by itself after a day.
                if let Ok(client) = client
                    && client.revoke_self(token).await.is_ok()
                {
                    break;
                }
            }
        }
        self.lock.release(&running.keys().operator).await;
        figures
    }
}
