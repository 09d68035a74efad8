//! The servers of Raft, and autopilot, which promotes and removes them.

use std::fs::File;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::client::null_as_default;
use super::Client;
use crate::product::{ApiError, Change};
use crate::secret::Secret;

/// A server in Raft's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RaftServer {
    /// The id of the server, a UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// The name of the node.
    pub node: String,
    /// The address and port of Raft.
    pub address: String,
    /// Whether the server leads.
    #[serde(rename = "Leader")]
    pub is_leader: bool,
    /// Whether the server votes.
    #[serde(rename = "Voter")]
    pub is_voter: bool,
}

/// The health of all servers, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AutopilotHealth {
    /// Whether all servers are healthy.
    #[serde(rename = "Healthy")]
    pub is_healthy: bool,
    /// The number of servers that may fail without an outage.
    pub failure_tolerance: u64,
    /// The servers.
    #[serde(deserialize_with = "null_as_default")]
    pub servers: Vec<ServerHealth>,
}

/// The health of one server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServerHealth {
    /// The id of the server, a UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// The name of the node.
    pub name: String,
    /// The address and port of Raft.
    pub address: String,
    /// The state in gossip: `alive`, `leaving`, `left` or `failed`.
    pub serf_status: String,
    /// The version of Consul.
    pub version: String,
    /// Whether the server leads.
    #[serde(rename = "Leader")]
    pub is_leader: bool,
    /// Whether the server is healthy.
    #[serde(rename = "Healthy")]
    pub is_healthy: bool,
    /// Whether the server votes.
    #[serde(rename = "Voter")]
    pub is_voter: bool,
    /// The index of the last entry in the server's log.
    pub last_index: u64,
    /// The time since which the health did not change.
    pub stable_since: Timestamp,
}

/// The configuration of autopilot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutopilotConfiguration {
    /// The smallest number of voters that the removal of dead servers keeps.
    pub min_quorum: u64,
    /// Whether dead servers are removed.
    pub cleanup_dead_servers: bool,
    /// The time that a new server must be healthy before it votes.
    pub server_stabilization_time: Duration,
    /// The number of log entries that a healthy server may be behind.
    pub max_trailing_logs: u64,
    /// The whole object.
    fields: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RaftJson {
    servers: Vec<RaftServer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigurationJson {
    #[serde(default)]
    min_quorum: u64,
    cleanup_dead_servers: bool,
    server_stabilization_time: SignedDuration,
    max_trailing_logs: u64,
}

impl Client {
    /// Returns the servers of Raft. Needs `operator:read`.
    pub async fn raft_servers(&self, token: &Secret) -> Result<Vec<RaftServer>, ApiError> {
        let what = "list the Raft servers";
        let call = self.api.get(what, &["operator", "raft", "configuration"]);
        let RaftJson { servers } = call.token(token).send().await?.json()?;
        Ok(servers)
    }

    /// Returns the health of the servers, also if they are unhealthy. Needs `operator:read`.
    pub async fn autopilot_health(&self, token: &Secret) -> Result<AutopilotHealth, ApiError> {
        let what = "read the health of the servers";
        let call = self.api.get(what, &["operator", "autopilot", "health"]);
        // 429: a server is unhealthy.
        call.token(token).accepting(&[429]).send().await?.json()
    }

    /// Returns the configuration of autopilot. Needs `operator:read`.
    pub async fn autopilot_configuration(
        &self,
        token: &Secret,
    ) -> Result<AutopilotConfiguration, ApiError> {
        let call = self.api.get("read autopilot's configuration", AUTOPILOT);
        let answer = call.token(token).send().await?;
        let fields: Map<String, Value> = answer.json()?;
        let json: ConfigurationJson = answer.json()?;
        let stabilization = json.server_stabilization_time.try_into();
        Ok(AutopilotConfiguration {
            min_quorum: json.min_quorum,
            cleanup_dead_servers: json.cleanup_dead_servers,
            server_stabilization_time: stabilization.unwrap_or_default(),
            max_trailing_logs: json.max_trailing_logs,
            fields,
        })
    }

    /// Sets `min_quorum`, and keeps the other settings. Needs `operator:write`.
    ///
    /// Fails with [`ApiError::Conflict`] if another client changes the configuration meanwhile.
    pub async fn set_min_quorum(&self, token: &Secret, count: u64) -> Result<Change, ApiError> {
        let what = "set autopilot's min_quorum";
        let current = self.autopilot_configuration(token).await?;
        if current.min_quorum == count {
            return Ok(Change::Unchanged);
        }
        let mut fields = current.fields;
        let index = fields
            .remove("ModifyIndex")
            .and_then(|index| index.as_u64());
        fields.remove("CreateIndex");
        fields.insert("MinQuorum".to_owned(), count.into());
        let call = self.api.put(what, AUTOPILOT).token(token);
        let call = call.query("cas", &index.unwrap_or_default().to_string());
        if call.body(&Value::Object(fields)).send().await?.json()? {
            return Ok(Change::Updated);
        }
        Err(self.api.conflict(what, "it changed meanwhile"))
    }
}

impl Client {
    /// Moves the leadership to another server, by its Raft id. Needs `operator:write`.
    ///
    /// Returns whether this version of Consul can do that: it exists from 1.15.0.
    pub async fn transfer_leader(&self, token: &Secret, id: &str) -> Result<bool, ApiError> {
        let path = ["operator", "raft", "transfer-leader"];
        let call = self.api.post("move the leadership", &path).token(token);
        let answer = call.query("id", id).accepting(&[404]).send().await?;
        Ok(answer.status() != 404)
    }

    /// Saves a snapshot of all data to `file`. Needs the rights of management.
    ///
    /// The leader makes it. The archive has digests of its parts and no signature.
    pub async fn save_snapshot(&self, token: &Secret, file: File) -> Result<(), ApiError> {
        let call = self.api.get("save a snapshot", &["snapshot"]);
        call.token(token)
            .lasting(SNAPSHOT_LIMIT)
            .download(file)
            .await
    }
}

const AUTOPILOT: &[&str] = &["operator", "autopilot", "configuration"];

/// The limit of a snapshot: storage of some gigabytes over a slow disk.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(15 * 60);
