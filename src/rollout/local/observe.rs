//! Asks parts of the cluster once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;

use super::parts::Part;
use super::{Local, lock};
use crate::cluster::controller::vault_endpoint;
use crate::cluster::file::TierName;
use crate::cluster::front::{Health, Mode, ServerStatus};
use crate::cluster::state::NodeState;
use crate::product::consul;
use crate::product::vault;
use crate::product::vault::NodeState as VaultState;
use crate::rollout::Plan;
use crate::rollout::observation::{
    ActiveView, ConsulView, FrontView, NodeView, Observation, Seen, VaultView,
};
use crate::store::backend::Backend;

/// Limit for one request. A node that takes longer does not serve.
const LIMIT: Duration = Duration::from_secs(3);

/// The key of Vault's lock in Consul.
const VAULT_LOCK: &str = "vault/core/lock";

impl<B: Backend> Local<'_, B> {
    /// Asks `parts` once. The others are unknown in the observation.
    pub(super) async fn look(&self, plan: &Plan, parts: &BTreeSet<Part>) -> Observation {
        let nodes = self.state().nodes.clone();
        let running: BTreeMap<String, NodeView> = nodes
            .keys()
            .map(|name| {
                let is_running = self.running.platform().is_running(name);
                (name.clone(), NodeView { is_running })
            })
            .collect();
        let runs = |name: &String| running.get(name).is_some_and(|view| view.is_running);
        let asks = |part: Part| parts.contains(&part);
        let asks_vault = asks(Part::Vault) || asks(Part::Active) || asks(Part::Canary);
        let (server, vault, front) = tokio::join!(
            asked(asks(Part::Consul) || asks(Part::Active), async || {
                self.consul_server(&nodes, runs).await
            }),
            self.look_at_vault(&nodes, |name| asks_vault && runs(name)),
            asked(asks(Part::Front), async || self.look_at_front().await)
        );
        let server = server.as_ref();
        let (consul, active, canary) = tokio::join!(
            asked(asks(Part::Consul), async || self
                .look_at_consul(server)
                .await),
            asked(asks(Part::Active), async || {
                self.look_at_active(&nodes, &vault, server).await
            }),
            asked(asks(Part::Canary), async || {
                self.check_canary(&nodes, &vault).await
            })
        );
        Observation {
            at: (self.context.now)(),
            nodes: running,
            consul,
            vault,
            active,
            front,
            has_front: self.front().is_some(),
            canary,
            has_snapshot: self.snapshot_path(plan).is_file(),
            renewed: self.renewed(),
        }
    }

    /// Returns a client of the first server that knows a leader.
    pub(super) async fn consul_server(
        &self,
        nodes: &BTreeMap<String, NodeState>,
        runs: impl Fn(&String) -> bool,
    ) -> Seen<consul::Client> {
        let mut last = "no Consul server runs".to_owned();
        // New servers first: the others leave.
        for (name, node) in nodes.iter().rev() {
            if node.tier != TierName::Consul || !node.stage.is_serving() || !runs(name) {
                continue;
            }
            match self.consul(name, node).await {
                Ok(client) => {
                    let client = client.with_limit(LIMIT);
                    match client.leader().await {
                        Ok(Some(_)) => return Ok(client),
                        Ok(None) => last = format!("{name} knows no leader"),
                        Err(error) => last = error.to_string(),
                    }
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    async fn look_at_consul(&self, server: Result<&consul::Client, &String>) -> Seen<ConsulView> {
        let client = server.map_err(Clone::clone)?;
        let operator = &self.running.keys().operator;
        ConsulView::read(client, operator, (self.context.now)()).await
    }

    async fn look_at_vault(
        &self,
        nodes: &BTreeMap<String, NodeState>,
        runs: impl Fn(&String) -> bool,
    ) -> BTreeMap<String, Seen<VaultView>> {
        let vault = nodes
            .iter()
            .filter(|(name, node)| node.tier == TierName::Vault && runs(name));
        let asking =
            vault.map(async |(name, node)| (name.clone(), self.ask_vault(name, node).await));
        join_all(asking).await.into_iter().collect()
    }

    async fn ask_vault(&self, name: &str, node: &NodeState) -> Seen<VaultView> {
        let client = self.vault(name, node).await;
        let client = client.map_err(|error| error.to_string())?.with_limit(LIMIT);
        let health = client.health().await.map_err(|error| error.to_string())?;
        Ok(VaultView {
            state: health.state,
            version: health.version,
            cluster_id: health.cluster_id,
        })
    }

    /// Asks Consul and the active node what they know about Vault.
    async fn look_at_active(
        &self,
        nodes: &BTreeMap<String, NodeState>,
        vault: &BTreeMap<String, Seen<VaultView>>,
        server: Result<&consul::Client, &String>,
    ) -> Seen<ActiveView> {
        let client = server.map_err(Clone::clone)?;
        let operator = &self.running.keys().operator;
        let answers = tokio::try_join!(
            client.lock_holder(operator, VAULT_LOCK),
            client.service_health(operator, "vault")
        );
        let (lock_holder, instances) = answers.map_err(|error| error.to_string())?;
        let is_active = |instance: &&consul::ServiceInstance| {
            instance.is_passing && instance.tags.iter().any(|tag| tag == "active")
        };
        let (listed, cluster_id) = match active_of(vault) {
            Some((name, view)) => {
                let listed = self.listed(name, nodes).await?;
                (listed, view.cluster_id.clone())
            }
            None => (BTreeMap::new(), None),
        };
        let active = instances.iter().filter(is_active);
        Ok(ActiveView {
            lock_holder,
            registered_active: active.map(|instance| instance.node.clone()).collect(),
            registered: instances.iter().map(|one| one.node.clone()).collect(),
            listed,
            cluster_id,
        })
    }

    /// Returns the nodes that the active node lists, by their addresses.
    async fn listed(
        &self,
        active: &str,
        nodes: &BTreeMap<String, NodeState>,
    ) -> Seen<BTreeMap<String, Option<Duration>>> {
        let Some(token) = &self.vault_token else {
            return Err("there is no token of Vault to read the list of its nodes".to_owned());
        };
        let client = self.vault(active, &nodes[active]).await;
        let client = client.map_err(|error| error.to_string())?.with_limit(LIMIT);
        let list = client.ha_status(token).await;
        let list: Vec<vault::HaNode> = list.map_err(|error| error.to_string())?;
        let now = (self.context.now)();
        let by_address = |node: &vault::HaNode| {
            let named = nodes
                .iter()
                .filter(|(_, known)| known.tier == TierName::Vault)
                .find(|(_, known)| {
                    let address = format!("://{}:", known.address);
                    node.api_address.contains(&address)
                });
            named.map_or_else(|| node.hostname.clone(), |(name, _)| name.clone())
        };
        let age = |node: &vault::HaNode| {
            let echo = node.last_echo?;
            Some(Duration::try_from(now.duration_since(echo)).unwrap_or_default())
        };
        Ok(list
            .iter()
            .map(|node| (by_address(node), age(node)))
            .collect())
    }

    /// Writes and reads a key through the load balancer and at the active node.
    async fn check_canary(
        &self,
        nodes: &BTreeMap<String, NodeState>,
        vault: &BTreeMap<String, Seen<VaultView>>,
    ) -> Seen<()> {
        let Some(canary) = &self.canary else {
            return Ok(());
        };
        let active = active_of(vault).ok_or_else(|| "no node is active".to_owned())?;
        let platform = self.running.platform();
        let endpoint = vault_endpoint(platform, &nodes[active.0], self.context).await;
        canary
            .check(&endpoint.map_err(|error| error.to_string())?)
            .await
    }

    async fn look_at_front(&self) -> Seen<BTreeMap<String, FrontView>> {
        let Some(front) = self.front() else {
            return Ok(BTreeMap::new());
        };
        let servers = front.servers().await.map_err(|error| error.to_string())?;
        let view = |server: ServerStatus| {
            let view = FrontView {
                is_ready: server.mode == Mode::Ready,
                is_up: match server.health {
                    Health::Unknown => None,
                    Health::Up => Some(true),
                    Health::Down => Some(false),
                },
                connections: server.connections,
            };
            (server.name, view)
        };
        Ok(servers.into_iter().map(view).collect())
    }

    fn renewed(&self) -> BTreeSet<String> {
        lock(&self.renewed).clone()
    }
}

/// Asks a part of the cluster, or says that it was not asked.
async fn asked<T>(is_asked: bool, ask: impl AsyncFnOnce() -> Seen<T>) -> Seen<T> {
    if is_asked {
        ask().await
    } else {
        Err("it was not asked".to_owned())
    }
}

/// Returns the node that says that it is active.
fn active_of(vault: &BTreeMap<String, Seen<VaultView>>) -> Option<(&String, &VaultView)> {
    vault.iter().find_map(|(name, view)| {
        let view = view.as_ref().ok()?;
        (view.state == VaultState::Active).then_some((name, view))
    })
}
