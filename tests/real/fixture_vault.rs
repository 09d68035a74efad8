//! The fixture mirror and its stub Vault, with the real Consul of the mirror, over TLS.

use std::fs;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use vault_bake::event::Events;
use vault_bake::process::Program;
use vault_bake::wait::{Interrupt, Poll, Wait};

mod endpoints;
pub mod hand_over;
pub mod lab;

use crate::project::Releases;
use lab::{Lab, Node, certify, installed, mirror, stub, unpack, vault_config};

#[tokio::test]
async fn the_stub_takes_its_active_role_through_consul() {
    let Some(mirror) = mirror().await else { return };
    let lab = Lab::start(&mirror).await;
    let mut first = lab.vault("vault-1").await;
    let second = lab.vault("vault-2").await;
    let (status, health) = first.ask(&lab, Method::GET, "sys/health", &[]).await;
    assert_eq!(
        (status.as_u16(), &health["initialized"]),
        (501, &json!(false))
    );
    assert_eq!(health["version"], "1.15.6+fixture");

    let (_, made) = first
        .send(
            &lab,
            Method::PUT,
            "sys/init",
            "",
            &json!({"secret_shares": 3, "secret_threshold": 2}),
        )
        .await;
    let token = made["root_token"]
        .as_str()
        .expect("a root token")
        .to_owned();
    assert_eq!(first.health(&lab, "").await, 503);
    first.unseal(&lab, &made).await;
    first.wait_for_health(&lab, 200).await;
    second.unseal(&lab, &made).await;
    second.wait_for_health(&lab, 429).await;
    assert_eq!(second.health(&lab, "?standbyok=true").await, 200);
    assert_eq!(second.health(&lab, "?standbycode=299").await, 299);
    assert_eq!(
        second.health(&lab, "?standbyok=true&activecode=298").await,
        298
    );
    let (_, leader) = second.ask(&lab, Method::GET, "sys/leader", &[]).await;
    assert_eq!(
        (&leader["is_self"], &leader["leader_address"]),
        (&json!(false), &json!(first.base))
    );

    let cluster = leader["leader_cluster_address"]
        .as_str()
        .unwrap_or_default();
    assert!(
        cluster.starts_with("https://") && !cluster.contains('{'),
        "{cluster}"
    );

    let mount = json!({"type": "kv"});
    let (status, _) = first
        .send(&lab, Method::POST, "sys/mounts/secret", &token, &mount)
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT);

    // A standby forwards requests to the active node, or redirects clients that want that.
    let secret = json!({"word": "kept"});
    let headers = [
        ("x-vault-token", token.as_str()),
        ("x-vault-no-request-forwarding", "1"),
    ];
    let (status, _) = second.ask(&lab, Method::GET, "secret/a/b", &headers).await;
    assert_eq!(status, StatusCode::TEMPORARY_REDIRECT);
    let (status, _) = second
        .send(&lab, Method::PUT, "secret/a/b", &token, &secret)
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = first
        .ask(
            &lab,
            Method::GET,
            "secret/a/b",
            &[("x-vault-token", "hvs.wrong")],
        )
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (_, listed) = first
        .ask(
            &lab,
            Method::GET,
            "secret/a?list=true",
            &[("x-vault-token", &token)],
        )
        .await;
    assert_eq!(listed["data"]["keys"], json!(["b"]));

    // A graceful stop releases the lock at once, without waiting for the session to expire.
    first.signal(rustix::process::Signal::TERM);
    let ended = first.running.wait().await.expect("it ends");
    assert!(ended.success(), "{ended}: {:?}", first.running.last_lines());
    let asked = std::time::Instant::now();
    second.wait_for_health(&lab, 200).await;
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    let (_, read) = second
        .ask(
            &lab,
            Method::GET,
            "secret/a/b",
            &[("x-vault-token", &token)],
        )
        .await;
    assert_eq!(read["data"], secret);

    plaintext_is_refused(&second).await;
    a_new_certificate_is_taken_on_hangup(&lab, &second).await;
}

