//! The clients of the product's API against a real Consul with TLS and ACLs, and a Vault.

pub mod servers;

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use vault_bake::network::Network;
use vault_bake::process::{Program, Running};
use vault_bake::product::consul::{self, MemberStatus};
use vault_bake::product::vault::{
    self, InitOutput, InitRequest, KeyKind, KvMount, KvVersion, NodeState, TokenRequest,
};
use vault_bake::product::{ApiError, Change, Endpoint};
use vault_bake::secret::Secret;

use crate::fixture_vault::lab::{mirror, vault_config};
use servers::{Servers, until};

fn uuid() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn status_of(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::Status { status, .. } => Some(*status),
        _ => None,
    }
}

#[tokio::test]
async fn policies_and_tokens_are_made_once_and_changed_as_requested() {
    let Some(mirror) = mirror().await else { return };
    let servers = Servers::start(&mirror, 1).await;
    let transient = servers.wait_for_acls().await;
    assert!(
        !transient.is_empty(),
        "the ACL system takes a second to start"
    );
    let (client, management) = (servers.client(0), &servers.management);

    let rules = "operator = \"read\"\n";
    let put = |rules| client.put_policy(management, "status", "for status", rules);
    assert_eq!(put(rules).await.expect("a policy"), Change::Created);
    assert_eq!(put(rules).await.expect("a policy"), Change::Unchanged);
    let wider = "operator = \"read\"\nagent_prefix \"\" { policy = \"read\" }\n";
    assert_eq!(put(wider).await.expect("a policy"), Change::Updated);
    assert_eq!(put(wider).await.expect("a policy"), Change::Unchanged);
    let error = put("no rules {").await.expect_err("no HCL");
    assert!(status_of(&error).is_some(), "{error}");

    let (accessor, secret) = (uuid(), Secret::new(uuid()));
    let request = |description, policies| consul::TokenRequest {
        accessor: &accessor,
        secret: &secret,
        description,
        policies,
    };
    let put = async |description, policies| {
        client
            .put_token(management, &request(description, policies))
            .await
    };
    assert_eq!(
        put("status", &["status"]).await.expect("a token"),
        Change::Created
    );
    assert_eq!(
        put("status", &["status"]).await.expect("a token"),
        Change::Unchanged
    );
    let both: &[&str] = &["status", "global-management"];
    assert_eq!(put("status", both).await.expect("a token"), Change::Updated);
    assert_eq!(
        put("status", both).await.expect("a token"),
        Change::Unchanged
    );
    assert_eq!(
        put("for status", &["status"]).await.expect("a token"),
        Change::Updated
    );
    let error = put("for status", &["nonexistent"])
        .await
        .expect_err("no policy");
    assert!(!error.is_transient(), "{error}");
    let own = client.token_self(&secret).await.expect("the token");
    assert_eq!(
        (own.accessor, own.description, own.policies),
        (
            accessor.clone(),
            "for status".to_owned(),
            vec!["status".to_owned()]
        )
    );
    let other = Secret::new(uuid());
    let request = consul::TokenRequest {
        secret: &other,
        ..request("for status", &["status"])
    };
    let error = client
        .put_token(management, &request)
        .await
        .expect_err("another secret");
    assert!(matches!(error, ApiError::Conflict { .. }), "{error}");

    for _ in 0..2 {
        client
            .delete_token(management, &accessor)
            .await
            .expect("deleted");
    }
    // Servers cache tokens for 30 s, but not for a token's own read.
    let error = client.token_self(&secret).await.expect_err("it is deleted");
    assert_eq!(status_of(&error), Some(403), "{error}");
}

