//! What the start of a cluster and a client need of the stub, with the answers of Vault 1.14.9.

use std::fs;
use std::path::Path;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use vault_bake::event::Events;
use vault_bake::wait::{Interrupt, Poll, Wait};

use super::lab::{Lab, Node, mirror};

const DENIED: &str = "1 error occurred: permission denied";

/// Returns a cluster with one unsealed node, and what its initialisation returned.
async fn started(mirror: &Path) -> (Lab, Node, Value, String) {
    let lab = Lab::start(mirror).await;
    let node = lab.vault("vault-1").await;
    let wanted = json!({"secret_shares": 3, "secret_threshold": 2});
    let made = node.done(&lab, Method::PUT, "sys/init", "", &wanted).await;
    node.unseal(&lab, &made).await;
    node.wait_for_health(&lab, 200).await;
    let root = text(&made["root_token"]);
    (lab, node, made, root)
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// Mounts version 2 of `kv`, and waits until it takes requests.
async fn mount(lab: &Lab, node: &Node, root: &str, path: &str) {
    let kind = json!({"type": "kv", "options": {"version": "2"}});
    node.done(
        lab,
        Method::POST,
        &format!("sys/mounts/{path}"),
        root,
        &kind,
    )
    .await;
    // As with Vault, it may refuse requests at first.
    let config = format!("{path}/config");
    wait_for_status(lab, node, &config, root, 200).await;
}

async fn wait_for_status(lab: &Lab, node: &Node, path: &str, token: &str, wanted: u16) {
    Wait::new(format!("{wanted} from {path}"), Duration::from_secs(30))
        .until(&Events::silent(), &Interrupt::default(), || async {
            let (status, _) = node.send(lab, Method::GET, path, token, &Value::Null).await;
            if status.as_u16() == wanted {
                Poll::<_, String>::Ready(())
            } else {
                Poll::NotYet(status.to_string())
            }
        })
        .await
        .expect("the status");
}

#[tokio::test]
async fn the_stub_takes_shares_as_vault_does() {
    let Some(mirror) = mirror().await else { return };
    let lab = Lab::start(&mirror).await;
    let node = lab.vault("vault-1").await;
    let refused = [
        (json!({}), "shares must be at least one"),
        (
            json!({"secret_shares": 1, "secret_threshold": 2}),
            "threshold cannot be larger than shares",
        ),
        (
            json!({"secret_shares": 5, "secret_threshold": 1}),
            "threshold must be greater than one for multiple shares",
        ),
        (
            json!({"secret_shares": 2, "secret_threshold": 2, "pgp_keys": ["a"]}),
            "incorrect number of PGP keys",
        ),
        (
            json!({"secret_shares": 1, "secret_threshold": 1, "pgp_keys": ["a"]}),
            "this stub supports no `pgp_keys`",
        ),
    ];
    for (wanted, words) in &refused {
        let (status, error) = node
            .refusal(&lab, Method::PUT, "sys/init", "", wanted)
            .await;
        assert_eq!(status, 400);
        assert!(error.contains(words), "expected {words}, found {error}");
    }
    let key = |key: &str| json!({"key": key});
    let early = node
        .refusal(&lab, Method::PUT, "sys/unseal", "", &key(&"00".repeat(33)))
        .await;
    assert_eq!(early, (400, "Vault is not initialized".to_owned()));

    let wanted = json!({"secret_shares": 3, "secret_threshold": 2});
    let made = node.done(&lab, Method::PUT, "sys/init", "", &wanted).await;
    let again = node
        .refusal(&lab, Method::PUT, "sys/init", "", &wanted)
        .await;
    assert_eq!(again, (400, "Vault is already initialized".to_owned()));
    let short = node
        .refusal(&lab, Method::PUT, "sys/unseal", "", &key("0011"))
        .await;
    assert_eq!(short.1, "invalid key: key is shorter than minimum 16 bytes");

    // A wrong share counts; only enough of them show that.
    let wrong = key(&"11".repeat(33));
    for _ in 0..2 {
        let status = node.done(&lab, Method::PUT, "sys/unseal", "", &wrong).await;
        assert_eq!(status["progress"], 1, "a share counts once");
    }
    let right = key(&text(&made["keys"][0]));
    let (status, error) = node
        .refusal(&lab, Method::PUT, "sys/unseal", "", &right)
        .await;
    assert_eq!(status, 400);
    assert!(error.contains("invalid key"), "{error}");
    let first = node.done(&lab, Method::PUT, "sys/unseal", "", &right).await;
    assert_eq!(
        (&first["sealed"], &first["progress"]),
        (&json!(true), &json!(1))
    );
    let reset = json!({"reset": true});
    let reset = node.done(&lab, Method::PUT, "sys/unseal", "", &reset).await;
    assert_eq!(reset["progress"], 0);
    node.unseal(&lab, &made).await;
    node.wait_for_health(&lab, 200).await;
}

#[tokio::test]
async fn the_stub_serves_the_start_of_a_cluster() {
    let Some(mirror) = mirror().await else { return };
    let (lab, mut first, made, root) = started(&mirror).await;
    let second = lab.vault("vault-2").await;
    second.unseal(&lab, &made).await;
    second.wait_for_health(&lab, 429).await;

    let log = lab.folder.path().join("audit/vault.log");
    let device = json!({"type": "file", "options": {"file_path": log}});
    let bad = json!({"type": "file", "options": {"file_path": "/dev/full"}});
    let (status, error) = first
        .refusal(&lab, Method::PUT, "sys/audit/file", &root, &bad)
        .await;
    assert_eq!(status, 400);
    assert!(
        error.starts_with("audit backend failed test message"),
        "{error}"
    );
    first
        .done(&lab, Method::PUT, "sys/audit/file", &root, &device)
        .await;
    let again = first
        .refusal(&lab, Method::PUT, "sys/audit/file", &root, &device)
        .await;
    assert_eq!(again, (400, "path already in use".to_owned()));
    mount(&lab, &first, &root, "team/kv").await;
    let nested = json!({"type": "kv"});
    let nested = first
        .refusal(&lab, Method::POST, "sys/mounts/team/kv/b", &root, &nested)
        .await;
    assert_eq!(nested.1, "path is already in use at team/kv/");
    let rules = "path \"team/kv/data/app/*\" { capabilities = [\"create\", \"read\"] }";
    first
        .done(
            &lab,
            Method::PUT,
            "sys/policies/acl/app",
            &root,
            &json!({ "policy": rules }),
        )
        .await;
    let create = async |wanted: Value| {
        let made = first
            .done(&lab, Method::POST, "auth/token/create", &root, &wanted)
            .await;
        text(&made["auth"]["client_token"])
    };
    let orphan = create(json!({"policies": ["app"], "period": "24h", "no_parent": true})).await;
    let child = create(json!({"policies": ["app"], "ttl": "1h"})).await;
    let own = first
        .done(
            &lab,
            Method::GET,
            "auth/token/lookup-self",
            &orphan,
            &Value::Null,
        )
        .await;
    assert_eq!(
        (&own["data"]["period"], &own["data"]["orphan"]),
        (&json!(86400), &json!(true))
    );
    assert_eq!(own["data"]["policies"], json!(["app", "default"]));

    // The policy permits to create and read, but not to update, list or administrate.
    let secret = json!({"data": {"password": "a-value-that-is-secret"}});
    let at = "team/kv/data/app/db";
    first.done(&lab, Method::PUT, at, &orphan, &secret).await;
    first
        .done(&lab, Method::GET, at, &child, &Value::Null)
        .await;
    let update = first.refusal(&lab, Method::PUT, at, &orphan, &secret).await;
    assert_eq!(update, (403, DENIED.to_owned()));
    for path in [
        "team/kv/metadata/app?list=true",
        "sys/mounts",
        "sys/audit",
        "x/y",
    ] {
        let denied = first
            .refusal(&lab, Method::GET, path, &orphan, &Value::Null)
            .await;
        assert_eq!(denied, (403, DENIED.to_owned()), "{path}");
    }
    let visible = "sys/internal/ui/mounts/team/kv/app/db";
    let visible = first
        .done(&lab, Method::GET, visible, &orphan, &Value::Null)
        .await;
    assert_eq!(visible["data"]["path"], "team/kv/");
    let members = first
        .done(&lab, Method::GET, "sys/ha-status", &root, &Value::Null)
        .await;
    let members = members["data"]["nodes"].as_array().expect("nodes");
    assert_eq!(members.len(), 2, "{members:?}");

    first
        .done(
            &lab,
            Method::POST,
            "auth/token/revoke-self",
            &root,
            &Value::Null,
        )
        .await;
    let revoked = (403, "permission denied".to_owned());
    for token in [&root, &child] {
        let refused = first
            .refusal(&lab, Method::GET, at, token, &Value::Null)
            .await;
        assert_eq!(refused, revoked, "a child ends with its parent");
    }
    entries_are_complete_and_without_secrets(&log, &[&root, &orphan, &child]);

    // The other node takes over with the same tokens, policies and secrets.
    first.signal(rustix::process::Signal::TERM);
    first.running.wait().await.expect("it ends");
    second.wait_for_health(&lab, 200).await;
    let refused = second
        .refusal(&lab, Method::GET, "sys/mounts", &root, &Value::Null)
        .await;
    assert_eq!(refused, revoked);
    let read = second
        .done(&lab, Method::GET, at, &orphan, &Value::Null)
        .await;
    assert_eq!(read["data"]["data"], secret["data"]);
    entries_are_complete_and_without_secrets(&log, &[&root, &orphan, &child]);
    let kept = lab.consul(&["kv", "export", "vault/"]).await;
    assert!(kept.contains("vault/sys/token/"), "{kept}");
    for token in [&root, &orphan, &child] {
        let encoded = openssl::base64::encode_block(token.as_bytes());
        let part = encoded.get(4..24).expect("a part");
        assert!(!kept.contains(token.as_str()) && !kept.contains(part));
    }
    let services = lab.consul(&["catalog", "services", "-tags"]).await;
    let vault = services.lines().find(|line| line.starts_with("vault"));
    let tags: Vec<_> = vault.into_iter().flat_map(str::split_whitespace).collect();
    assert_eq!(tags, ["vault", "active,initialized"], "the ended node left");
}

/// Checks that requests have two entries, and no entry has a token or a secret.
fn entries_are_complete_and_without_secrets(log: &Path, tokens: &[&String]) {
    let content = fs::read_to_string(log).expect("the log");
    for secret in tokens.iter().map(|token| token.as_str()) {
        assert!(!content.contains(secret), "a token");
    }
    assert!(!content.contains("a-value-that-is-secret"));
    let entries: Vec<Value> = content
        .lines()
        .map(|line| serde_json::from_str(line).expect("an entry"))
        .collect();
    let of = |kind: &str, path: &str| {
        let matching = |entry: &&Value| entry["type"] == kind && entry["request"]["path"] == path;
        entries.iter().filter(matching).count()
    };
    let path = "team/kv/data/app/db";
    assert!(of("request", path) >= 3);
    assert_eq!(of("request", path), of("response", path));
    let denied = |entry: &&Value| {
        entry["error"]
            .as_str()
            .is_some_and(|error| error.contains("denied"))
    };
    assert!(entries.iter().any(|entry| denied(&entry)));
}

#[tokio::test]
async fn without_an_audit_entry_the_stub_answers_nothing() {
    let Some(mirror) = mirror().await else { return };
    let (lab, first, made, root) = started(&mirror).await;
    let second = lab.vault("vault-2").await;
    second.unseal(&lab, &made).await;
    second.wait_for_health(&lab, 429).await;
    let folder = lab.folder.path().join("audit");
    let away = lab.folder.path().join("away");
    let device = json!({"type": "file", "options": {"file_path": folder.join("vault.log")}});
    first
        .done(&lab, Method::PUT, "sys/audit/file", &root, &device)
        .await;

    // A file in place of the folder: opened again, the log cannot be written.
    fs::rename(&folder, &away).expect("it moves");
    fs::write(&folder, "").expect("a file");
    first.signal(rustix::process::Signal::HUP);
    wait_for_status(&lab, &first, "sys/mounts", &root, 500).await;
    let refused = first
        .refusal(&lab, Method::DELETE, "sys/audit/file", &root, &Value::Null)
        .await;
    assert_eq!(refused, (500, "internal error".to_owned()));
    assert_eq!(first.health(&lab, "").await, 200, "as with Vault");
    let (status, _) = first
        .send(&lab, Method::PUT, "sys/step-down", &root, &Value::Null)
        .await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);

    // A node that cannot write the log does not become active.
    let first = lab.restart("vault-1", first).await;
    first.unseal(&lab, &made).await;
    first.wait_for_health(&lab, 429).await;
    let nodes = [&first, &second];
    wait_for_active(&lab, nodes, Duration::from_secs(3))
        .await
        .expect_err("neither can write the log");
    for node in nodes {
        assert_eq!(node.health(&lab, "").await, 429);
        // While a node tries to become active, others redirect to it.
        let error = "local node not active but active cluster node not found";
        Wait::new(error, Duration::from_secs(10))
            .until(&Events::silent(), &Interrupt::default(), || async {
                let refused = node
                    .refusal(&lab, Method::GET, "sys/mounts", &root, &Value::Null)
                    .await;
                if refused.1 == error {
                    Poll::<_, String>::Ready(())
                } else {
                    Poll::NotYet(format!("{refused:?}"))
                }
            })
            .await
            .expect("the error");
    }
    fs::remove_file(&folder).expect("it goes");
    fs::rename(&away, &folder).expect("it moves");
    wait_for_active(&lab, nodes, Duration::from_secs(30))
        .await
        .expect("an active node");
}

