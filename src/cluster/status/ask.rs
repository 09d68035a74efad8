//! Asks the product of each node, all at once and within seconds.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

use super::Role;
use crate::cluster::controller::Controller;
use crate::cluster::file::TierName;
use crate::cluster::secrets::SecretName;
use crate::cluster::state::{Phase, State};
use crate::cluster::{Cluster, ClusterError, Context, TokenError};
use crate::nodes::Platform;
use crate::product::consul::{AutopilotHealth, RaftServer};
use crate::product::{consul, vault};
use crate::secret::Secret;

/// Limit for one request. A node that takes longer does not serve.
const LIMIT: Duration = Duration::from_secs(3);

/// What the servers of Consul answered together.
enum Consul {
    /// What they know about each other.
    Known {
        raft: Vec<RaftServer>,
        health: Option<AutopilotHealth>,
    },
    /// They have a leader, and refuse the operator's token.
    Refused,
    /// None has a leader.
    NoLeader,
}

/// What the product of a node answered.
pub(super) struct Answer {
    pub(super) role: Role,
    pub(super) reason: Option<String>,
    pub(super) certificate_end: Option<Timestamp>,
}

impl Answer {
    pub(super) fn stopped() -> Self {
        Self {
            role: Role::Stopped,
            reason: None,
            certificate_end: None,
        }
    }

    /// Returns the answer of a node that cannot be asked.
    pub(super) fn unknown(is_running: bool) -> Self {
        match is_running {
            true => Self::failed("it cannot be asked"),
            false => Self::stopped(),
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

/// What all nodes answered.
pub(super) struct Answers {
    /// One for each node of the state, in its order.
    pub(super) nodes: Vec<Answer>,
    /// Why the servers of Consul cannot be asked, if they refuse the operator's token.
    pub(super) refused: Option<TokenError>,
}

/// Asks each node, all at once.
pub(super) async fn ask(
    cluster: &Cluster<'_>,
    state: &State,
    platform: &Platform,
    keys: &Controller,
    context: &Context<'_>,
) -> Result<Answers, ClusterError> {
    let mut servers = Vec::new();
    for (name, node) in &state.nodes {
        if node.tier == TierName::Consul && platform.is_running(name) {
            let client = keys.consul(platform, cluster.file, node, context).await?;
            servers.push(client.with_limit(LIMIT));
        }
    }
    let consul = ask_consul(&servers, &keys.operator).await;
    let is_refused = matches!(consul, Consul::Refused) && state.phase == Phase::Created;
    let has_rollout = state.rollout.is_some();
    let asking = state.nodes.iter().map(|(name, node)| {
        let consul = &consul;
        async move {
            if !platform.is_running(name) {
                return Answer::stopped();
            }
            match node.tier {
                TierName::Consul => {
                    match keys.consul(platform, cluster.file, node, context).await {
                        Ok(client) => {
                            let client = client.with_limit(LIMIT);
                            ask_server(name, client, consul, has_rollout).await
                        }
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
    let refused = || TokenError::refused(SecretName::ConsulOperator, cluster.secrets);
    Ok(Answers {
        nodes: join_all(asking).await,
        refused: is_refused.then(refused),
    })
}

/// Asks the servers one after the other, until one answers. A new one may not know the token yet.
async fn ask_consul(servers: &[consul::Client], operator: &Secret) -> Consul {
    let mut otherwise = Consul::NoLeader;
    for server in servers {
        if let Ok(raft) = server.raft_servers(operator).await {
            let health = server.autopilot_health(operator).await.ok();
            return Consul::Known { raft, health };
        }
        let has_leader = matches!(server.leader().await, Ok(Some(_)));
        if has_leader && server.knows_token(operator).await.is_ok_and(|known| !known) {
            otherwise = Consul::Refused;
        }
    }
    otherwise
}

/// Asks a server. While the cluster `has_rollout`, servers join and leave it.
async fn ask_server(
    name: &str,
    client: consul::Client,
    consul: &Consul,
    has_rollout: bool,
) -> Answer {
    let certificate_end = match client.certificate_end().await {
        Ok(end) => Some(end),
        Err(error) => return Answer::failed(error),
    };
    let (raft, health) = match consul {
        Consul::Known { raft, health } => (raft, health),
        Consul::Refused => return Answer::failed("it refuses the token in `consul-operator`"),
        Consul::NoLeader => return Answer::failed("no server knows the leader"),
    };
    let server = raft.iter().find(|server| server.node == name);
    let health = health.iter().flat_map(|health| &health.servers);
    let unhealthy = health
        .into_iter()
        .find(|server| server.name == name && !server.is_healthy);
    let role = match server {
        Some(server) if server.is_leader => Role::Leader,
        Some(server) if server.is_voter => Role::Voter,
        Some(_) => Role::NonVoter,
        None if has_rollout => {
            return Answer {
                role: Role::NonVoter,
                reason: Some("it joins or leaves the cluster".to_owned()),
                certificate_end,
            };
        }
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
