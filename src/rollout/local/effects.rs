//! Performs the effects of steps. Each can be repeated after a crash.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::failures::{api_error, failed};
use super::front::remove_from_front;
use super::{Local, lock};
use crate::cluster::file::TierName;
use crate::cluster::identities::node_secrets;
use crate::cluster::state::{NodeStage, NodeState};
use crate::cluster::{ClusterError, vault};
use crate::digest::Digest;
use crate::event::{Event, millis};
use crate::nodes::Stop;
use crate::product::consul::Client;
use crate::product::vault::UNIT as VAULT_UNIT;
use crate::rollout::{Action, EffectError, Evidence, NodePlan, Plan};
use crate::store::backend::Backend;
use crate::wait::{EVENT_INTERVAL, Interrupt, pause, pause_for};

/// Limit for a request that changes something, on a busy computer.
pub(super) const EFFECT_LIMIT: Duration = Duration::from_secs(30);

/// How often a snapshot is tried, which changes nothing in Consul.
const SNAPSHOT_TRIES: u32 = 3;

/// The pause between two tries.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(1);

impl<B: Backend> Local<'_, B> {
    pub(super) async fn act(&self, action: &Action, plan: &Plan) -> Result<Evidence, EffectError> {
        match action {
            Action::SaveSnapshot => self.save_snapshot(plan).await,
            Action::Start { nodes } => self.start(nodes, plan).await,
            Action::Unseal { nodes } => self.unseal(nodes).await,
            Action::Admit { nodes } => self.admit(nodes).await,
            Action::RenewIdentities { nodes } => self.renew(nodes, plan).await,
            Action::Leave { node, successor } => self.leave(node, successor).await,
            Action::Stop { nodes } => self.stop_all(nodes).await,
            Action::HandOver { node } => self.stop(node).await,
            Action::Soak { seconds } => self.soak(action, *seconds).await,
            Action::Restart { nodes } => self.restart(nodes).await,
            Action::Delete { nodes } => self.delete(nodes).await,
        }
    }

    /// Returns a client of a server that knows a leader and is not `except`.
    pub(super) async fn any_server(&self, except: &str) -> Result<Client, EffectError> {
        let mut nodes = self.state().nodes.clone();
        nodes.remove(except);
        let runs = |name: &String| self.running.platform().is_running(name);
        let found = self.consul_server(&nodes, runs).await;
        let found = found.map_err(EffectError::Inconclusive)?;
        Ok(found.with_limit(EFFECT_LIMIT))
    }

    pub(super) fn node(&self, name: &str) -> Result<NodeState, EffectError> {
        let node = self.state().nodes.get(name).cloned();
        node.ok_or_else(|| EffectError::Failed {
            message: format!("the state of the cluster has no node {name}"),
            hint: None,
        })
    }

    /// Returns the addresses of the servers that remain after a plan.
    fn remaining_servers(plan: &Plan) -> Vec<Ipv4Addr> {
        let names = plan.remaining(TierName::Consul);
        let nodes = plan.nodes.iter().filter(|(name, _)| names.contains(*name));
        nodes.map(|(_, node)| node.address).collect()
    }

    /// Returns the addresses that a new node joins: servers that serve, and those that remain.
    fn joined_servers(&self, plan: &Plan) -> Vec<Ipv4Addr> {
        let mut servers = Self::remaining_servers(plan);
        for address in self.state().addresses(TierName::Consul) {
            if !servers.contains(&address) {
                servers.push(address);
            }
        }
        servers
    }

    async fn save_snapshot(&self, plan: &Plan) -> Result<Evidence, EffectError> {
        let path = self.snapshot_path(plan);
        let file_error = |error| failed(ClusterError::file(&path)(error));
        let folder = path.parent().expect("it is in a folder");
        fs::create_dir_all(folder).map_err(file_error)?;
        let management = self.running.management().await.map_err(failed)?;
        for tries_left in (0..SNAPSHOT_TRIES).rev() {
            let file = tempfile::NamedTempFile::new_in(folder).map_err(file_error)?;
            let copy: File = file.as_file().try_clone().map_err(file_error)?;
            let client = self.leading_server().await?;
            match client.save_snapshot(&management, copy).await {
                Err(error) if tries_left > 0 => {
                    let events = self.context.events;
                    events.note(format!("the snapshot is saved again: {error}"));
                    pause_for(SNAPSHOT_PAUSE).await;
                    continue;
                }
                saved => saved.map_err(api_error)?,
            }
            let (digest, size) = Digest::hash_file(file.path()).map_err(file_error)?;
            if size == 0 {
                break;
            }
            file.persist(&path)
                .map_err(|error| file_error(error.error))?;
            return Ok(Evidence {
                snapshot: Some((digest, size)),
                ..Evidence::default()
            });
        }
        Err(EffectError::Failed {
            message: "Consul sent an empty snapshot".to_owned(),
            hint: None,
        })
    }

    /// Returns a client of Consul's leader. Another server would ask the leader for a snapshot, and
    /// may lose the end of its answer (seen with Consul 1.8.7 on a busy computer).
    async fn leading_server(&self) -> Result<Client, EffectError> {
        let any = self.any_server("").await?;
        let raft = any.raft_servers(&self.running.keys().operator).await;
        let raft = raft.map_err(api_error)?;
        let leader = raft.iter().find(|server| server.is_leader);
        let leader = leader.and_then(|leader| {
            let nodes = &self.state().nodes;
            nodes
                .get_key_value(&leader.node)
                .map(|(name, node)| (name.clone(), node.clone()))
        });
        let Some((name, node)) = leader else {
            return Ok(any);
        };
        let client = self.consul(&name, &node).await.map_err(failed)?;
        Ok(client.with_limit(EFFECT_LIMIT))
    }

    async fn start(&self, nodes: &[String], plan: &Plan) -> Result<Evidence, EffectError> {
        self.change(|state| {
            for name in nodes {
                if let Some(node) = plan.nodes.get(name) {
                    let made = new_node(node, plan);
                    state.nodes.entry(name.clone()).or_insert(made);
                }
            }
        })?;
        let tiers: Vec<(&str, TierName)> = nodes
            .iter()
            .filter_map(|name| Some((name.as_str(), plan.nodes.get(name)?.tier)))
            .collect();
        self.make_secrets(&tiers).await?;
        let client = self.any_server("").await?;
        let created = self.running.create_node_tokens(&client, &tiers).await;
        created.map_err(failed)?;
        let servers = self.joined_servers(plan);
        for name in nodes {
            self.set_stage(name, NodeStage::Serving)?;
            let node = self.node(name)?;
            let started = self.running.start_node(name, &node, &servers).await;
            started.map_err(failed)?;
        }
        self.tell_nodes().await;
        Ok(Evidence::default())
    }

    /// Makes the secrets of new nodes, and writes their names into the state.
    async fn make_secrets(&self, nodes: &[(&str, TierName)]) -> Result<(), EffectError> {
        let nodes = nodes.iter();
        let needed: Vec<_> = nodes
            .flat_map(|(name, tier)| node_secrets(*tier, name))
            .collect();
        let state = self.state().clone();
        let made = self.cluster.make(&needed, &state, self.context).await;
        made.map_err(failed)?;
        self.change(|state| {
            let names = needed.iter().map(ToString::to_string);
            state.secrets.extend(names);
        })
    }

    async fn unseal(&self, nodes: &[String]) -> Result<Evidence, EffectError> {
        let mut clients = Vec::new();
        for name in nodes {
            let client = self.vault(name, &self.node(name)?).await;
            clients.push((name.clone(), client.map_err(failed)?));
        }
        let (unseal, secrets) = (&self.cluster.file.unseal, self.cluster.secrets);
        let unsealed = vault::unseal(&clients, unseal, self.shares, secrets, self.context);
        unsealed.await.map_err(failed)?;
        Ok(Evidence::default())
    }

    async fn renew(&self, nodes: &[String], plan: &Plan) -> Result<Evidence, EffectError> {
        let servers = Self::remaining_servers(plan);
        for name in nodes {
            let node = self.node(name)?;
            // A running agent knows the servers by gossip, and reads the addresses when it starts.
            let written = self.running.put_identity(name, &node, &servers).await;
            written.map_err(failed)?;
        }
        lock(&self.renewed).extend(nodes.iter().cloned());
        Ok(Evidence::default())
    }

    /// Stops Vault nodes side by side. If one fails, the others are stopped nevertheless.
    async fn stop_all(&self, nodes: &[String]) -> Result<Evidence, EffectError> {
        let mut all = Evidence::default();
        for stopped in join_all(nodes.iter().map(|name| self.stop(name))).await {
            let one = stopped?;
            all.is_unclean |= one.is_unclean;
            all.notes.extend(one.notes);
        }
        Ok(all)
    }

    /// Drains a Vault node, stops Vault in order, and powers the node off.
    pub(super) async fn stop(&self, name: &str) -> Result<Evidence, EffectError> {
        let mut evidence = Evidence::default();
        if let Some(front) = self.front() {
            self.drain(&front, name).await?;
        }
        let platform = self.running.platform();
        if platform.is_running(name) {
            let never = Interrupt::default();
            // Stops Vault in order, and prints how its unit ended.
            let script = format!(
                "systemctl stop {VAULT_UNIT}; \
                 systemctl show --property=Result --value {VAULT_UNIT}"
            );
            let stopped = platform.run_script(name, &script, &never).await;
            let result = stopped.map_err(|error| failed(error.into()))?;
            if result.trim() != "success" {
                evidence.is_unclean = true;
                let result = result.trim();
                evidence
                    .notes
                    .push(format!("{VAULT_UNIT} on {name} ended with `{result}`"));
            }
            self.stop_node(name).await?;
        } else {
            evidence.is_unclean = true;
            evidence.notes.push(format!("{name} did not run"));
        }
        self.unlist(name).await?;
        self.set_stage(name, NodeStage::Stopped)?;
        Ok(evidence)
    }

    /// Removes a stopped node from Consul if its Vault is still listed, as that of a node which
    /// crashed or is cut off: agents do not leave when they stop, and Consul would list it for
    /// days.
    async fn unlist(&self, name: &str) -> Result<(), EffectError> {
        let (client, operator) = (self.any_server("").await?, &self.running.keys().operator);
        let listed = client.service_health(operator, "vault").await;
        let listed = listed.map_err(api_error)?;
        if listed.iter().any(|instance| instance.node == name) {
            // It takes seconds if Consul has not noticed the end of the node.
            self.forget_member(name).await?;
        }
        Ok(())
    }

    pub(super) async fn stop_node(&self, name: &str) -> Result<(), EffectError> {
        let (platform, never) = (self.running.platform(), Interrupt::default());
        let events = self.context.events;
        let stopped = platform.stop(name, Stop::Graceful, events, &never).await;
        stopped.map_err(|error| failed(error.into()))
    }

    pub(super) fn set_stage(&self, name: &str, stage: NodeStage) -> Result<(), EffectError> {
        self.change(|state| {
            if let Some(node) = state.nodes.get_mut(name) {
                node.stage = stage;
            }
        })
    }

    /// Lets clients use the new nodes for a time, unless the user interrupts.
    async fn soak(&self, action: &Action, seconds: u64) -> Result<Evidence, EffectError> {
        let (limit, began) = (Duration::from_secs(seconds), Instant::now());
        loop {
            let left = limit.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(Evidence::default());
            }
            pause(left.min(EVENT_INTERVAL), self.user).await?;
            self.context.events.emit(&Event::Waiting {
                what: action.to_string(),
                last_seen: "clients use the new nodes".to_owned(),
                elapsed_ms: millis(began.elapsed()),
                timeout_ms: millis(limit),
            });
        }
    }

    async fn restart(&self, nodes: &[String]) -> Result<Evidence, EffectError> {
        let servers = self.state().addresses(TierName::Consul);
        for name in nodes {
            self.set_stage(name, NodeStage::Serving)?;
            let node = self.node(name)?;
            let started = self.running.start_node(name, &node, &servers).await;
            started.map_err(failed)?;
        }
        // Their own steps unseal them and send clients to them, after they answer.
        Ok(Evidence::default())
    }

    async fn delete(&self, nodes: &[String]) -> Result<Evidence, EffectError> {
        let client = self.any_server("").await?;
        for name in nodes {
            let Ok(node) = self.node(name) else {
                continue;
            };
            self.retire(name, &node).await?;
            if let Some(front) = self.front().filter(|_| node.tier == TierName::Vault) {
                remove_from_front(&front, name, self.context.events).await?;
            }
            let (events, never) = (self.context.events, Interrupt::default());
            let removed = self.running.platform().remove(name, events, &never).await;
            removed.map_err(|error| failed(error.into()))?;
            self.forget_member(name).await?;
            // If this is killed halfway, a resumed rollout makes them again, and deletes them.
            self.change(|state| {
                for secret in node_secrets(node.tier, name) {
                    state.secrets.remove(&secret.to_string());
                }
            })?;
            let deleted = self.running.delete_node_tokens(&client, (name, node.tier));
            deleted.await.map_err(failed)?;
            lock(&self.consuls).remove(name);
            lock(&self.vaults).remove(name);
            self.change(|state| {
                state.nodes.remove(name);
            })?;
        }
        self.tell_nodes().await;
        Ok(Evidence::default())
    }
}

/// Returns the state of a node that a plan makes.
fn new_node(node: &NodePlan, plan: &Plan) -> NodeState {
    let target = plan.targets.get(&node.tier);
    let target = target.expect("a tier with new nodes has a target");
    NodeState {
        tier: node.tier,
        generation: node.generation,
        number: node.number,
        address: node.address,
        reference: target.reference.clone(),
        image: target.image.clone(),
        version: target.version,
        manifest: target.manifest,
        artifact: target.artifact,
        firmware: target.firmware,
        releases: target.releases.clone(),
        stage: NodeStage::Serving,
    }
}
