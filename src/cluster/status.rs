//! Observes a cluster: for each node whether it runs, what it does, and how old its image is.
//! Takes the state of a cluster; returns within seconds, also if nodes do not answer.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use serde::Serialize;

use super::controller::Controller;
use super::file::{FrontKind, TierName};
use super::front::{Runtime, ServerStatus};
use super::state::{NodeStage, NodeState, OpenRollout, Phase, State};
use super::{Cluster, ClusterError, Context, Images, platform_of, serve};
use crate::manifest::ImageVersion;
use crate::platform::Platform;
use crate::product::consul::{AutopilotHealth, RaftServer};
use crate::product::{consul, vault};
use crate::secret::Secret;
use crate::store::backend::Backend;

/// Limit for one request. A node that takes longer does not serve.
const LIMIT: Duration = Duration::from_secs(3);

/// A cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The name of the cluster.
    pub cluster: String,
    /// Its progress.
    pub phase: Phase,
    /// The platform of its nodes.
    pub platform: &'static str,
    /// The time of the observation.
    pub at: Timestamp,
    /// Its nodes, Consul servers first.
    pub nodes: Vec<NodeStatus>,
    /// The rollout of it that is open. Absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<OpenRollout>,
    /// The load balancer. Absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub front: Option<FrontStatus>,
}

impl Status {
    /// Whether every node and the load balancer do their work.
    pub fn serves(&self) -> bool {
        let front = self.front.as_ref();
        let has = |role| self.nodes.iter().any(|node| node.role == role);
        has(Role::Leader)
            && has(Role::Active)
            && self
                .nodes
                .iter()
                .filter(|node| node.stage.is_serving())
                .all(|node| node.role.serves() && node.reason.is_none())
            && front.is_none_or(|front| front.running && !front.nodes.is_empty())
    }
}

/// A node at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// The name of the node.
    pub node: String,
    /// The tier.
    pub tier: TierName,
    /// The address on the private network.
    pub address: String,
    /// The name of the image.
    pub image: String,
    /// The version of the image.
    pub version: ImageVersion,
    /// The digest of its manifest.
    pub manifest: String,
    /// The version of the tier's product.
    pub product_version: String,
    /// The part of the node's life. Absent while it serves.
    #[serde(skip_serializing_if = "NodeStage::is_serving")]
    pub stage: NodeStage,
    /// Whether the machine or container runs.
    pub running: bool,
    /// What the node does.
    pub role: Role,
    /// Why it does not serve, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The end of the certificate that the node uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_end: Option<Timestamp>,
    /// The version that the channel of the node names now, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outdated_by: Option<String>,
    /// Why its image may not be deployed today, such as a revocation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_problem: Option<String>,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A Consul server that leads.
    Leader,
    /// A Consul server with a vote.
    Voter,
    /// A Consul server without a vote, such as one that has just joined.
    NonVoter,
    /// The Vault node that serves.
    Active,
    /// A Vault node that forwards requests.
    Standby,
    /// A Vault node that needs to be unsealed.
    Sealed,
    /// A Vault node that was not initialised.
    Uninitialized,
    /// A node that runs and does not serve.
    Failed,
    /// A node that does not run.
    Stopped,
}

impl Role {
    /// Whether a node of this role does its work.
    pub fn serves(self) -> bool {
        matches!(
            self,
            Self::Leader | Self::Voter | Self::Active | Self::Standby
        )
    }

    /// Returns the name of the role.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Voter => "voter",
            Self::NonVoter => "non-voter",
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Sealed => "sealed",
            Self::Uninitialized => "uninitialized",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// The load balancer at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FrontStatus {
    /// The URL for clients.
    pub url: String,
    /// Whether it runs.
    pub running: bool,
    /// The nodes that get new connections.
    pub nodes: Vec<String>,
}

/// How soon a certificate ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Later.
    Fine,
    /// Within a third of the validity that new certificates have.
    Soon,
    /// It has ended.
    Ended,
}

impl NodeStatus {
    /// Compares the end of the certificate with the time `now`.
    pub fn expiry(&self, now: Timestamp, valid_h: u32) -> Expiry {
        let Some(end) = self.certificate_end else {
            return Expiry::Fine;
        };
        let left_s = end.as_second() - now.as_second();
        match left_s {
            ..=0 => Expiry::Ended,
            _ if left_s < i64::from(valid_h) * 3600 / 3 => Expiry::Soon,
            _ => Expiry::Fine,
        }
    }
}

/// What the servers of Consul know about each other.
struct Consul {
    raft: Vec<RaftServer>,
    health: Option<AutopilotHealth>,
}

/// What the product of a node answered.
struct Answer {
    role: Role,
    reason: Option<String>,
    certificate_end: Option<Timestamp>,
}

