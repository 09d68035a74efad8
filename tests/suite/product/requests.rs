//! The requests that each call sends: method, path, headers and body.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use vault_bake::product::vault::{InitRequest, KeyKind, KvMount, KvVersion, TokenRequest};
use vault_bake::product::{ApiError, Change, consul};
use vault_bake::secret::Secret;

use super::mock::{MockServer, answer};
use super::token;

/// Starts a server that gives these answers in order.
fn scripted(answers: &[(u16, Value)]) -> MockServer {
    let answers = Mutex::new(answers.to_vec());
    MockServer::start(move |_, to| {
        let mut answers = answers.lock().unwrap();
        let (status, body) = if answers.is_empty() {
            (599, Value::Null)
        } else {
            answers.remove(0)
        };
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        answer(to, status, &[], &body);
    })
}

/// Returns the requests of a call, without headers that all have.
fn transcript(name: &str, server: &MockServer) -> String {
    let mut lines = vec![format!("{name}:")];
    for request in server.requests() {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let mut head = head.split("\r\n");
        lines.push(
            format!("  {} {body}", head.next().unwrap())
                .trim_end()
                .to_owned(),
        );
        for header in head {
            let name = header.split(": ").next().unwrap();
            if !["accept", "user-agent", "host", "content-length"].contains(&name) {
                lines.push(format!("    {header}"));
            }
        }
    }
    lines.join("\n")
}

#[tokio::test]
async fn calls_of_vault_send_what_its_api_documents() {
    let (token, share) = (token(), Secret::new("c2hhcmU="));
    let mut table = Vec::new();
    let done = || (204, Value::Null);

    let server = scripted(&[(200, json!({"keys_base64": ["a", "b"], "root_token": "r"}))]);
    let keys = ["cGdw".to_owned(), "cGdw".to_owned()];
    let mut request = InitRequest {
        kind: KeyKind::Unseal,
        shares: 2,
        threshold: 1,
        pgp_keys: &keys,
    };
    let made = server.vault().init(&request).await.unwrap();
    assert_eq!((made.keys.len(), made.root_token.expose()), (2, "r"));
    table.push(transcript("init", &server));
    let made = json!({"keys_base64": [], "recovery_keys_base64": ["a", "b"], "root_token": "r"});
    let server = scripted(&[(200, made)]);
    request.kind = KeyKind::Recovery;
    server.vault().init(&request).await.unwrap();
    table.push(transcript(
        "init with a seal that unseals by itself",
        &server,
    ));

    let seal = json!({"type": "shamir", "initialized": true, "sealed": true, "t": 3, "n": 5, "progress": 1});
    let server = scripted(&[(200, seal.clone()), (200, seal)]);
    let status = server.vault().unseal(&share).await.unwrap();
    assert_eq!(
        (status.threshold, status.shares, status.progress),
        (3, 5, 1)
    );
    server.vault().reset_unseal().await.unwrap();
    table.push(transcript("unseal", &server));

    let server = scripted(&[done()]);
    server
        .vault()
        .put_policy(&token, "canary", "path \"a\" {}")
        .await
        .unwrap();
    table.push(transcript("put_policy", &server));
    let server = scripted(&[(200, json!({"auth": {"client_token": "new"}}))]);
    let request = TokenRequest {
        display_name: "rollout",
        policies: &["canary"],
        period: Duration::from_secs(3600),
    };
    let created = server.vault().create_token(&token, &request).await.unwrap();
    assert_eq!(created.expose(), "new");
    table.push(transcript("create_token", &server));
    let server = scripted(&[done()]);
    server.vault().revoke_self(&token).await.unwrap();
    table.push(transcript("revoke_self", &server));

    let server = scripted(&[(200, json!({"data": {}})), done()]);
    let change = server
        .vault()
        .enable_file_audit(&token, "file", "/var/log/audit")
        .await;
    assert_eq!(change.unwrap(), Change::Created);
    table.push(transcript("enable_file_audit", &server));
    let secret = KvMount {
        path: "secret",
        version: KvVersion::V2,
    };
    let server = scripted(&[(200, json!({"data": {}})), done()]);
    let change = server.vault().enable_kv(&token, secret).await.unwrap();
    assert_eq!(change, Change::Created);
    table.push(transcript("enable_kv", &server));

    for version in [KvVersion::V1, KvVersion::V2] {
        let kv = KvMount { version, ..secret };
        let stored = match version {
            KvVersion::V1 => json!({"data": {"a": "b"}}),
            KvVersion::V2 => json!({"data": {"data": {"a": "b"}, "metadata": {"version": 1}}}),
        };
        let server = scripted(&[done(), (200, stored), (404, json!({"errors": []}))]);
        let client = server.vault();
        client
            .kv_put(&token, kv, "a/b c", &json!({"a": "b"}))
            .await
            .unwrap();
        let read = client.kv_get(&token, kv, "a/b c").await.unwrap();
        assert_eq!(read, Some(json!({"a": "b"})));
        assert_eq!(client.kv_get(&token, kv, "none").await.unwrap(), None);
        table.push(transcript(&format!("kv {version:?}"), &server));
    }
    insta::assert_snapshot!(table.join("\n\n"));
}

