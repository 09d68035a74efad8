//! Observes a cluster: for each node whether it runs, what it does, and how old its image is.
//! Takes the state of a cluster; returns within seconds, also if nodes do not answer.

mod ask;

use futures::future::join_all;
use jiff::Timestamp;
use serde::Serialize;

use super::controller::Controller;
use super::file::{FrontKind, TierName};
use super::front::{Runtime, ServerStatus};
use super::state::{NodeStage, NodeState, OpenRollout, Phase, State};
use super::{Cluster, ClusterError, Context, Images, platform_of, serve};
use crate::manifest::ImageVersion;
use crate::store::StoreError;
use crate::store::backend::Backend;

use ask::{Answer, ask};

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
    /// Why the nodes cannot be asked, or are not those of this cluster. Absent if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What is wrong with what this computer knows of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The problem.
    pub why: String,
    /// The way out, as an imperative, if there is one.
    pub hint: Option<String>,
}

impl Problem {
    fn of(error: &ClusterError) -> Self {
        Self {
            why: error.to_string(),
            hint: error.hint(),
        }
    }
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
            && self.problem.is_none()
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

/// Asks all nodes of a cluster. Without a store, images are not compared with their channels.
pub async fn status<B: Backend>(
    cluster: &Cluster<'_>,
    images: Option<&Images<'_, B>>,
    context: &Context<'_>,
) -> Result<Status, ClusterError> {
    let state = cluster.folder.require()?;
    let platform = platform_of(cluster.folder, &state, context).await?;
    let is_running = |name: &str| platform.as_ref().is_some_and(|one| one.is_running(name));
    let mut problem = None;
    if let Some(images) = images {
        match cluster.check_epoch(&state, images).await {
            Err(error @ ClusterError::State(_)) => problem = Some(Problem::of(&error)),
            checked => checked?,
        }
    }
    let answers = match &platform {
        Some(platform) => match Controller::open(cluster, context).await {
            Ok(keys) => {
                let answers = ask(cluster, &state, platform, &keys, context).await?;
                if let Some(refused) = answers.refused {
                    problem = Some(Problem::of(&refused.into()));
                }
                answers.nodes
            }
            Err(error @ ClusterError::Interrupted(_)) => return Err(error),
            Err(error) => {
                problem = Some(Problem::of(&error));
                let names = state.nodes.keys();
                let answers = names.map(|name| Answer::unknown(platform.is_running(name)));
                answers.collect()
            }
        },
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
        problem,
    })
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
    let problem = match images.problem(&node.manifest, now).await {
        // Another store, or one that has lost it, hides no other node.
        Err(ClusterError::Store(error @ StoreError::NotFound(_))) => Some(error.to_string()),
        problem => problem?,
    };
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