/// Asks all nodes of a cluster. Without a store, images are not compared with their channels.
pub async fn status<B: Backend>(
    cluster: &Cluster<'_>,
    images: Option<&Images<'_, B>>,
    context: &Context<'_>,
) -> Result<Status, ClusterError> {
    let state = cluster.folder.require()?;
    let platform = platform_of(cluster.folder, &state, context).await?;
    let is_running = |name: &str| platform.as_ref().is_some_and(|one| one.is_running(name));
    let answers = match &platform {
        Some(platform) => ask(cluster, &state, platform, context).await?,
        None => state.nodes.keys().map(|_| Answer::stopped()).collect(),
    };
    let mut nodes = Vec::new();
    for ((name, node), answer) in state.nodes.iter().zip(answers) {
        let (outdated_by, image_problem) = match images {
            Some(images) => compare(cluster, node, images, context).await?,
            None => (None, None),
        };
        let product = node.releases.get(node.tier.as_str());
        nodes.push(NodeStatus {
            node: name.clone(),
            tier: node.tier,
            address: node.address.to_string(),
            image: node.image.clone(),
            version: node.version,
            manifest: node.manifest.to_string(),
            product_version: product.cloned().unwrap_or_default(),
            stage: node.stage,
            running: is_running(name),
            role: answer.role,
            reason: answer.reason,
            certificate_end: answer.certificate_end,
            outdated_by,
            image_problem,
        });
    }
    let rollout = match images {
        Some(images) => images.open_rollout(&state.id).await?,
        None => None,
    };
    let front = (cluster.file.front.kind == FrontKind::Haproxy)
        .then_some(front_status(cluster, &state))
        .into_iter();
    Ok(Status {
        cluster: state.name.clone(),
        phase: state.phase,
        platform: state.platform.name(),
        at: (context.now)(),
        nodes,
        rollout: rollout.or(state.rollout),
        front: join_all(front).await.pop(),
    })
}

impl Answer {
    fn stopped() -> Self {
        Self {
            role: Role::Stopped,
            reason: None,
            certificate_end: None,
        }
    }

    fn failed(reason: impl std::fmt::Display) -> Self {
        Self {
            role: Role::Failed,
            reason: Some(reason.to_string()),
            certificate_end: None,
        }
    }
}

/// Asks each node, all at once.
async fn ask(
    cluster: &Cluster<'_>,
    state: &State,
    platform: &Platform,
    context: &Context<'_>,
) -> Result<Vec<Answer>, ClusterError> {
    let keys = Controller::open(cluster, context).await?;
    let mut servers = Vec::new();
    for (name, node) in &state.nodes {
        if node.tier == TierName::Consul && platform.is_running(name) {
            let client = keys.consul(platform, cluster.file, node, context).await?;
            servers.push(client.with_limit(LIMIT));
        }
    }
    let consul = ask_consul(&servers, &keys.operator).await;
    let asking = state.nodes.iter().map(|(name, node)| {
        let (consul, keys) = (consul.as_ref(), &keys);
        async move {
            if !platform.is_running(name) {
                return Answer::stopped();
            }
            match node.tier {
                TierName::Consul => {
                    match keys.consul(platform, cluster.file, node, context).await {
                        Ok(client) => ask_server(name, client.with_limit(LIMIT), consul).await,
                        Err(error) => Answer::failed(error),
                    }
                }
                TierName::Vault => match keys.vault(platform, node, context).await {
                    Ok(client) => ask_vault(client.with_limit(LIMIT)).await,
                    Err(error) => Answer::failed(error),
                },
            }
        }
    });
    Ok(join_all(asking).await)
}

/// Asks the servers one after the other, until one answers.
async fn ask_consul(servers: &[consul::Client], operator: &Secret) -> Option<Consul> {
    for server in servers {
        if let Ok(raft) = server.raft_servers(operator).await {
            let health = server.autopilot_health(operator).await.ok();
            return Some(Consul { raft, health });
        }
    }
    None
}

async fn ask_server(name: &str, client: consul::Client, consul: Option<&Consul>) -> Answer {
    let certificate_end = match client.certificate_end().await {
        Ok(end) => Some(end),
        Err(error) => return Answer::failed(error),
    };
    let Some(consul) = consul else {
        return Answer::failed("no server knows the leader");
    };
    let server = consul.raft.iter().find(|server| server.node == name);
    let health = consul.health.iter().flat_map(|health| &health.servers);
    let unhealthy = health
        .into_iter()
        .find(|server| server.name == name && !server.is_healthy);
    let role = match server {
        Some(server) if server.is_leader => Role::Leader,
        Some(server) if server.is_voter => Role::Voter,
        Some(_) => Role::NonVoter,
        None => return Answer::failed("it is no member of the cluster"),
    };
    Answer {
        role,
        reason: unhealthy.map(|server| format!("unhealthy: {}", server.serf_status)),
        certificate_end,
    }
}

async fn ask_vault(client: vault::Client) -> Answer {
    match client.health().await {
        Ok(health) => Answer {
            role: match health.state {
                vault::NodeState::Active => Role::Active,
                vault::NodeState::Standby => Role::Standby,
                vault::NodeState::Sealed => Role::Sealed,
                vault::NodeState::Uninitialized => Role::Uninitialized,
                _ => Role::Failed,
            },
            reason: None,
            certificate_end: Some(health.certificate_end),
        },
        Err(error) => Answer::failed(error),
    }
}

/// Returns the version that replaces a node's image, and why its image may not be deployed.
async fn compare<B: Backend>(
    cluster: &Cluster<'_>,
    node: &NodeState,
    images: &Images<'_, B>,
    context: &Context<'_>,
) -> Result<(Option<String>, Option<String>), ClusterError> {
    let now = (context.now)();
    let wanted = &cluster.file.tier(node.tier).image;
    let newest = images.choose(wanted, now).await.ok();
    let newest = newest.filter(|newest| newest.manifest != node.manifest);
    let problem = images.problem(&node.manifest, now).await?;
    let newest = newest.map(|newest| format!("{}@{}", newest.image, newest.version));
    Ok((newest, problem))
}

async fn front_status(cluster: &Cluster<'_>, state: &State) -> FrontStatus {
    let site = state.site(cluster.folder);
    let servers = Runtime::new(serve::stats_socket(&site)).servers().await;
    let servers = servers.unwrap_or_default().into_iter();
    FrontStatus {
        url: format!("https://127.0.0.1:{}", cluster.file.front.port),
        running: serve::is_running(&site),
        nodes: servers
            .filter(ServerStatus::takes_connections)
            .map(|server| server.name)
            .collect(),
    }
}
