//! The policies of a cluster's tokens, by a real Consul whose default is to deny.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use vault_bake::cluster::policies::{self, Policy};
use vault_bake::event::Events;
use vault_bake::process::{Program, Running};
use vault_bake::wait::{Interrupt, Poll, Wait};

use crate::fixture_vault::lab::{mirror, unpack};

const MANAGEMENT: &str = "5e0fa3d1-9a0c-4c7b-8f3e-0d6a1f5c2b47";
const SERVER: &str = "dev-consul-1-1";
const VAULT: &str = "dev-vault-1-1";

/// A server and a client agent, on loopback without TLS.
struct Agents {
    folder: TempDir,
    /// Ports of the server: API, RPC, gossip. Then those of the client.
    ports: [u16; 6],
    http: Client,
}

impl Agents {
    async fn new(mirror: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        unpack(mirror, "consul", "1.8.7", folder.path()).await;
        let listeners = [(); 6].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let ports = listeners.map(|one| one.local_addr().expect("an address").port());
        let http = Client::builder().timeout(Duration::from_secs(20));
        Self {
            folder,
            ports,
            http: http.build().expect("a client"),
        }
    }

    /// Starts the agent of `node`. Its log is a file.
    fn start(&self, node: &str) -> Running {
        let is_server = node == SERVER;
        let [http, rpc, serf] = if is_server {
            [self.ports[0], self.ports[1], self.ports[2]]
        } else {
            [self.ports[3], self.ports[4], self.ports[5]]
        };
        let mut config = json!({
            "node_name": node, "datacenter": "dc1", "server": is_server,
            "bind_addr": "127.0.0.1", "data_dir": self.folder.path().join(node),
            "ports": {"http": http, "dns": -1, "grpc": -1, "server": rpc, "serf_lan": serf, "serf_wan": -1},
            "retry_join": [format!("127.0.0.1:{}", self.ports[2])], "retry_interval": "1s",
            "performance": {"raft_multiplier": 1}, "disable_update_check": true, "log_level": "DEBUG",
            "acl": {"enabled": true, "default_policy": "deny", "tokens": {"agent": token(&policies::agent(node))}},
        });
        if is_server {
            config["bootstrap_expect"] = json!(1);
            config["acl"]["tokens"]["master"] = json!(MANAGEMENT);
        }
        let file = self.folder.path().join(format!("{node}.json"));
        fs::write(&file, config.to_string()).expect("a file");
        let run = format!("exec ./consul agent -config-file {node}.json >{node}.log 2>&1");
        let run = format!("cd {} && {run}", self.folder.path().display());
        let program = Program::new("sh").args(["-c", &run]);
        program.start().expect("Consul starts")
    }

    async fn ask(
        &self,
        node: &str,
        secret: &str,
        (method, path, body): (Method, &str, &str),
    ) -> Result<(u16, String), reqwest::Error> {
        let port = self.ports[if node == SERVER { 0 } else { 3 }];
        let url = format!("http://127.0.0.1:{port}/v1/{path}");
        let request = self.http.request(method, url).body(body.to_owned());
        let answer = request.header("x-consul-token", secret).send().await?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await?;
        Ok((status, String::from_utf8_lossy(&body).trim().to_owned()))
    }

    /// Waits until an answer to the management token contains `expected`.
    async fn wait_for(&self, node: &str, path: &str, expected: &str) {
        let probe = || async {
            match self.ask(node, MANAGEMENT, (Method::GET, path, "")).await {
                Ok((200, text)) if text.contains(expected) => Poll::<_, String>::Ready(()),
                other => Poll::NotYet(format!("{other:?}")),
            }
        };
        let wait = Wait::new(
            format!("{path} to have {expected}"),
            Duration::from_secs(60),
        );
        let waited = wait
            .until(&Events::silent(), &Interrupt::default(), probe)
            .await;
        waited.unwrap_or_else(|error| panic!("{error}\n{}", self.log(node)));
    }

    fn log(&self, node: &str) -> String {
        fs::read_to_string(self.folder.path().join(format!("{node}.log"))).unwrap_or_default()
    }

