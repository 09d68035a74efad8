//! Consul: its facts, and a client for the HTTP API of an agent, from version 1.8.7.
//! The client takes an endpoint of a server; returns its leader, members, services, keys and locks.
//! Servers of Raft are in the module `operator`, ACL policies and tokens in `acl`.

mod acl;
pub mod changes;
pub mod config;
mod kv;
mod lint;
mod lock;
mod operator;
mod upgrade;

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::client::{Api, ApiClient, null_as_default};
use super::config::to_json_text;
use super::{ApiError, Endpoint, Facts, TlsMaterial};
use crate::secret::Secret;

pub use acl::{TokenInfo, TokenRequest};
pub use kv::KvEntry;
pub use operator::{AutopilotConfiguration, AutopilotHealth, RaftServer, ServerHealth};

pub(super) static FACTS: Facts = Facts {
    profile: &lint::PROFILE,
    changes: &changes::ALL,
    configuration: |version, inputs| {
        let inputs = config::Inputs::read(inputs)?;
        Ok(to_json_text(&config::Agent::hardened(version, inputs)))
    },
    unit: UNIT,
    upgrades: upgrade::TABLE,
};

/// The port of the HTTPS API.
pub const API_PORT: u16 = 8501;

/// The systemd unit.
pub const UNIT: &str = "consul.service";

/// Returns the name in the certificates of the servers of a datacenter:
/// <https://developer.hashicorp.com/consul/docs/secure/encryption/tls/mtls>.
pub fn server_name(datacenter: &str) -> String {
    format!("server.{datacenter}.consul")
}

static API: Api = Api {
    title: "Consul",
    token_header: "x-consul-token",
    is_standby: |_, _| false,
};

/// A client for one agent of Consul. Clones share its settings.
#[derive(Clone)]
pub struct Client {
    api: ApiClient,
}

/// An agent, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The name of the node.
    pub node: String,
    /// The datacenter.
    pub datacenter: String,
    /// The version of Consul.
    pub version: String,
    /// Whether the agent is a server.
    pub is_server: bool,
}

/// A member of the cluster, as gossip knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name of the node.
    pub name: String,
    /// The address of the node.
    pub address: String,
    /// The state of the node.
    pub status: MemberStatus,
    /// Whether the agent is a server.
    pub is_server: bool,
    /// The version of Consul.
    pub version: String,
}

/// The state of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberStatus {
    /// The node answers.
    Alive,
    /// The node is leaving.
    Leaving,
    /// The node left.
    Left,
    /// The node does not answer.
    Failed,
    /// A state that Consul may add.
    Unknown,
}

/// An instance of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInstance {
    /// The name of the node.
    pub node: String,
    /// The address of the service, or of its node.
    pub address: String,
    /// The port of the service.
    pub port: u16,
    /// The tags, such as `active` and `standby` of Vault.
    pub tags: Vec<String>,
    /// Whether all checks of the service and its node pass.
    pub is_passing: bool,
}