/// No secret and no engine are both 404.
#[tokio::test]
async fn a_secret_is_absent_only_if_its_engine_is_there() {
    let kv = KvMount {
        path: "secret",
        version: KvVersion::V2,
    };
    let deleted = json!({"data": {"data": null, "metadata": {"version": 2}}, "warnings": null});
    for absent in [json!({"errors": []}), deleted] {
        let server = scripted(&[(404, absent)]);
        let read = server.vault().kv_get(&token(), kv, "a").await.unwrap();
        assert_eq!(read, None);
    }
    let no_engine = json!({"errors": ["no handler for route \"x/y\". route entry not found."]});
    let other_version =
        json!({"data": null, "warnings": ["Invalid path for a versioned K/V secrets engine."]});
    for refusal in [no_engine, other_version] {
        let server = scripted(&[(404, refusal)]);
        let error = server.vault().kv_get(&token(), kv, "a").await.unwrap_err();
        assert!(
            matches!(error, ApiError::Status { status: 404, .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_exists_as_requested_is_not_made_again() {
    let token = token();
    let secret = KvMount {
        path: "secret/",
        version: KvVersion::V2,
    };
    let mount = |kind: &str, version: &str| json!({"data": {"secret/": {"type": kind, "options": {"version": version}}}});
    let server = scripted(&[
        (200, mount("kv", "2")),
        (200, mount("kv", "1")),
        (200, mount("pki", "2")),
        (
            200,
            json!({"data": {"secret/": {"type": "kv", "options": null}}}),
        ),
    ]);
    let client = server.vault();
    assert_eq!(
        client.enable_kv(&token, secret).await.unwrap(),
        Change::Unchanged
    );
    for _ in 0..3 {
        let error = client.enable_kv(&token, secret).await.unwrap_err();
        assert!(matches!(error, ApiError::Conflict { .. }), "{error}");
    }
    let device = |kind: &str, path: &str| json!({"data": {"file/": {"type": kind, "options": {"file_path": path}}}});
    let server = scripted(&[
        (200, device("file", "/a")),
        (200, device("file", "/b")),
        (200, device("socket", "/a")),
    ]);
    let client = server.vault();
    let change = client
        .enable_file_audit(&token, "file/", "/a")
        .await
        .unwrap();
    assert_eq!(change, Change::Unchanged);
    for _ in 0..2 {
        let error = client
            .enable_file_audit(&token, "file", "/a")
            .await
            .unwrap_err();
        assert!(matches!(error, ApiError::Conflict { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_token_with_another_secret_is_a_conflict() {
    let accessor = "8a8ef2f4-6d3c-4a1e-9a55-111111111111";
    let existing = json!({"AccessorID": accessor, "SecretID": "another", "Description": "d"});
    let server = scripted(&[(200, json!([existing])), (200, existing.clone())]);
    let secret = Secret::new("8a8ef2f4-6d3c-4a1e-9a55-222222222222");
    let request = consul::TokenRequest {
        accessor,
        secret: &secret,
        description: "agent of consul-1",
        policies: &["agent"],
    };
    let error = server
        .consul()
        .put_token(&token(), &request)
        .await
        .unwrap_err();
    assert_eq!(
        server.normalize(&error),
        "cannot write the token agent of consul-1: it exists with another secret (Consul at ADDRESS)"
    );
}

/// A session that ended between two reads is no holder; one that the token may not see is an error.
#[tokio::test]
async fn a_lock_without_a_visible_session_is_read_again() {
    let entry = |session: &str| json!([{"Value": "aWQ=", "Session": session, "ModifyIndex": 3}]);
    let ended = scripted(&[(200, entry("s1")), (200, json!([])), (200, entry("s2"))]);
    let holder = ended
        .consul()
        .lock_holder(&token(), "vault/core/lock")
        .await;
    assert_eq!(holder.unwrap(), None);
    let hidden = scripted(&[(200, entry("s1")), (200, json!([])), (200, entry("s1"))]);
    let error = hidden
        .consul()
        .lock_holder(&token(), "vault/core/lock")
        .await
        .unwrap_err();
    assert!(matches!(error, ApiError::NoRights { .. }), "{error}");
    let free = scripted(&[(200, json!([{"Value": null, "ModifyIndex": 3}]))]);
    assert_eq!(
        free.consul()
            .lock_holder(&token(), "vault/core/lock")
            .await
            .unwrap(),
        None
    );
    let absent = scripted(&[(404, Value::Null)]);
    assert_eq!(
        absent
            .consul()
            .lock_holder(&token(), "vault/core/lock")
            .await
            .unwrap(),
        None
    );
    insta::assert_snapshot!(transcript("lock_holder", &hidden));
}

#[tokio::test]
async fn a_configuration_that_changed_meanwhile_is_a_conflict() {
    let configuration = json!({
        "CleanupDeadServers": true, "LastContactThreshold": "200ms", "MaxTrailingLogs": 250,
        "MinQuorum": 0, "ServerStabilizationTime": "1m30s", "NewField": 7,
        "CreateIndex": 5, "ModifyIndex": 6,
    });
    let server = scripted(&[(200, configuration), (200, json!(false))]);
    let error = server
        .consul()
        .set_min_quorum(&token(), 3)
        .await
        .unwrap_err();
    assert!(matches!(error, ApiError::Conflict { .. }), "{error}");
    insta::assert_snapshot!(transcript("set_min_quorum", &server));
}