#[tokio::test]
async fn the_stub_refuses_configurations_that_vault_would_not_serve_safely() {
    if !installed("python3").await {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let good = vault_config(folder.path(), "vault", 1, 2);
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 6] = [
        ("unknown key `licence`", |config| {
            config["licence"] = json!("x");
        }),
        ("`tls_disable`", |config| {
            config["listener"][0]["tcp"]["tls_disable"] = json!(true);
        }),
        ("`tls_key_file` is missing", |config| {
            config["listener"][0]["tcp"]["tls_key_file"] = json!("");
        }),
        ("`scheme` https", |config| {
            config["storage"]["consul"]["scheme"] = json!("http");
        }),
        ("`api_addr` must begin with https", |config| {
            config["api_addr"] = json!("http://a");
        }),
        ("block `consul`", |config| {
            config["storage"] = json!({"raft": {}});
        }),
    ];
    for (words, change) in changes {
        let mut config = good.clone();
        change(&mut config);
        let path = folder.path().join("vault.json");
        fs::write(&path, config.to_string()).expect("a file");
        let program = stub()
            .arg("server")
            .arg(format!("-config={}", path.display()));
        let error = program
            .run(&Interrupt::default())
            .await
            .expect_err(words)
            .to_string();
        assert!(error.contains(words), "expected {words}, found {error}");
    }
}

#[tokio::test]
async fn the_mirror_is_made_once_even_by_two_at_once() {
    let (Some(one), Some(two)) = tokio::join!(mirror(), mirror()) else {
        return;
    };
    let fingerprint = fs::read_to_string(one.join("fingerprint")).expect("the fingerprint");
    let again = mirror().await.expect("it was made before");
    assert_eq!((&one, &two), (&again, &again));
    assert_eq!(
        fs::read_to_string(again.join("fingerprint")).expect("the fingerprint"),
        fingerprint
    );
}

#[tokio::test]
async fn the_mirror_has_two_versions_of_the_stub() {
    let Some(mirror) = mirror().await else { return };
    let versions = Releases::versions(&mirror, "vault");
    assert_eq!(versions.len(), 2, "{versions:?}");
    for version in versions {
        let folder = tempfile::tempdir().expect("a folder");
        unpack(&mirror, "vault", &version.to_string(), folder.path()).await;
        let program = Program::new(folder.path().join("vault")).arg("version");
        let printed = program.run(&Interrupt::default()).await.expect("it runs");
        let printed = String::from_utf8_lossy(&printed).into_owned();
        let banner = format!("Vault v{version} (stub for tests");
        assert!(printed.starts_with(&banner), "{printed}");
    }
}

async fn plaintext_is_refused(node: &Node) {
    let plain = node.base.replace("https", "http") + "/v1/sys/health";
    reqwest::get(plain)
        .await
        .expect_err("no answer without TLS");
}

async fn a_new_certificate_is_taken_on_hangup(lab: &Lab, node: &Node) {
    let certificate = |base: String| async move {
        let address = base.trim_start_matches("https://").to_owned();
        let command = Program::new("openssl")
            .args(["s_client", "-connect", &address, "-showcerts"])
            .input("Q\n");
        let output = command
            .run(&Interrupt::default())
            .await
            .expect("openssl connects");
        let output = String::from_utf8_lossy(&output).into_owned();
        let (_, rest) = output
            .split_once("-----BEGIN CERTIFICATE-----")
            .expect("a certificate");
        rest.split("-----END").next().unwrap_or_default().to_owned()
    };
    let before = certificate(node.base.clone()).await;
    certify(&lab.authority, lab.folder.path(), "vault-2");
    node.signal(rustix::process::Signal::HUP);
    Wait::new("the new certificate", Duration::from_secs(10))
        .until(&Events::silent(), &Interrupt::default(), || async {
            if certificate(node.base.clone()).await == before {
                Poll::<_, String>::NotYet("the old one".to_owned())
            } else {
                Poll::Ready(())
            }
        })
        .await
        .expect("a new certificate");
    assert_eq!(node.health(lab, "").await, 200, "it stays active");
}
