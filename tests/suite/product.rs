//! The clients of Consul and Vault against servers that misbehave.
//! Tests with a real Consul are in `tests/real/products.rs`.

pub mod mock;
mod requests;
mod tls;

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use serde_json::json;
use vault_bake::network::Network;
use vault_bake::product::vault::{InitRequest, KeyKind, NodeState};
use vault_bake::product::{ApiError, Endpoint, consul};
use vault_bake::secret::Secret;

use mock::{Authority, MockServer, NAME, answer};

const TOKEN: &str = "hvs.CAESIJq7Kz-2m4vXWcT9nQdE8rLpYbGfH1sU6oZx3kM0iA5w";

fn token() -> Secret {
    Secret::new(TOKEN)
}

#[tokio::test]
async fn malformed_answers_are_errors_without_their_values() {
    let long = "[".repeat(100_000);
    let bodies = [
        "",
        "null",
        "{",
        "<html>not an API</html>",
        "{}",
        "{\"Servers\": {}}",
        "{\"Servers\": [null]}",
        "{\"Servers\": [{\"ID\": \"an-id\"}]}",
        "{\"Servers\": [{\"ID\": 7, \"Node\": \"hush-hush\"}]}",
        "{\"Servers\": \"hush-hush\"}",
        "{\"Servers\": []} hush-hush",
        &long,
    ];
    let mut table = Vec::new();
    for body in bodies {
        let server = MockServer::answering(200, body);
        let found = server.consul().raft_servers(&token()).await;
        let found = found.map_or_else(|error| server.normalize(&error), |list| format!("{list:?}"));
        assert!(!found.contains("hush-hush"), "{found}");
        table.push(format!("{body:.50}\n  {found}"));
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[tokio::test]
async fn secrets_of_a_malformed_answer_are_in_no_error() {
    let request = InitRequest {
        kind: KeyKind::Unseal,
        shares: 2,
        threshold: 2,
        pgp_keys: &[],
    };
    for body in [
        json!({"keys_base64": "hush-hush", "root_token": "hush-hush"}),
        json!({"keys_base64": ["hush-hush", "hush-hush"], "root_token": ["hush-hush"]}),
        json!({"keys_base64": ["hush-hush"], "root_token": "hush-hush"}),
        json!({"keys_base64": ["hush-hush", "hush-hush"]}),
        json!({"keys_base64": ["hush-hush", "hush-hush"], "root_token": ""}),
    ] {
        let server = MockServer::answering(200, body.to_string());
        let error = server.vault().init(&request).await.err().unwrap();
        assert!(matches!(error, ApiError::Malformed { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_by_size_and_by_time() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let endless = |head: &'static str, block: String| {
        MockServer::start(move |_, to| {
            let _ = to.write_all(head.as_bytes());
            while to.write_all(block.as_bytes()).is_ok() {}
        })
    };
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000));
    let server = endless(chunked, chunk);
    let error = server.consul().leader().await.unwrap_err();
    assert_eq!(
        server.normalize(&error),
        "cannot read the leader: malformed answer of Consul at ADDRESS: larger than 8 MiB"
    );
    let server = endless("HTTP/1.1 500 No\r\n\r\n", "no ".repeat(10_000));
    let error = server.consul().leader().await.unwrap_err();
    assert!(matches!(error, ApiError::Malformed { .. }), "{error}");
    let server = endless("HTTP/1.1 200 OK\r\n", "x: y\r\n".repeat(10_000));
    let error = server.consul().leader().await.unwrap_err();
    assert!(matches!(error, ApiError::Unreachable { .. }), "{error}");

    let drip = MockServer::start(|_, to| {
        let _ = to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n\"");
        while to.write_all(b" ").is_ok() {
            park_timeout(Duration::from_millis(20));
        }
    });
    let began = Instant::now();
    let client = drip.consul().with_limit(Duration::from_millis(500));
    let error = client.leader().await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(
        drip.normalize(&error),
        "cannot read the leader: no answer of Consul at ADDRESS: not complete after 0.5 s"
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let endpoint = Endpoint {
        address: testing::network::silent(),
        server_name: NAME.to_owned(),
        network: Network::host(),
    };
    let tls = MockServer::answering(200, "").tls();
    let client = consul::Client::new(&endpoint, &tls).unwrap();
    let client = client.with_limit(Duration::from_millis(300));
    let error = client.leader().await.unwrap_err();
    assert!(error.to_string().ends_with("after 0.3 s"), "{error}");
    assert!(error.is_transient() && error.hint().is_some());
}

#[tokio::test]
async fn a_dead_server_and_a_broken_connection_are_unreachable() {
    let mut server = MockServer::start(|_, _| {});
    let broken = server.consul().leader().await.unwrap_err();
    assert!(matches!(broken, ApiError::Unreachable { .. }), "{broken}");
    assert!(broken.is_transient());
    let short = MockServer::start(|_, to| {
        let _ = to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n\"");
    });
    let broken = short.consul().leader().await.unwrap_err();
    assert!(matches!(broken, ApiError::Unreachable { .. }), "{broken}");
    let garbage = MockServer::start(|_, to| {
        let _ = to.write_all(b"220 smtp.example ready\r\n");
    });
    let broken = garbage.consul().leader().await.unwrap_err();
    assert!(matches!(broken, ApiError::Unreachable { .. }), "{broken}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    server.address = listener.local_addr().unwrap();
    drop(listener);
    let refused = server.consul().leader().await.unwrap_err();
    assert_eq!(
        server.normalize(&refused),
        "cannot read the leader: no answer of Consul at ADDRESS: Connection refused (os error 111)"
    );
}

/// A repetition of a lost request could do the work twice.
#[tokio::test]
async fn a_request_without_an_answer_is_sent_once() {
    let server = MockServer::start(|_, _| {});
    let share = Secret::new("0123456789abcdef");
    server.vault().unseal(&share).await.err().unwrap();
    assert_eq!(server.requests().len(), 1);
    let refusing = MockServer::answering(503, "{\"errors\": [\"try later\"]}");
    refusing.vault().unseal(&share).await.err().unwrap();
    assert_eq!(refusing.requests().len(), 1);
}

#[tokio::test]
async fn texts_of_servers_have_no_control_characters_and_one_short_line() {
    let body = format!(
        "{} \u{1b}[2J\r\nrm \u{202e}-rf\0 \u{7f}end",
        "filler ".repeat(500)
    );
    let server = MockServer::answering(500, body);
    let error = server.consul().leader().await.unwrap_err();
    let ApiError::Status { status, text, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*status, 500);
    assert!(text.starts_with('…') && text.len() < 350, "{text}");
    assert!(text.ends_with(" ^[[2J rm <U+202E>-rf^@ ^?end"), "{text}");
    let unreadable = MockServer::start(|_, to| {
        let _ = to.write_all(b"HTTP/1.1 403 No\r\ncontent-length: 3\r\n\r\n\xff\xfe\x9b");
    });
    let error = unreadable.consul().leader().await.unwrap_err();
    assert!(!error.to_string().contains('\u{9b}'), "{error}");
    let empty = MockServer::answering(404, "");
    let error = empty.consul().leader().await.unwrap_err();
    assert!(
        error.to_string().ends_with("answered 404: no reason"),
        "{error}"
    );
}

/// Whether `text` has a part of the token that is long enough to search for.
fn leaks(text: &str) -> bool {
    let lower = text.to_lowercase();
    let token = TOKEN.to_lowercase();
    (0..token.len() - 8).any(|start| lower.contains(&token[start..start + 8]))
}

#[tokio::test]
async fn an_echoed_token_is_in_no_error() {
    // The text is cut after the removal of secrets, wherever the cut is.
    let count = AtomicUsize::new(0);
    let server = MockServer::start(move |_, to| {
        let tail = "x".repeat(count.fetch_add(9, Ordering::Relaxed));
        answer(to, 500, &[], &format!("token {TOKEN} refused {tail}"));
    });
    let client = server.vault();
    for _ in 0..40 {
        let error = client.lookup_self(&token()).await.unwrap_err();
        assert!(!leaks(&format!("{error} {error:?}")), "{error}");
    }
    let escaped: String = TOKEN.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let base64 = openssl::base64::encode_block(TOKEN.as_bytes());
    for body in [
        format!("{{\"errors\": [\"no {TOKEN}\", \"{TOKEN}\"]}}"),
        format!("{{\"errors\": [\"{escaped}\"]}}"),
        format!("{{\"data\": {{\"a\": \"hush\"}}, \"warnings\": [\"{TOKEN}\"]}}"),
        format!("\"{escaped}\""),
        TOKEN.to_lowercase(),
        format!("basic {base64}"),
    ] {
        let server = MockServer::answering(403, body.clone());
        let error = server.vault().lookup_self(&token()).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            !leaks(&text) && !text.contains(&base64),
            "{error} of {body}"
        );
        assert!(text.contains("[secret]"), "{error} of {body}");
        assert!(
            !text.contains("hush"),
            "only texts of errors are kept: {error}"
        );
    }
    // Secrets in a body are removed as well as tokens.
    let server = MockServer::start(|request, to| answer(to, 400, &[], request));
    let error = server.vault().unseal(&token()).await.err().unwrap();
    assert!(!leaks(&error.to_string()), "{error}");
}

#[tokio::test]
async fn no_redirect_is_followed_and_a_standby_names_the_active_node() {
    let other = MockServer::answering(200, "{}");
    let target = format!("https://{NAME}:{}", other.address.port());
    let secret_host = format!("https://{}.example", TOKEN.to_lowercase());
    let cases = [
        (
            format!("{target}/v1/auth/token/lookup-self?a={TOKEN}"),
            Some(target.clone()),
        ),
        (format!("http://{NAME}:1/"), None),
        (format!("https://user:pass@{NAME}:1/"), None),
        (format!("https://{TOKEN}.example/"), None),
        (secret_host, None),
        ("/v1/elsewhere".to_owned(), None),
        (String::new(), None),
    ];
    for (location, expected) in cases {
        let sent = location.clone();
        let server = MockServer::start(move |_, to| answer(to, 307, &[("location", &sent)], ""));
        let error = server.vault().lookup_self(&token()).await.unwrap_err();
        let ApiError::Standby { active, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(active, &expected, "{location}");
        assert!(!leaks(&error.to_string()), "{error}");
        assert_eq!(error.is_transient(), expected.is_none());
        let error = server.consul().leader().await.unwrap_err();
        assert!(
            matches!(error, ApiError::Status { status: 307, .. }),
            "{error}"
        );
    }
    assert_eq!(other.requests(), Vec::<String>::new());

    let body = "{\"errors\":[\"local node not active but active cluster node not found\"]}";
    let server = MockServer::answering(500, body);
    let error = server.vault().lookup_self(&token()).await.unwrap_err();
    assert_eq!(
        server.normalize(&error),
        "cannot read the token: Vault at ADDRESS is a standby; the active node is unknown"
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn each_state_of_a_node_is_an_answer() {
    let body = json!({
        "initialized": true, "sealed": false, "standby": true, "version": "1.14.9",
        "cluster_name": "", "cluster_id": "an-id", "a new field": {"of": "Vault"},
    });
    let states = [
        (200, NodeState::Active),
        (429, NodeState::Standby),
        (472, NodeState::DisasterRecovery),
        (473, NodeState::PerformanceStandby),
        (474, NodeState::Disconnected),
        (501, NodeState::Uninitialized),
        (503, NodeState::Sealed),
        (530, NodeState::Removed),
    ];
    for (status, state) in states {
        let server = MockServer::answering(status, body.to_string());
        let health = server.vault().health().await.unwrap();
        assert_eq!((health.status_code, health.state), (status, state));
        assert_eq!(health.version.as_deref(), Some("1.14.9"));
        assert_eq!(health.cluster_id.as_deref(), Some("an-id"));
        assert_eq!(health.cluster_name, None, "a redacted name");
        assert_eq!(health.certificate_end.to_string(), "2099-01-01T00:00:00Z");
    }
    for status in [201, 500] {
        let server = MockServer::answering(status, body.to_string());
        server.vault().health().await.unwrap_err();
    }
}

#[tokio::test]
async fn an_unhealthy_cluster_and_empty_lists_are_answers() {
    let body = json!({"Healthy": false, "FailureTolerance": 0, "Servers": null});
    let server = MockServer::answering(429, body.to_string());
    let health = server.consul().autopilot_health(&token()).await.unwrap();
    assert!(!health.is_healthy && health.servers.is_empty());
    let server = MockServer::answering(200, "null");
    let found = server.consul().service_health(&token(), "vault").await;
    assert_eq!(found.unwrap(), []);
    // An agent is a member itself.
    let error = server.consul().members(&token()).await.unwrap_err();
    assert!(matches!(error, ApiError::NoRights { .. }), "{error}");
    let server = MockServer::answering(200, "\"\"");
    assert_eq!(server.consul().leader().await.unwrap(), None);
}

#[test]
fn transient_refusals_are_told_from_final_ones() {
    let status = |status: u16, text: &str| ApiError::Status {
        what: "ask".to_owned(),
        server: "a server".to_owned(),
        status,
        text: text.to_owned(),
    };
    for (code, text) in [
        (403, "ACL not found"),
        (500, "The ACL system is currently in legacy mode."),
        (500, "No cluster leader"),
        (
            500,
            "rpc error getting client: failed to get conn: dial tcp",
        ),
        (502, ""),
        (429, "rate limit quota exceeded"),
        (
            400,
            "Upgrading from non-versioned to versioned data. This backend will be unavailable",
        ),
    ] {
        assert!(status(code, text).is_transient(), "{code} {text}");
    }
    for (code, text) in [
        (400, "Vault is already initialized"),
        (401, "ACL support disabled"),
        (403, "Permission denied"),
        (404, "no handler for route"),
        (405, ""),
        (
            500,
            "Invalid Policy: A Policy with Name \"a\" already exists",
        ),
        (
            500,
            "rpc error making call: Invalid Token: AccessorID is already in use",
        ),
        (501, ""),
        (503, "Vault is sealed"),
    ] {
        assert!(!status(code, text).is_transient(), "{code} {text}");
    }
    assert_eq!(
        status(503, "Vault is sealed").hint().as_deref(),
        Some("Unseal the node.")
    );
    assert!(
        status(403, "permission denied")
            .hint()
            .unwrap()
            .contains("policy")
    );
    assert_eq!(status(400, "").hint(), None);
}

#[tokio::test]
async fn inputs_that_would_change_the_request_are_refused_before_it() {
    let server = MockServer::answering(200, "true");
    let (client, token) = (server.consul(), token());
    let mut errors = Vec::new();
    for key in ["vault/../other", "./vault", ".."] {
        errors.push(client.kv_get(&token, key).await.err().unwrap());
    }
    for prefix in ["", "/", "vault/.."] {
        errors.push(client.kv_delete_tree(&token, prefix).await.unwrap_err());
    }
    for token in ["two\nlines", "nul\0"] {
        let token = Secret::new(token);
        errors.push(client.token_self(&token).await.unwrap_err());
    }
    let authority = Authority::new();
    for name in [
        "",
        "a/b",
        "a@b",
        "UPPER.example",
        "a:1",
        "10.0.0.1",
        "a b",
        "a?b",
        "\u{1b}[2J",
    ] {
        let endpoint = Endpoint {
            server_name: name.to_owned(),
            ..server.endpoint()
        };
        errors.push(consul::Client::new(&endpoint, &server.tls()).err().unwrap());
    }
    let mut tls = server.tls();
    tls.ca_pem = String::new();
    errors.push(consul::Client::new(&server.endpoint(), &tls).err().unwrap());
    tls.ca_pem = authority.pem();
    let mut leaf = authority.issue(NAME, 2099);
    leaf.key_pem = Secret::new("-----BEGIN EC PRIVATE KEY-----\nhush-hush\n");
    tls.client = Some(leaf);
    errors.push(consul::Client::new(&server.endpoint(), &tls).err().unwrap());
    tls.client = None;
    tls.ca_pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".to_owned();
    let garbled = consul::Client::new(&server.endpoint(), &tls).err().unwrap();
    assert!(
        garbled.to_string().contains("key of the authority: "),
        "{garbled}"
    );
    assert_eq!(server.requests(), Vec::<String>::new());
    let texts: Vec<String> = errors.iter().map(|error| server.normalize(error)).collect();
    assert!(
        errors
            .iter()
            .all(|error| matches!(error, ApiError::Invalid { .. }))
    );
    insta::assert_snapshot!(texts.join("\n"));
}