    async fn create(&self, policy: &Policy) {
        let body = json!({"Name": policy.name, "Rules": policy.rules}).to_string();
        let made = self
            .ask(SERVER, MANAGEMENT, (Method::PUT, "acl/policy", &body))
            .await;
        assert_eq!(made.as_ref().expect("an answer").0, 200, "{made:?}");
        let body = json!({"SecretID": token(policy), "Policies": [{"Name": policy.name}]});
        let body = body.to_string();
        let made = self.ask(SERVER, MANAGEMENT, (Method::PUT, "acl/token", &body));
        assert_eq!(made.await.expect("an answer").0, 200);
    }

    /// Returns the id of a new session on `node`, or the refusal.
    async fn session(&self, node: &str, secret: &str, body: &str) -> Result<String, String> {
        let made = self
            .ask(node, secret, (Method::PUT, "session/create", body))
            .await;
        match made.expect("an answer") {
            (200, text) => {
                let session: Value = serde_json::from_str(&text).expect("JSON");
                Ok(session["ID"].as_str().expect("an id").to_owned())
            }
            (status, text) => Err(format!("{status} {text}")),
        }
    }
}

/// Returns a fixed token for a policy.
fn token(policy: &Policy) -> String {
    let digest = vault_bake::digest::Digest::hash_bytes(&policy.name).hex();
    format!("{}-2222-4222-8222-{}", &digest[..8], &digest[8..20])
}

