//! Performs the effects of steps. Each can be repeated after a crash.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Local, failed};
use crate::cluster::file::TierName;
use crate::cluster::front::{FrontError, Listener, Runtime};
use crate::cluster::state::{NodeStage, NodeState};
use crate::cluster::{ClusterError, serve, vault};
use crate::digest::Digest;
use crate::platform::Stop;
use crate::product::ApiError;
use crate::product::consul::Client;
use crate::rollout::{Action, EffectError, Evidence, NodePlan, Plan};
use crate::store::backend::Backend;
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// Limit for open connections of a drained node to end. Clients that keep a connection without a
/// request are cut, and connect again.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// Limit for a probe of the load balancer to succeed, with three intervals to spare.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// Limit for a request to Consul that changes something.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);

/// Limit for a new leader after a transfer. An election takes 3 s with the shipped settings.
const LEADER_LIMIT: Duration = Duration::from_secs(60);

/// Stops Vault in order, and prints how its unit ended.
const STOP_VAULT: &str = "systemctl stop vault.service; \
     systemctl show --property=Result --value vault.service";

impl<B: Backend> Local<'_, B> {
    pub(super) async fn act(&self, action: &Action, plan: &Plan) -> Result<Evidence, EffectError> {
        match action {
            Action::SaveSnapshot => self.save_snapshot(plan).await,
            Action::Start { nodes } => self.start(nodes, plan).await,
            Action::Unseal { nodes } => self.unseal(nodes).await,
            Action::Admit { nodes } => self.admit(nodes).await,
            Action::RenewIdentities { nodes } => self.renew(nodes).await,
            Action::Leave { node, successor } => self.leave(node, successor).await,
            Action::Stop { node } | Action::HandOver { node } => self.stop(node).await,
            Action::Soak { seconds } => self.soak(*seconds).await,
            Action::Restart { nodes } => self.restart(nodes).await,
            Action::Delete { nodes } => self.delete(nodes).await,
        }
    }

    /// Returns a client of a server that knows a leader and is not `except`.
    async fn any_server(&self, except: &str) -> Result<Client, EffectError> {
        let mut nodes = self.state().nodes.clone();
        nodes.remove(except);
        let runs = |name: &String| self.running.platform().is_running(name);
        let found = self.consul_server(&nodes, runs).await;
        let client = found.map_err(EffectError::Inconclusive)?;
        // Changes of members and tokens may wait for a new leader.
        Ok(client.with_limit(CHANGE_LIMIT))
    }

    fn node(&self, name: &str) -> Result<NodeState, EffectError> {
        let node = self.state().nodes.get(name).cloned();
        node.ok_or_else(|| EffectError::Failed {
            message: format!("the state of the cluster has no node {name}"),
            hint: None,
        })
    }

    /// Returns the addresses of the servers of the newest generation that serve.
    fn new_servers(&self) -> Vec<Ipv4Addr> {
        let state = self.state();
        let servers = || state.serving(TierName::Consul).map(|(_, node)| node);
        let newest = servers().map(|node| node.generation).max();
        servers()
            .filter(|node| Some(node.generation) == newest)
            .map(|node| node.address)
            .collect()
    }

    async fn save_snapshot(&self, plan: &Plan) -> Result<Evidence, EffectError> {
        let path = self.snapshot_path(plan);
        let file_error = |error| failed(ClusterError::file(&path)(error));
        let folder = path.parent().expect("it is in a folder");
        fs::create_dir_all(folder).map_err(file_error)?;
        let file = tempfile::NamedTempFile::new_in(folder).map_err(file_error)?;
        let management = self.running.management().await.map_err(failed)?;
        let client = self.any_server("").await?;
        let copy: File = file.as_file().try_clone().map_err(file_error)?;
        let saved = client.save_snapshot(&management, copy).await;
        saved.map_err(api_error)?;
        let (digest, size) = Digest::hash_file(file.path()).map_err(file_error)?;
        if size == 0 {
            return Err(EffectError::Failed {
                message: "Consul sent an empty snapshot".to_owned(),
                hint: None,
            });
        }
        file.persist(&path)
            .map_err(|error| file_error(error.error))?;
        Ok(Evidence {
            snapshot: Some((digest, size)),
            ..Evidence::default()
        })
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
        let client = self.any_server("").await?;
        let created = self.running.create_node_tokens(&client, &tiers).await;
        created.map_err(failed)?;
        let servers: Vec<Ipv4Addr> = self.state().addresses(TierName::Consul);
        for name in nodes {
            let node = self.node(name)?;
            let started = self.running.start_node(name, &node, &servers).await;
            started.map_err(failed)?;
        }
        Ok(Evidence::default())
    }

    async fn unseal(&self, nodes: &[String]) -> Result<Evidence, EffectError> {
        let mut clients = Vec::new();
        for name in nodes {
            let client = self.running.vault(&self.node(name)?).await;
            clients.push((name.clone(), client.map_err(failed)?));
        }
        let (unseal, secrets) = (&self.cluster.file.unseal, self.cluster.secrets);
        let unsealed = vault::unseal(&clients, unseal, self.shares, secrets, self.context);
        unsealed.await.map_err(failed)?;
        Ok(Evidence::default())
    }

    /// Adds nodes to the load balancer. A node gets clients after its first successful probe.
    async fn admit(&self, nodes: &[String]) -> Result<Evidence, EffectError> {
        let Some(front) = self.front() else {
            return Ok(Evidence::default());
        };
        let site = self.state().site(self.cluster.folder);
        // Only the options of probes are used, which are the same for every listener.
        let listener = Listener::Address(([127, 0, 0, 1], self.cluster.file.front.port).into());
        let config = serve::config(&site, listener, Vec::new());
        for name in nodes {
            let address = self.node(name)?.address;
            let server = serve::server(name, address, self.running.platform(), self.context);
            let server = server.await.map_err(failed)?;
            front.add(&config, &server).await.map_err(front_error)?;
        }
        for name in nodes {
            self.wait_for_probe(&front, name).await?;
            front.ready(name).await.map_err(front_error)?;
        }
        Ok(Evidence::default())
    }

    async fn wait_for_probe(&self, front: &Runtime, name: &str) -> Result<(), EffectError> {
        let wait = Wait::new(format!("the load balancer's probe of {name}"), PROBE_LIMIT)
            .pausing(Duration::from_millis(200), Duration::from_millis(500));
        let never = Interrupt::default();
        let waiting = wait.until(self.context.events, &never, || async {
            match front.servers().await {
                Ok(servers) => match servers.into_iter().find(|one| one.name == name) {
                    Some(server) if server.health == crate::cluster::front::Health::Up => {
                        Poll::Ready(())
                    }
                    Some(server) => Poll::NotYet(server.probe),
                    None => Poll::NotYet("it is not known".to_owned()),
                },
                Err(error) => Poll::Never(error),
            }
        });
        waiting.await.map_err(wait_error)
    }

    async fn renew(&self, nodes: &[String]) -> Result<Evidence, EffectError> {
        let servers = self.new_servers();
        for name in nodes {
            let node = self.node(name)?;
            // A running agent knows the servers by gossip, and reads the addresses when it starts.
            let written = self.running.put_identity(name, &node, &servers).await;
            written.map_err(failed)?;
        }
        let mut renewed = self.renewed.lock();
        if let Ok(renewed) = &mut renewed {
            renewed.extend(nodes.iter().cloned());
        }
        Ok(Evidence::default())
    }

    async fn leave(&self, name: &str, successor: &str) -> Result<Evidence, EffectError> {
        let node = self.node(name)?;
        let mut evidence = Evidence::default();
        let operator = &self.running.keys().operator;
        let others = self.any_server(name).await?;
        if self.running.platform().is_running(name) {
            self.transfer_leadership(name, successor, &others, &mut evidence)
                .await?;
            // The lock must not end with the server.
            self.move_lock(name).await?;
            let client = self.running.consul(&node).await.map_err(failed)?;
            let left = client.agent_leave(operator).await;
            if let Err(error) = left {
                // It may have left already, and then does not answer.
                let raft = others.raft_servers(operator).await.map_err(api_error)?;
                if raft.iter().any(|server| server.node == name) {
                    return Err(api_error(error));
                }
            }
            self.stop_node(name).await?;
        } else {
            evidence.is_unclean = true;
            let note = format!("{name} did not run: its membership was removed");
            evidence.notes.push(note);
            let removed = others.force_leave(operator, name).await;
            removed.map_err(api_error)?;
        }
        self.set_stage(name, NodeStage::Retired)?;
        Ok(evidence)
    }

    /// Moves the leadership away from a server that leads, if Consul can do that.
    async fn transfer_leadership(
        &self,
        name: &str,
        successor: &str,
        client: &Client,
        evidence: &mut Evidence,
    ) -> Result<(), EffectError> {
        let operator = &self.running.keys().operator;
        let raft = client.raft_servers(operator).await.map_err(api_error)?;
        let leads = raft.iter().any(|one| one.node == name && one.is_leader);
        let target = raft
            .iter()
            .find(|one| one.node == successor && one.is_voter);
        let Some(target) = target.filter(|_| leads) else {
            return Ok(());
        };
        let moved = client.transfer_leader(operator, &target.id).await;
        if !moved.map_err(api_error)? {
            let note = "this version of Consul cannot move its leadership: the leader left";
            evidence.notes.push(note.to_owned());
            return Ok(());
        }
        let wait = Wait::new(format!("{successor} to lead Consul"), LEADER_LIMIT);
        let never = Interrupt::default();
        let waiting = wait.until(self.context.events, &never, || async {
            match client.raft_servers(operator).await {
                Ok(raft) => match raft.iter().find(|one| one.is_leader) {
                    Some(leader) if leader.node != name => Poll::Ready(()),
                    Some(leader) => Poll::NotYet(format!("{} leads", leader.node)),
                    None => Poll::NotYet("no server leads".to_owned()),
                },
                Err(error) if error.is_transient() => Poll::NotYet(error.to_string()),
                Err(error) => Poll::Never(error),
            }
        });
        waiting.await.map_err(wait_error)
    }

    /// Drains a Vault node, stops Vault in order, and powers the node off.
    async fn stop(&self, name: &str) -> Result<Evidence, EffectError> {
        let mut evidence = Evidence::default();
        if let Some(front) = self.front() {
            self.drain(&front, name).await?;
        }
        let platform = self.running.platform();
        if platform.is_running(name) {
            let never = Interrupt::default();
            let stopped = platform.run_script(name, STOP_VAULT, &never).await;
            let result = stopped.map_err(|error| failed(error.into()))?;
            if result.trim() != "success" {
                evidence.is_unclean = true;
                let result = result.trim();
                evidence
                    .notes
                    .push(format!("vault.service on {name} ended with `{result}`"));
            }
            self.stop_node(name).await?;
        } else {
            evidence.is_unclean = true;
            evidence.notes.push(format!("{name} did not run"));
        }
        self.set_stage(name, NodeStage::Stopped)?;
        Ok(evidence)
    }

    async fn drain(&self, front: &Runtime, name: &str) -> Result<(), EffectError> {
        let servers = front.servers().await.map_err(front_error)?;
        if !servers.iter().any(|server| server.name == name) {
            return Ok(());
        }
        front.drain(name).await.map_err(front_error)?;
        let wait = Wait::new(format!("the last connections of {name}"), DRAIN_LIMIT)
            .pausing(Duration::from_millis(100), Duration::from_millis(300));
        let never = Interrupt::default();
        let waiting = wait.until(self.context.events, &never, || async {
            match front.servers().await {
                Ok(servers) => {
                    let server = servers.iter().find(|server| server.name == name);
                    match server.map_or(0, |server| server.connections) {
                        0 => Poll::Ready(()),
                        open => Poll::NotYet(format!("{open} connections are open")),
                    }
                }
                Err(error) => Poll::Never(error),
            }
        });
        match waiting.await {
            Ok(()) => Ok(()),
            // Clients keep the others without a request. They are cut while Vault still answers:
            // a standby that stops leaves requests of open connections without an answer, and may
            // take 16 s.
            Err(WaitError::Deadline { .. }) => front.disconnect(name).await.map_err(front_error),
            Err(error) => Err(wait_error(error)),
        }
    }

    async fn stop_node(&self, name: &str) -> Result<(), EffectError> {
        let (platform, never) = (self.running.platform(), Interrupt::default());
        let events = self.context.events;
        let stopped = platform.stop(name, Stop::Graceful, events, &never).await;
        stopped.map_err(|error| failed(error.into()))
    }

    fn set_stage(&self, name: &str, stage: NodeStage) -> Result<(), EffectError> {
        self.change(|state| {
            if let Some(node) = state.nodes.get_mut(name) {
                node.stage = stage;
            }
        })
    }

    async fn soak(&self, seconds: u64) -> Result<Evidence, EffectError> {
        let time = Duration::from_secs(seconds);
        let interrupted = crate::wait::pause(time, self.user).await.is_err();
        let note = "the time of watching was cut short by the user".to_owned();
        Ok(Evidence {
            notes: interrupted.then_some(note).into_iter().collect(),
            ..Evidence::default()
        })
    }

    async fn restart(&self, nodes: &[String]) -> Result<Evidence, EffectError> {
        let servers = self.state().addresses(TierName::Consul);
        for name in nodes {
            self.set_stage(name, NodeStage::Serving)?;
            let node = self.node(name)?;
            let started = self.running.start_node(name, &node, &servers).await;
            started.map_err(failed)?;
        }
        self.unseal(nodes).await?;
        self.admit(nodes).await
    }

    async fn delete(&self, nodes: &[String]) -> Result<Evidence, EffectError> {
        let client = self.any_server("").await?;
        let operator = &self.running.keys().operator;
        for name in nodes {
            let Ok(node) = self.node(name) else {
                continue;
            };
            if let Some(front) = self.front().filter(|_| node.tier == TierName::Vault) {
                remove_from_front(&front, name).await?;
            }
            let (events, never) = (self.context.events, Interrupt::default());
            let removed = self.running.platform().remove(name, events, &never).await;
            removed.map_err(|error| failed(error.into()))?;
            let removed = client.force_leave(operator, name).await;
            removed.map_err(api_error)?;
            let deleted = self.running.delete_node_tokens(&client, (name, node.tier));
            deleted.await.map_err(failed)?;
            self.change(|state| {
                state.nodes.remove(name);
            })?;
        }
        Ok(Evidence::default())
    }
}

async fn remove_from_front(front: &Runtime, name: &str) -> Result<(), EffectError> {
    let servers = front.servers().await.map_err(front_error)?;
    if !servers.iter().any(|server| server.name == name) {
        return Ok(());
    }
    match front.remove(name).await {
        Err(FrontError::Connected { .. }) => {
            front.disconnect(name).await.map_err(front_error)?;
            front.remove(name).await.map_err(front_error)
        }
        removed => removed.map_err(front_error),
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

fn api_error(error: ApiError) -> EffectError {
    match error {
        ApiError::Unreachable { .. } => EffectError::Inconclusive(error.to_string()),
        error => EffectError::Failed {
            hint: error.hint(),
            message: error.to_string(),
        },
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form of map_err")]
fn front_error(error: FrontError) -> EffectError {
    EffectError::Failed {
        hint: error.hint(),
        message: error.to_string(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form of map_err")]
fn wait_error<E: std::error::Error>(error: WaitError<E>) -> EffectError {
    EffectError::Failed {
        message: error.to_string(),
        hint: None,
    }
}
