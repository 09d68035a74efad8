//! What a rollout sees of a cluster at one moment. Every decision is made from it alone.
//! A part that could not be asked is an error with the reason, which is neither good nor bad.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::product::consul::{AutopilotHealth, Client, MemberStatus, RaftServer};
use crate::product::vault::NodeState;
use crate::secret::Secret;

/// A part of the cluster, or why it could not be asked.
pub type Seen<T> = Result<T, String>;

/// A cluster at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The time.
    pub at: Timestamp,
    /// The nodes that exist on the platform, by name.
    pub nodes: BTreeMap<String, NodeView>,
    /// What Consul's leader knows.
    pub consul: Seen<ConsulView>,
    /// What Vault's nodes answer, by name. Nodes that do not run are absent.
    pub vault: BTreeMap<String, Seen<VaultView>>,
    /// What the active Vault node and Consul know about Vault.
    pub active: Seen<ActiveView>,
    /// The nodes behind the load balancer, by name. Empty without a load balancer.
    pub front: Seen<BTreeMap<String, FrontView>>,
    /// Whether a load balancer is in front.
    pub has_front: bool,
    /// Whether the canary read and wrote a key through the front, and at the active node.
    pub canary: Seen<()>,
    /// Whether a snapshot of this rollout exists.
    pub has_snapshot: bool,
    /// The nodes whose identities have the addresses of the present Consul servers.
    pub renewed: BTreeSet<String>,
}

/// A node on its platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Whether it runs.
    pub is_running: bool,
}

/// The servers of Consul, as the leader sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsulView {
    /// The servers in Raft's configuration, by name of the node.
    pub servers: BTreeMap<String, ServerView>,
    /// The number of servers that may fail without an outage.
    pub tolerance: u64,
    /// The smallest time that a server must be healthy before it votes.
    pub stabilization: Duration,
    /// The state of each member in gossip, by name of the node.
    pub members: BTreeMap<String, MemberView>,
}

impl ConsulView {
    /// Asks a server that knows the leader, with a token for operators, at the time `now`.
    pub async fn read(client: &Client, operator: &Secret, now: Timestamp) -> Seen<Self> {
        let answers = tokio::try_join!(
            client.raft_servers(operator),
            client.autopilot_health(operator),
            client.autopilot_configuration(operator),
            client.members(operator)
        );
        let (raft, health, configuration, members) = answers.map_err(|error| error.to_string())?;
        let views = raft.iter().map(|server| {
            let name = name_of(server, &raft);
            (name, server_view(server, &health, now))
        });
        Ok(Self {
            servers: views.collect(),
            tolerance: health.failure_tolerance,
            stabilization: configuration.server_stabilization_time,
            members: members
                .into_iter()
                .map(|member| (member.name, member_view(member.status)))
                .collect(),
        })
    }
}

/// The state of a member in gossip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberView {
    /// It answers.
    Alive,
    /// It leaves or left.
    Left,
    /// It does not answer.
    Failed,
}

/// A server of Consul.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerView {
    /// Whether it votes.
    pub is_voter: bool,
    /// Whether it leads.
    pub is_leader: bool,
    /// Whether autopilot calls it healthy. `None` if autopilot does not list it.
    pub health: Option<ServerHealthView>,
}

/// The health of a server, as autopilot sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerHealthView {
    /// Whether it is healthy and alive in gossip.
    pub is_healthy: bool,
    /// The version of Consul.
    pub version: String,
    /// The number of log entries that it is behind the leader.
    pub behind: u64,
    /// The time for which its health has not changed.
    pub stable_for: Duration,
}

/// A Vault node, as it answers itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultView {
    /// The state.
    pub state: NodeState,
    /// The version. Absent if the listener redacts it.
    pub version: Option<String>,
    /// The id of the cluster. Absent while sealed.
    pub cluster_id: Option<String>,
}

/// What is known about the active Vault node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveView {
    /// The node whose Consul session holds Vault's lock.
    pub lock_holder: Option<String>,
    /// The nodes that Consul's catalog lists as active and passing.
    pub registered_active: BTreeSet<String>,
    /// The nodes that Consul's catalog lists as Vault, in any state.
    pub registered: BTreeSet<String>,
    /// The nodes that the active node lists, with the time since their last message. The active
    /// node itself has none.
    pub listed: BTreeMap<String, Option<Duration>>,
    /// The id of the cluster at the active node.
    pub cluster_id: Option<String>,
}

/// A node behind the load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontView {
    /// Whether the operator lets new connections through.
    pub is_ready: bool,
    /// Whether the last probe succeeded. `None` if none has ended.
    pub is_up: Option<bool>,
    /// The number of open connections.
    pub connections: u64,
}

/// Returns the name of a server, or its address while Consul does not know the name.
fn name_of(server: &RaftServer, all: &[RaftServer]) -> String {
    let is_unique = all.iter().filter(|one| one.node == server.node).count() == 1;
    if is_unique {
        server.node.clone()
    } else {
        format!("{} at {}", server.node, server.address)
    }
}

fn server_view(server: &RaftServer, health: &AutopilotHealth, now: Timestamp) -> ServerView {
    let leader = health.servers.iter().find(|one| one.is_leader);
    let leader_index = leader.map(|leader| leader.last_index);
    let known = health.servers.iter().find(|one| one.id == server.id);
    ServerView {
        is_voter: server.is_voter,
        is_leader: server.is_leader,
        health: known.map(|known| ServerHealthView {
            is_healthy: known.is_healthy && known.serf_status == "alive" && known.is_voter,
            version: known.version.clone(),
            behind: leader_index.map_or(u64::MAX, |index| index.saturating_sub(known.last_index)),
            stable_for: Duration::try_from(now.duration_since(known.stable_since))
                .unwrap_or_default(),
        }),
    }
}

fn member_view(status: MemberStatus) -> MemberView {
    match status {
        MemberStatus::Alive => MemberView::Alive,
        MemberStatus::Leaving | MemberStatus::Left => MemberView::Left,
        MemberStatus::Failed | MemberStatus::Unknown => MemberView::Failed,
    }
}