#[tokio::test]
async fn a_token_may_do_what_its_policy_allows_and_nothing_else() {
    let Some(mirror) = mirror().await else { return };
    let servers = Servers::start(&mirror, 1).await;
    servers.wait_for_acls().await;
    let (client, management) = (servers.client(0), &servers.management);
    let weak = Secret::new(uuid());
    let (accessor, rules) = (uuid(), "operator = \"read\"\n");
    client
        .put_policy(management, "weak", "", rules)
        .await
        .expect("a policy");
    let request = consul::TokenRequest {
        accessor: &accessor,
        secret: &weak,
        description: "weak",
        policies: &["weak"],
    };
    client
        .put_token(management, &request)
        .await
        .expect("a token");

    let raft = client.raft_servers(&weak).await.expect("servers");
    assert_eq!(raft.len(), 1);
    assert!(raft[0].is_leader && raft[0].is_voter && raft[0].node == "consul-1");
    let error = client
        .members(&weak)
        .await
        .expect_err("no right to see nodes");
    assert!(matches!(error, ApiError::NoRights { .. }), "{error}");
    let denied = [
        client.set_min_quorum(&weak, 3).await.map(|_| ()).err(),
        client.agent(&weak).await.map(|_| ()).err(),
        client.agent_leave(&weak).await.err(),
        client
            .kv_get(&weak, "vault/core/lock")
            .await
            .map(|_| ())
            .err(),
        client.kv_delete_tree(&weak, "vault/").await.err(),
        client
            .put_policy(&weak, "weak", "", "")
            .await
            .map(|_| ())
            .err(),
    ];
    for error in denied {
        let error = error.expect("a refusal");
        assert_eq!(status_of(&error), Some(403), "{error}");
        assert!(!error.is_transient(), "{error}");
        assert!(!error.to_string().contains(weak.expose()), "{error}");
    }
    let found = client
        .service_health(&weak, "consul")
        .await
        .expect("a list");
    assert_eq!(found, [], "without rights the list is empty");

    let agent = client.agent(management).await.expect("the agent");
    assert_eq!(
        (agent.node.as_str(), agent.version.as_str(), agent.is_server),
        ("consul-1", "1.8.7", true)
    );
    let before = client
        .autopilot_configuration(management)
        .await
        .expect("a configuration");
    assert_eq!((before.min_quorum, before.max_trailing_logs), (0, 250));
    assert_eq!(before.server_stabilization_time, Duration::from_secs(10));
    let set = || client.set_min_quorum(management, 3);
    assert_eq!(set().await.expect("set"), Change::Updated);
    assert_eq!(set().await.expect("set"), Change::Unchanged);
    let after = client
        .autopilot_configuration(management)
        .await
        .expect("a configuration");
    assert_eq!(after.min_quorum, 3);
    assert_eq!(
        after.server_stabilization_time,
        before.server_stabilization_time
    );

    // Without a client certificate, a request fails before it is read.
    let without = consul::Client::new(&servers.endpoint(0), &servers.tls(false)).expect("a client");
    let error = without.leader().await.expect_err("no certificate");
    assert!(matches!(error, ApiError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn keys_locks_and_services_are_read_as_vault_writes_them() {
    let Some(mirror) = mirror().await else { return };
    let servers = Servers::start(&mirror, 1).await;
    servers.wait_for_acls().await;
    let (client, management) = (servers.client(0), &servers.management);
    let lock = "vault/core/lock";
    let holder = async || {
        client
            .lock_holder(management, lock)
            .await
            .expect("an answer")
    };
    let entry = async |key| client.kv_get(management, key).await.expect("an answer");

    assert!(entry(lock).await.is_none());
    assert_eq!(holder().await, None);
    let session = servers
        .raw(Method::PUT, "session/create", json!({"Name": "Vault Lock"}))
        .await;
    let session = session["ID"].as_str().expect("a session").to_owned();
    let acquire = format!("kv/{lock}?acquire={session}");
    assert_eq!(
        servers.raw(Method::PUT, &acquire, json!("an-id")).await,
        json!(true)
    );
    assert_eq!(holder().await.as_deref(), Some("consul-1"));
    let found = entry(lock).await.expect("a key");
    assert_eq!(found.session.as_deref(), Some(session.as_str()));
    assert_eq!(found.value, b"\"an-id\"");
    let destroy = format!("session/destroy/{session}");
    servers.raw(Method::PUT, &destroy, Value::Null).await;
    assert_eq!(holder().await, None);
    assert_eq!(entry(lock).await.expect("a key").session, None);

    servers
        .raw(Method::PUT, "kv/vault/core/a%20b?flags=1", json!(1))
        .await;
    servers.raw(Method::PUT, "kv/vaults", json!(2)).await;
    assert!(entry("vault/core/a b").await.is_some());
    client
        .kv_delete_tree(management, "vault/")
        .await
        .expect("deleted");
    assert!(entry(lock).await.is_none() && entry("vault/core/a b").await.is_none());
    assert!(
        entry("vaults").await.is_some(),
        "a prefix with a slash is a folder"
    );
    client
        .kv_delete_tree(management, "vault/")
        .await
        .expect("deleted already");

    let service = json!({
        "Name": "vault", "Tags": ["active"], "Port": 8200, "Address": "10.77.0.31",
        "Check": {"TTL": "60s", "Status": "warning", "CheckID": "vault-check"},
    });
    servers
        .raw(Method::PUT, "agent/service/register", service)
        .await;
    let instances = async || {
        client
            .service_health(management, "vault")
            .await
            .expect("a list")
    };
    let found = until("the service", async || {
        instances().await.pop().ok_or_else(|| "none".to_owned())
    })
    .await;
    assert_eq!((found.node.as_str(), found.port), ("consul-1", 8200));
    assert_eq!(
        (found.address.as_str(), found.tags),
        ("10.77.0.31", vec!["active".to_owned()])
    );
    assert!(!found.is_passing);
    servers
        .raw(Method::PUT, "agent/check/pass/vault-check", Value::Null)
        .await;
    until("the check", async || {
        let passing = instances().await.iter().all(|instance| instance.is_passing);
        passing
            .then_some(())
            .ok_or_else(|| "not passing".to_owned())
    })
    .await;
}

#[tokio::test]
async fn a_killed_and_a_left_server_are_seen_by_the_others() {
    let Some(mirror) = mirror().await else { return };
    let mut servers = Servers::start(&mirror, 3).await;
    servers.wait_for_acls().await;
    let management = servers.management.clone();
    let clients = [0, 1, 2].map(|index| servers.client(index));
    until("three voters", async || {
        let raft = clients[0].raft_servers(&management).await;
        let raft = raft.map_err(|error| error.to_string())?;
        let health = clients[0].autopilot_health(&management).await;
        let health = health.map_err(|error| error.to_string())?;
        let voters = raft.iter().filter(|server| server.is_voter).count();
        let healthy = health
            .servers
            .iter()
            .filter(|server| server.is_healthy && server.is_voter);
        let tolerance = health.failure_tolerance;
        if (voters, healthy.count(), tolerance, health.is_healthy) == (3, 3, 1, true) {
            return Ok(());
        }
        Err(format!("{voters} voters, tolerance {tolerance}"))
    })
    .await;
    clients[0]
        .set_min_quorum(&management, 3)
        .await
        .expect("set");
    for client in &clients {
        assert_eq!(client.members(&management).await.expect("members").len(), 3);
    }
    let leader = clients[0]
        .leader()
        .await
        .expect("an answer")
        .expect("a leader");
    let raft = clients[0].raft_servers(&management).await.expect("servers");
    let leads = raft
        .iter()
        .find(|server| server.is_leader)
        .expect("a leader");
    assert_eq!(leads.address, leader);
    let index = |name: &str| {
        servers
            .members
            .iter()
            .position(|server| server.name == name)
    };
    let leads = index(&leads.node).expect("one of them");
    let [killed, leaves] = [(leads + 1) % 3, (leads + 2) % 3];

    // A server that leaves says so: it is out of Raft, and its agent ends.
    let name = servers.members[leaves].name.clone();
    let began = Instant::now();
    clients[leaves]
        .agent_leave(&management)
        .await
        .expect("left");
    assert!(
        began.elapsed() < Duration::from_secs(40),
        "{:?}",
        began.elapsed()
    );
    let status = async |name: &str| {
        let members = clients[leads].members(&management).await.expect("members");
        let member = members.into_iter().find(|member| member.name == name);
        member.expect("a member").status
    };
    assert_eq!(status(&name).await, MemberStatus::Left);
    let raft = clients[leads]
        .raft_servers(&management)
        .await
        .expect("servers");
    assert_eq!(raft.len(), 2);
    let ended = servers.members[leaves]
        .running
        .wait()
        .await
        .expect("an end");
    assert!(ended.success(), "{ended}");
    let error = clients[leaves].leader().await.expect_err("it ended");
    assert!(matches!(error, ApiError::Unreachable { .. }), "{error}");

    // Of two servers, one that is killed takes the quorum with it.
    let name = servers.members[killed].name.clone();
    servers.members[killed].running.kill().await;
    until("an unhealthy server", async || {
        match clients[leads].autopilot_health(&management).await {
            Ok(health) if !health.is_healthy => Ok(()),
            Ok(_) => Err("healthy".to_owned()),
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                // Without a leader, Consul answers this with 500.
                Ok(())
            }
        }
    })
    .await;
    until("the failed member", async || match status(&name).await {
        MemberStatus::Failed => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    until("the end of the leader", async || {
        match clients[leads].leader().await {
            Ok(None) => Ok(()),
            Ok(Some(leader)) => Err(leader),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    let error = clients[leads]
        .kv_get(&management, "a")
        .await
        .err()
        .expect("no leader");
    assert!(error.is_transient(), "{error}");
}

/// A Vault node on loopback, which stores in the first Consul server.
struct VaultNode {
    client: vault::Client,
    base: String,
    running: Running,
}

impl VaultNode {
    /// Starts a node, and waits until it answers.
    async fn start(servers: &Servers, name: &str) -> Self {
        let listener = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [address, cluster] = listener.map(|listener| listener.local_addr().expect("bound"));
        let folder = servers.folder();
        servers.certify(name);
        let consul = servers.members[0].address.port();
        let mut config = vault_config(folder, name, address.port(), consul);
        // Other nodes forward requests there.
        config["cluster_addr"] = json!(format!("https://{cluster}"));
        config["listener"][0]["tcp"]["cluster_address"] = json!(cluster.to_string());
        let file = folder.join(format!("{name}.json"));
        fs::write(&file, config.to_string()).expect("a file");
        let running = Program::new(folder.join("vault"))
            .arg("server")
            .arg(format!("-config={}", file.display()))
            .env("CONSUL_HTTP_TOKEN", servers.management.expose())
            .start()
            .expect("Vault starts");
        let endpoint = Endpoint {
            address,
            server_name: "vault.service.consul".to_owned(),
            network: Network::host(),
        };
        let client = vault::Client::new(&endpoint, &servers.tls(false)).expect("a client");
        let node = Self {
            client,
            base: format!("https://{address}"),
            running,
        };
        until("an answer", async || {
            let health = node.client.health().await;
            let lines = || node.running.last_lines().join("\n");
            health.map_err(|error| format!("{error}: {}", lines()))
        })
        .await;
        node
    }

    async fn wait_for(&self, state: NodeState) {
        until(&format!("{state:?}"), async || {
            match self.client.health().await {
                Ok(health) if health.state == state => Ok(()),
                Ok(health) => Err(format!("{:?}", health.state)),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }
}

/// Returns `share` with other bits, in a valid form.
fn wrong(share: &Secret) -> Secret {
    let mut bytes = STANDARD.decode(share.expose()).expect("base64");
    bytes[3] ^= 0x55;
    Secret::new(STANDARD.encode(bytes))
}

/// Calls `request` until it does not fail for a reason that passes.
async fn patiently<T>(request: impl AsyncFn() -> Result<T, ApiError>) -> T {
    until("an answer", async || match request().await {
        Ok(value) => Ok(value),
        Err(error) if error.is_transient() => Err(error.to_string()),
        Err(error) => panic!("{error}"),
    })
    .await
}

#[tokio::test]
async fn vault_is_initialized_unsealed_configured_and_used() {
    let Some(mirror) = mirror().await else { return };
    let servers = Servers::start(&mirror, 1).await;
    servers.install_vault(&mirror).await;
    servers.wait_for_acls().await;
    let first = VaultNode::start(&servers, "vault-1").await;
    let second = VaultNode::start(&servers, "vault-2").await;
    let made = unsealed(&first, &second).await;
    are_in_consul(&servers, &first).await;
    bootstrapped(&first, &second, &made).await;
}

/// Initializes and unseals both nodes.
async fn unsealed(first: &VaultNode, second: &VaultNode) -> InitOutput {
    let health = first.client.health().await.expect("its health");
    assert_eq!(
        (health.state, health.status_code),
        (NodeState::Uninitialized, 501)
    );
    assert_eq!((health.cluster_id, health.cluster_name), (None, None));
    let seal = first.client.seal_status().await.expect("its seal");
    assert!(!seal.is_initialized && seal.is_sealed);

    let request = |threshold| InitRequest {
        kind: KeyKind::Unseal,
        shares: 3,
        threshold,
        pgp_keys: &[],
    };
    let error = first
        .client
        .init(&request(4))
        .await
        .err()
        .expect("too many");
    assert_eq!(status_of(&error), Some(400), "{error}");
    let made = first.client.init(&request(2)).await.expect("secrets");
    assert_eq!(made.keys.len(), 3);
    let again = second.client.init(&request(2)).await.err().expect("it has");
    assert_eq!(
        (status_of(&again), again.is_transient()),
        (Some(400), false),
        "{again}"
    );
    first.wait_for(NodeState::Sealed).await;
    for sealed in [
        first.client.leader().await.expect_err("sealed"),
        first
            .client
            .lookup_self(&made.root_token)
            .await
            .expect_err("sealed"),
    ] {
        assert_eq!(
            (status_of(&sealed), sealed.is_transient()),
            (Some(503), false),
            "{sealed}"
        );
        assert_eq!(sealed.hint().as_deref(), Some("Unseal the node."));
    }
    let bad = wrong(&made.keys[1]);
    let counted = first.client.unseal(&bad).await.expect("it counts at first");
    assert_eq!((counted.progress, counted.is_sealed), (1, true));
    let error = first
        .client
        .unseal(&made.keys[0])
        .await
        .expect_err("a wrong share");
    assert_eq!(
        (status_of(&error), error.is_transient()),
        (Some(400), false),
        "{error}"
    );
    assert!(
        !error.to_string().contains(made.keys[0].expose()),
        "{error}"
    );

    for (node, state) in [(first, NodeState::Active), (second, NodeState::Standby)] {
        let one = node.client.unseal(&made.keys[0]).await.expect("progress");
        assert_eq!((one.progress, one.threshold, one.shares), (1, 2, 3));
        let none = node.client.reset_unseal().await.expect("a reset");
        assert_eq!((none.progress, none.is_sealed), (0, true));
        node.client.unseal(&made.keys[0]).await.expect("progress");
        let done = node.client.unseal(&made.keys[2]).await.expect("progress");
        assert!(!done.is_sealed && done.cluster_id.is_some());
        node.wait_for(state).await;
    }
    let of = async |node: &VaultNode| node.client.health().await.expect("its health");
    let (one, two) = (of(first).await, of(second).await);
    assert!(one.cluster_id.is_some() && one.cluster_id == two.cluster_id);
    assert_eq!((one.status_code, two.status_code), (200, 429));
    let leader = second.client.leader().await.expect("the leader");
    let address = leader.address.as_deref();
    assert_eq!(
        (leader.is_self, address),
        (false, Some(first.base.as_str()))
    );
    assert!(first.client.leader().await.expect("the leader").is_self);
    made
}

/// The lock and the services that Vault registers at its agent.
async fn are_in_consul(servers: &Servers, active: &VaultNode) {
    let (client, management) = (servers.client(0), &servers.management);
    let holder = client.lock_holder(management, "vault/core/lock").await;
    assert_eq!(holder.expect("an answer").as_deref(), Some("consul-1"));
    let port = active.base.rsplit(':').next().expect("a port").to_owned();
    until("both services", async || {
        let found = client
            .service_health(management, "vault")
            .await
            .expect("a list");
        let is_active = |instance: &&consul::ServiceInstance| {
            instance.tags.iter().any(|tag| tag == "active") && instance.is_passing
        };
        let active: Vec<_> = found.iter().filter(is_active).collect();
        if found.len() == 2 && active.len() == 1 && active[0].port.to_string() == port {
            return Ok(());
        }
        Err(format!("{found:?}"))
    })
    .await;
}

/// Configures the cluster with the root token, and then revokes it.
async fn bootstrapped(first: &VaultNode, second: &VaultNode, made: &InitOutput) {
    let (client, root) = (&first.client, &made.root_token);
    let own = client.lookup_self(root).await.expect("the token");
    assert_eq!((own.policies, own.ttl_s), (vec!["root".to_owned()], 0));
    let error = client
        .lookup_self(&Secret::new("hvs.wrong"))
        .await
        .expect_err("a wrong token");
    assert_eq!(
        (status_of(&error), error.is_transient()),
        (Some(403), false),
        "{error}"
    );

    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("audit.log").display().to_string();
    let audit = async |path: &str, file: &str| client.enable_file_audit(root, path, file).await;
    assert_eq!(
        audit("file", &log).await.expect("a device"),
        Change::Created
    );
    assert_eq!(
        audit("file", &log).await.expect("a device"),
        Change::Unchanged
    );
    let error = audit("file", "/other").await.expect_err("another file");
    assert!(matches!(error, ApiError::Conflict { .. }), "{error}");
    let error = audit("bad", "/proc/nonexistent")
        .await
        .expect_err("no file");
    assert_eq!(
        (status_of(&error), error.is_transient()),
        (Some(400), false),
        "{error}"
    );
    let devices = client.audit_devices(root).await.expect("devices");
    assert_eq!(devices.keys().collect::<Vec<_>>(), ["file/"]);

    let kv = |path, version| KvMount { path, version };
    for (kv, other) in [
        (kv("secret", KvVersion::V2), KvVersion::V1),
        (kv("old", KvVersion::V1), KvVersion::V2),
    ] {
        assert_eq!(
            client.enable_kv(root, kv).await.expect("a mount"),
            Change::Created
        );
        assert_eq!(
            client.enable_kv(root, kv).await.expect("a mount"),
            Change::Unchanged
        );
        let other = KvMount {
            version: other,
            ..kv
        };
        let error = client
            .enable_kv(root, other)
            .await
            .expect_err("another version");
        assert!(matches!(error, ApiError::Conflict { .. }), "{error}");
        let value = json!({"word": "kept"});
        patiently(async || client.kv_put(root, kv, "a/b c", &value).await).await;
        let read = async |key| client.kv_get(root, kv, key).await.expect("an answer");
        assert_eq!(read("a/b c").await, Some(value));
        assert_eq!(read("a/d").await, None);
    }
    let nowhere = kv("nowhere", KvVersion::V1);
    let error = client
        .kv_get(root, nowhere, "a")
        .await
        .expect_err("no engine");
    assert_eq!(status_of(&error), Some(404), "{error}");

    let rules = "path \"secret/data/*\" { capabilities = [\"read\"] }\npath \"sys/ha-status\" { capabilities = [\"read\"] }";
    for _ in 0..2 {
        client
            .put_policy(root, "canary", rules)
            .await
            .expect("a policy");
    }
    let error = client
        .put_policy(root, "canary", "no rules {")
        .await
        .expect_err("no HCL");
    assert_eq!(status_of(&error), Some(400), "{error}");
    let request = TokenRequest {
        display_name: "rollout",
        policies: &["canary"],
        period: Duration::from_secs(3600),
    };
    let token = client.create_token(root, &request).await.expect("a token");
    client.revoke_self(root).await.expect("revoked");
    let error = client.lookup_self(root).await.expect_err("it is revoked");
    assert_eq!(status_of(&error), Some(403), "{error}");

    // The new token outlives the root token, has its rights and no other.
    let own = client.lookup_self(&token).await.expect("the token");
    assert_eq!(
        (own.display_name.as_str(), own.is_orphan),
        ("token-rollout", true)
    );
    assert_eq!(own.period_s, Some(3600));
    assert!(
        own.policies.contains(&"canary".to_owned()),
        "{:?}",
        own.policies
    );
    let secret = kv("secret", KvVersion::V2);
    let read = client
        .kv_get(&token, secret, "a/b c")
        .await
        .expect("an answer");
    assert_eq!(read, Some(json!({"word": "kept"})));
    let error = client
        .kv_put(&token, secret, "a", &json!({}))
        .await
        .expect_err("no right");
    assert_eq!(
        (status_of(&error), error.is_transient()),
        (Some(403), false),
        "{error}"
    );
    let nodes = until("both nodes", async || {
        let nodes = client.ha_status(&token).await.expect("nodes");
        let count = nodes.len();
        if count == 2 {
            Ok(nodes)
        } else {
            Err(format!("{count}"))
        }
    })
    .await;
    for node in nodes {
        assert_eq!(node.is_active, node.api_address == first.base);
        assert_eq!(node.last_echo.is_none(), node.is_active);
        assert!(node.version.is_some());
    }
    // A standby forwards, or names the active node.
    match second.client.lookup_self(&token).await {
        Ok(own) => assert!(own.is_orphan),
        Err(ApiError::Standby { active, .. }) => assert_eq!(active.as_ref(), Some(&first.base)),
        Err(error) => panic!("{error}"),
    }
    client.revoke_self(&token).await.expect("revoked");
    client.lookup_self(&token).await.expect_err("it is revoked");
}
