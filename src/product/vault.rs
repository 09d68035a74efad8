//! Vault: its facts, and a client for the HTTP API of a node.
//! The client takes an endpoint and tokens; returns health, the seal, the nodes of the cluster, and
//! secrets.
//! A redirect of a standby is an error: the caller sends the request to the active node.

mod access;
pub mod changes;
pub mod config;
mod kv;
mod lint;
mod seal;
mod upgrade;

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::{Answer, Api, ApiClient};
use super::config::to_json_text;
use super::{ApiError, Endpoint, Facts, TlsMaterial};
use crate::secret::Secret;

pub use access::{AuditDevice, TokenInfo, TokenRequest};
pub use kv::{KvMount, KvVersion, Mount};
pub use seal::{InitOutput, InitRequest, KeyKind, SealStatus};

pub(super) static FACTS: Facts = Facts {
    profile: &lint::PROFILE,
    changes: &changes::ALL,
    configuration: |_, inputs| {
        let inputs = config::Inputs::read(inputs)?;
        Ok(to_json_text(&config::Server::hardened(inputs)))
    },
    unit: UNIT,
    upgrades: upgrade::TABLE,
};

/// The port of the API.
pub const API_PORT: u16 = 8200;

/// The port on which nodes of a cluster reach each other.
pub const CLUSTER_PORT: u16 = 8201;

/// The systemd unit.
pub const UNIT: &str = "vault.service";

/// The name in the certificates of all nodes, under which Consul's DNS has the service.
pub const SERVER_NAME: &str = "vault.service.consul";

static API: Api = Api {
    title: "Vault",
    token_header: "x-vault-token",
    is_standby: |status, text| status == 307 || text.contains(NO_ACTIVE),
};

/// The text of a standby that knows no active node.
const NO_ACTIVE: &str = "local node not active but active cluster node not found";

/// A client for one node of Vault. Clones share its settings.
#[derive(Clone)]
pub struct Client {
    api: ApiClient,
}

/// The health of a node, which it tells without a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The HTTP status, which load balancers read.
    pub status_code: u16,
    /// The state of the node.
    pub state: NodeState,
    /// The version of Vault, unless the listener redacts it.
    pub version: Option<String>,
    /// The id of the cluster, if the node is unsealed.
    pub cluster_id: Option<String>,
    /// The name of the cluster, if the node is unsealed and the listener does not redact it.
    pub cluster_name: Option<String>,
    /// The end of the node's certificate.
    pub certificate_end: Timestamp,
}

/// The state of a node of Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Serves requests.
    Active,
    /// Forwards requests to the active node.
    Standby,
    /// Is a standby that serves reads (Enterprise).
    PerformanceStandby,
    /// Is a secondary for disaster recovery (Enterprise).
    DisasterRecovery,
    /// Is a standby that cannot reach the active node.
    Disconnected,
    /// Is not initialized.
    Uninitialized,
    /// Is sealed.
    Sealed,
    /// Was removed from the cluster.
    Removed,
}

/// The active node, as a node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Whether the asked node is active.
    pub is_self: bool,
    /// The URL of the active node, if there is one and the listener does not redact it.
    pub address: Option<String>,
    /// The URL for other nodes of the cluster.
    pub cluster_address: Option<String>,
}

/// A node in the list of the active node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HaNode {
    /// The host name.
    pub hostname: String,
    /// The URL for clients.
    pub api_address: String,
    /// The URL for other nodes.
    pub cluster_address: String,
    /// Whether the node is active.
    #[serde(rename = "active_node")]
    pub is_active: bool,
    /// The time of the last message to the active node, which has none of its own.
    pub last_echo: Option<Timestamp>,
    /// The version of Vault, from 1.10.
    pub version: Option<String>,
    /// The difference of the clocks of this and the active node in milliseconds, from 1.17.
    pub clock_skew_ms: Option<i64>,
}

#[derive(Deserialize)]
struct HealthJson {
    version: Option<String>,
    cluster_id: Option<String>,
    cluster_name: Option<String>,
}

#[derive(Deserialize)]
struct LeaderJson {
    #[serde(default)]
    is_self: bool,
    leader_address: Option<String>,
    leader_cluster_address: Option<String>,
}

#[derive(Deserialize)]
struct NodesJson {
    nodes: Vec<HaNode>,
}

/// The frame of most answers.
#[derive(Deserialize)]
struct DataJson<T> {
    data: T,
}

impl Client {
    /// Prepares a client. Connects to nothing.
    pub fn new(endpoint: &Endpoint, tls: &TlsMaterial) -> Result<Self, ApiError> {
        let api = ApiClient::new(&API, endpoint, tls)?;
        Ok(Self { api })
    }

    /// Prepares a client that uses its connections again, as most clients of Vault do.
    pub fn keeping_connections(endpoint: &Endpoint, tls: &TlsMaterial) -> Result<Self, ApiError> {
        let api = ApiClient::keeping_connections(&API, endpoint, tls)?;
        Ok(Self { api })
    }

    /// Sets the limit of each request, instead of 10 s.
    ///
    /// Slow requests keep a longer limit of their own.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.api.set_limit(limit);
        self
    }

    /// Returns the health of the node. Needs no token.
    pub async fn health(&self) -> Result<Health, ApiError> {
        let call = self.api.get("read the health", &["sys", "health"]);
        let answer = call.accepting(&HEALTH_STATUSES).send().await?;
        let status_code = answer.status();
        let json: HealthJson = answer.json()?;
        Ok(Health {
            status_code,
            state: NodeState::of_status(status_code)
                .ok_or_else(|| answer.malformed("an unknown status"))?,
            version: not_empty(json.version),
            cluster_id: not_empty(json.cluster_id),
            cluster_name: not_empty(json.cluster_name),
            certificate_end: answer.certificate_end()?,
        })
    }

    /// Returns the active node. Needs no token; a sealed node refuses.
    pub async fn leader(&self) -> Result<Leader, ApiError> {
        let call = self.api.get("read the active node", &["sys", "leader"]);
        let json: LeaderJson = call.send().await?.json()?;
        Ok(Leader {
            is_self: json.is_self,
            address: not_empty(json.leader_address),
            cluster_address: not_empty(json.leader_cluster_address),
        })
    }

    /// Returns all unsealed nodes. Needs `read` on `sys/ha-status`.
    pub async fn ha_status(&self, token: &Secret) -> Result<Vec<HaNode>, ApiError> {
        let call = self.api.get("list the nodes", &["sys", "ha-status"]);
        let NodesJson { nodes } = data(&call.token(token).send().await?)?;
        Ok(nodes)
    }
}

impl NodeState {
    fn of_status(status: u16) -> Option<Self> {
        Some(match status {
            200 => Self::Active,
            429 => Self::Standby,
            472 => Self::DisasterRecovery,
            473 => Self::PerformanceStandby,
            474 => Self::Disconnected,
            501 => Self::Uninitialized,
            503 => Self::Sealed,
            530 => Self::Removed,
            _ => return None,
        })
    }
}

/// Parses the part `data` of an answer.
fn data<T: DeserializeOwned>(answer: &Answer) -> Result<T, ApiError> {
    Ok(answer.json::<DataJson<T>>()?.data)
}

fn not_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The statuses of health that are no refusal.
const HEALTH_STATUSES: [u16; 7] = [429, 472, 473, 474, 501, 503, 530];