impl Client {
    /// Prepares a client. Connects to nothing.
    pub fn new(endpoint: &Endpoint, tls: &TlsMaterial) -> Result<Self, ApiError> {
        let api = ApiClient::new(&API, endpoint, tls)?;
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

    /// Returns the address of Raft's leader, as the agent knows it. Needs no token.
    pub async fn leader(&self) -> Result<Option<String>, ApiError> {
        let what = "read the leader";
        let answer = self.api.get(what, &["status", "leader"]).send().await?;
        let leader: String = answer.json()?;
        Ok((!leader.is_empty()).then_some(leader))
    }

    /// Returns the end of the agent's certificate. Needs no token.
    pub async fn certificate_end(&self) -> Result<Timestamp, ApiError> {
        let what = "read the certificate";
        let answer = self.api.get(what, &["status", "leader"]).send().await?;
        answer.certificate_end()
    }

    /// Returns what the agent is. Needs `agent:read`.
    pub async fn agent(&self, token: &Secret) -> Result<Agent, ApiError> {
        let call = self.api.get("read the agent", &["agent", "self"]);
        let SelfJson { config } = call.token(token).send().await?.json()?;
        Ok(Agent {
            node: config.node_name,
            datacenter: config.datacenter,
            version: config.version,
            is_server: config.server,
        })
    }

    /// Returns the members that the agent knows. Needs `node:read`.
    ///
    /// The agent is a member itself, so an empty list is an error: [`ApiError::NoRights`].
    pub async fn members(&self, token: &Secret) -> Result<Vec<Member>, ApiError> {
        let what = "list the members";
        let call = self.api.get(what, &["agent", "members"]).token(token);
        let members: Vec<MemberJson> = call.send().await?.json_list()?;
        if members.is_empty() {
            return Err(self.api.no_rights(what));
        }
        Ok(members.into_iter().map(Member::from).collect())
    }

    /// Returns the instances of a service. Needs `service:read` and `node:read`.
    ///
    /// Without these rights the list is empty.
    pub async fn service_health(
        &self,
        token: &Secret,
        service: &str,
    ) -> Result<Vec<ServiceInstance>, ApiError> {
        let what = format!("list the instances of {service}");
        let call = self.api.get(&what, &["health", "service", service]);
        let found: Vec<InstanceJson> = call.token(token).send().await?.json_list()?;
        Ok(found.into_iter().map(ServiceInstance::from).collect())
    }

    /// Makes the agent leave the cluster and end. Needs `agent:write` on its node.
    ///
    /// The answer comes after the agent left: after 9 s for a server.
    pub async fn agent_leave(&self, token: &Secret) -> Result<(), ApiError> {
        let call = self.api.put("leave the cluster", &["agent", "leave"]);
        call.token(token).lasting(LEAVE_LIMIT).send().await?;
        Ok(())
    }

    /// Removes a member that has ended, so that it is not counted as failed for days.
    /// Needs `operator:write`.
    pub async fn force_leave(&self, token: &Secret, node: &str) -> Result<(), ApiError> {
        let what = format!("remove the member {node}");
        let call = self.api.put(&what, &["agent", "force-leave", node]);
        let call = call.token(token).query("prune", "");
        // A member that is gone already is refused with other statuses by version.
        call.accepting(&[400, 404, 500]).send().await?;
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SelfJson {
    config: ConfigJson,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigJson {
    node_name: String,
    datacenter: String,
    version: String,
    server: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MemberJson {
    name: String,
    addr: String,
    status: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    tags: MemberTags,
}

#[derive(Default, Deserialize)]
struct MemberTags {
    #[serde(default)]
    role: String,
    #[serde(default)]
    build: String,
}

impl From<MemberJson> for Member {
    fn from(json: MemberJson) -> Self {
        Self {
            name: json.name,
            address: json.addr,
            status: match json.status {
                1 => MemberStatus::Alive,
                2 => MemberStatus::Leaving,
                3 => MemberStatus::Left,
                4 => MemberStatus::Failed,
                _ => MemberStatus::Unknown,
            },
            is_server: json.tags.role == "consul",
            // With a revision, as in `1.8.7:f3a4b2c1`.
            version: json
                .tags
                .build
                .split(':')
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceJson {
    node: NodeJson,
    service: ServiceJson,
    #[serde(default, deserialize_with = "null_as_default")]
    checks: Vec<CheckJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NodeJson {
    node: String,
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceJson {
    #[serde(default)]
    address: String,
    port: u16,
    #[serde(default, deserialize_with = "null_as_default")]
    tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CheckJson {
    status: String,
}

impl From<InstanceJson> for ServiceInstance {
    fn from(json: InstanceJson) -> Self {
        let address = json.service.address;
        Self {
            address: if address.is_empty() {
                json.node.address
            } else {
                address
            },
            node: json.node.node,
            port: json.service.port,
            tags: json.service.tags,
            is_passing: json.checks.iter().all(|check| check.status == "passing"),
        }
    }
}

/// The limit of a leave, which waits for the servers.
const LEAVE_LIMIT: Duration = Duration::from_secs(60);