/// Asserts the status of each request in a table: `STATUS METHOD PATH BODY`.
async fn assert_statuses(agents: &Agents, node: &str, policy: &Policy, table: &str) {
    let mut wrong = Vec::new();
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let mut parts = row.splitn(4, ' ');
        let mut part = || parts.next().unwrap_or_default();
        let (expected, method) = (part(), part());
        let (path, body) = (part(), part());
        let method: Method = method.parse().expect("a method");
        let asked = agents.ask(node, &token(policy), (method, path, body)).await;
        let (status, text) = asked.expect("an answer");
        // A list without rights is empty, not refused.
        let found = match (status, text.as_str()) {
            (200, "[]") => "empty".to_owned(),
            (200, "false") => "false".to_owned(),
            _ => status.to_string(),
        };
        if found != expected {
            wrong.push(format!("{row}: {found} {text:.120}"));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", policy.name, wrong.join("\n"));
}

/// Asserts that an agent registered itself and was denied nothing.
async fn assert_registered(agents: &Agents, node: &str) {
    agents
        .wait_for(
            SERVER,
            &format!("catalog/node/{node}"),
            "TaggedAddresses\":{\"lan",
        )
        .await;
    agents.wait_for(SERVER, "coordinate/nodes", node).await;
    let log = agents.log(node);
    let denied = log.lines().filter(|line| {
        line.contains("denied")
            || line.contains("blocked by ACLs")
            || line.contains("ACL not found")
    });
    let denied: Vec<&str> = denied.collect();
    assert!(denied.is_empty(), "{node}:\n{}", denied.join("\n"));
}

#[tokio::test]
async fn each_token_may_do_what_its_user_needs_and_no_more() {
    let Some(mirror) = mirror().await else { return };
    let agents = Agents::new(&mirror).await;
    let mut server = agents.start(SERVER);
    agents.wait_for(SERVER, "acl/tokens", "AccessorID").await;
    let (vault, operator) = (policies::vault(VAULT), policies::operator("dev"));
    let own = [policies::agent(SERVER), policies::agent(VAULT)];
    for policy in own.iter().chain([&vault, &operator]) {
        agents.create(policy).await;
    }
    // The tokens are there from the start of these agents on.
    server.terminate().await;
    let _server = agents.start(SERVER);
    agents.wait_for(SERVER, "acl/tokens", "AccessorID").await;
    let _client = agents.start(VAULT);
    agents.wait_for(VAULT, "agent/members", SERVER).await;
    // Later, the logs have the refusals of the tables too.
    for node in [SERVER, VAULT] {
        assert_registered(&agents, node).await;
    }

    let lock = agents
        .session(VAULT, &token(&vault), r#"{"TTL": "15s"}"#)
        .await;
    let lock = lock.expect("a session of its own node");
    let other = format!(r#"{{"Node": "{SERVER}"}}"#);
    let refused = agents.session(VAULT, &token(&vault), &other).await;
    assert!(
        refused.is_err_and(|text| text.contains("403")),
        "a session of another node"
    );
    let rows = format!(
        r#"
        200 GET agent/self
        200 PUT kv/vault/core/lock?acquire={lock} x
        200 PUT session/renew/{lock}
        200 PUT kv/vault/a x
        200 GET kv/vault/a
        200 GET kv/vault/?keys
        200 PUT txn [{{"KV":{{"Verb":"set","Key":"vault/t","Value":"eA=="}}}}]
        409 PUT txn [{{"KV":{{"Verb":"set","Key":"other","Value":"eA=="}}}}]
        200 PUT agent/service/register {{"Name":"vault","ID":"vault:1","Port":8200,"Check":{{"CheckID":"sealed","TTL":"30s"}}}}
        200 PUT agent/check/pass/sealed
        200 PUT agent/service/deregister/vault:1
        200 PUT agent/service/register {{"Name":"vault","ID":"vault:1","Port":8200}}
        403 PUT agent/service/register {{"Name":"web"}}
        403 PUT agent/service/register {{"Name":"consul"}}
        403 PUT kv/other x
        403 GET kv/other
        empty GET catalog/nodes
        403 GET acl/tokens
        403 GET operator/raft/configuration
        403 PUT agent/leave
        "#
    );
    assert_statuses(&agents, VAULT, &vault, &rows).await;
    let rows = r#"
        403 GET kv/vault/a
        403 PUT kv/vault/a x
        403 GET agent/self
        403 PUT agent/leave
        403 PUT agent/service/register {"Name":"vault","ID":"rogue"}
        403 PUT catalog/register {"Node":"dev-consul-1-1","Address":"192.0.2.1"}
        403 GET acl/tokens
        "#;
    assert_statuses(&agents, VAULT, &own[1], rows).await;
    agents.wait_for(SERVER, "health/service/vault", VAULT).await;

    let mine = agents
        .session(SERVER, &token(&operator), r#"{"TTL": "60s", "Checks": []}"#)
        .await;
    let mine = mine.expect("a session of the server");
    let rows = format!(
        r#"
        200 GET operator/raft/configuration
        200 GET operator/autopilot/health
        200 GET operator/autopilot/configuration
        200 PUT operator/autopilot/configuration {{"CleanupDeadServers":true,"LastContactThreshold":"200ms","MaxTrailingLogs":250,"MinQuorum":1,"ServerStabilizationTime":"10s"}}
        200 GET agent/self
        200 GET agent/members
        200 GET health/service/vault
        200 GET kv/vault/core/lock
        200 GET session/info/{lock}
        200 PUT kv/vault-bake/rollout/lock?acquire={mine} 1
        200 PUT session/destroy/{mine}
        403 PUT session/destroy/{lock}
        403 PUT kv/vault/core/lock x
        403 GET kv/vault/a
        403 GET snapshot
        403 GET acl/tokens
        500 GET operator/keyring
        403 PUT agent/maintenance?enable=true
        403 PUT agent/service/register {{"Name":"vault"}}
        403 PUT catalog/deregister {{"Node":"dev-vault-1-1"}}
        "#
    );
    assert_statuses(&agents, SERVER, &operator, &rows).await;
    // A client agent has no gate, so it need not leave when told.
    assert_statuses(&agents, VAULT, &operator, "403 PUT agent/leave").await;
    let anonymous = agents
        .ask(SERVER, "", (Method::GET, "kv/vault/a", ""))
        .await;
    assert_eq!(anonymous.expect("an answer").0, 403);
    assert_statuses(&agents, SERVER, &operator, "200 PUT agent/leave").await;
}