/// Waits until one of two nodes is active. Returns an error that names both if there is none.
async fn wait_for_active(lab: &Lab, nodes: [&Node; 2], at_most: Duration) -> Result<(), String> {
    let [first, second] = nodes;
    Wait::new("an active node", at_most)
        .until(&Events::silent(), &Interrupt::default(), || async {
            let health = [first.health(lab, "").await, second.health(lab, "").await];
            if health.contains(&200) {
                Poll::<_, String>::Ready(())
            } else {
                Poll::NotYet(format!("{health:?}"))
            }
        })
        .await
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_stub_keeps_versions_and_weighs_rules_as_vault_does() {
    let Some(mirror) = mirror().await else { return };
    let (lab, node, made, root) = started(&mirror).await;
    mount(&lab, &node, &root, "secret").await;
    let send = async |method: Method, path: &str, body: Value| {
        let (status, answer) = node.send(&lab, method, path, &root, &body).await;
        (status.as_u16(), answer)
    };
    for number in 1..=12 {
        let wanted = json!({"data": {"n": number}, "options": {"cas": number - 1}});
        let (status, answer) = send(Method::PUT, "secret/data/a", wanted).await;
        assert_eq!((status, &answer["data"]["version"]), (200, &json!(number)));
    }
    let stale = send(
        Method::PUT,
        "secret/data/a",
        json!({"data": {}, "options": {"cas": 1}}),
    )
    .await;
    assert_eq!(stale.0, 400, "{stale:?}");
    let get = async |path: &str| send(Method::GET, path, Value::Null).await;
    assert_eq!(get("secret/data/a").await.1["data"]["data"]["n"], 12);
    assert_eq!(
        get("secret/data/a?version=3").await.1["data"]["data"]["n"],
        3
    );
    assert_eq!(get("secret/data/a?version=2").await.0, 404, "10 are kept");
    assert_eq!(
        send(Method::DELETE, "secret/data/a", Value::Null).await.0,
        204
    );
    let (status, deleted) = get("secret/data/a").await;
    assert_eq!((status, &deleted["data"]["data"]), (404, &Value::Null));
    send(Method::POST, "secret/undelete/a", json!({"versions": [12]})).await;
    assert_eq!(get("secret/data/a").await.0, 200);
    send(Method::POST, "secret/destroy/a", json!({"versions": [12]})).await;
    let (status, destroyed) = get("secret/data/a").await;
    assert_eq!(
        (status, &destroyed["data"]["metadata"]["destroyed"]),
        (404, &json!(true))
    );
    send(Method::PUT, "secret/data/b/c", json!({"data": {}})).await;
    let (_, listed) = get("secret/metadata?list=true").await;
    assert_eq!(listed["data"]["keys"], json!(["a", "b/"]));
    send(Method::DELETE, "secret/metadata/a", Value::Null).await;
    assert_eq!(get("secret/metadata/a").await.0, 404);
    assert_eq!(get("secret/a").await.0, 404, "without `data/`");

    let rules = r#"
        # Comments, both forms of strings of rules, and wildcards.
        path "a/*"       { capabilities = ["read", "list"] }
        path "a/b/*"     { capabilities = ["deny"] }
        path "a/b/c"     { policy = "write" }
        path "a/+/x"     { capabilities = ["delete"] }
        path "a/+/x/*"   { capabilities = ["sudo", "update"], }
        path "c/+/x/*"   { capabilities = ["sudo", "update"] }
        path "c/+/+/*"   { capabilities = ["read"] }
        path "/d/+/+/e*" { capabilities = ["patch"] }"#;
    let json_rules = json!({"path": {"a/*": {"capabilities": ["create"]}}}).to_string();
    for (name, text) in [("hcl", rules), ("json", json_rules.as_str())] {
        let path = format!("sys/policies/acl/{name}");
        let (status, answer) = send(Method::PUT, &path, json!({ "policy": text })).await;
        assert_eq!(status, 204, "{answer}");
    }
    let bad = [
        (
            "path \"a\" { capabilities = [\"fly\"] }",
            "invalid capability \"fly\"",
        ),
        (
            "path \"a\" { capabilty = [\"read\"] }",
            "invalid key \"capabilty\"",
        ),
        ("paths \"a\" {}", "invalid key \"paths\""),
        ("path \"a+*\" {}", "invalid use of wildcards"),
        ("path \"a\" {", "failed to parse policy"),
        (
            "path \"a\" { allowed_parameters = { \"b\" = [] } }",
            "this stub supports no `allowed_parameters`",
        ),
    ];
    for (text, words) in bad {
        let (status, answer) = send(
            Method::PUT,
            "sys/policies/acl/bad",
            json!({ "policy": text }),
        )
        .await;
        assert_eq!(status, 400, "{text}");
        assert!(
            answer.to_string().replace('\\', "").contains(words),
            "{answer}"
        );
    }
    let wanted = json!({"policies": ["hcl", "json"]});
    let (_, token) = send(Method::POST, "auth/token/create", wanted).await;
    let token = text(&token["auth"]["client_token"]);
    let expected = [
        ("a/z", &["create", "list", "read"][..]),
        ("a/b/z", &["deny"]),
        ("a/b/c", &["create", "delete", "list", "read", "update"]),
        ("a/b/x", &["deny"]),
        ("a/z/x", &["delete"]),
        ("a/z/x/y", &["create", "list", "read"]),
        ("c/z/x/y", &["sudo", "update"]),
        ("c/z/y/x", &["read"]),
        ("d/1/2/e3/4", &["patch"]),
        ("d/1/e", &["deny"]),
        ("auth/token/lookup-self", &["read"]),
        ("sys/mounts", &["deny"]),
    ];
    let paths: Vec<_> = expected.iter().map(|(path, _)| path).collect();
    let found = node
        .done(
            &lab,
            Method::POST,
            "sys/capabilities-self",
            &token,
            &json!({ "paths": paths }),
        )
        .await;
    for (path, capabilities) in expected {
        assert_eq!(found["data"][path], json!(capabilities), "{path}");
    }

    // As with Vault, only a new start shows that the tree in Consul is gone.
    let sealed = lab.vault("vault-2").await;
    assert_eq!(sealed.health(&lab, "").await, 503);
    lab.consul(&["kv", "delete", "-recurse", "vault/"]).await;
    node.wait_for_health(&lab, 500).await;
    assert_eq!(sealed.health(&lab, "").await, 503);
    let again = json!({"secret_shares": 1, "secret_threshold": 1});
    let again = sealed
        .refusal(&lab, Method::PUT, "sys/init", "", &again)
        .await;
    assert_eq!(again.1, "Vault is already initialized");
    let sealed = lab.restart("vault-2", sealed).await;
    assert_eq!(sealed.health(&lab, "").await, 501);
    drop((node, made));
}
