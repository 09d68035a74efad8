//! The choice of the credential source, and token requests of each source.

use std::collections::BTreeMap;
use std::fs;

use azure_core::credentials::TokenCredential as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Verifier};
use openssl::x509::X509;
use serde_json::{Value, json};
use tempfile::TempDir;
use vault_bake::azure::{CredentialKind, CredentialOptions, CredentialSource};
use vault_bake::secret::Secret;

use super::play::{MockServer, refuse, respond};
use super::{API, vm};

fn describe(source: &CredentialSource) -> String {
    let name = source.kind().name();
    match source {
        CredentialSource::ClientSecret { tenant, client, .. } => {
            format!("{name} {tenant} {client}")
        }
        CredentialSource::Certificate {
            tenant,
            client,
            path,
            password,
        } => format!(
            "{name} {tenant} {client} {} {}",
            path.display(),
            password.is_some()
        ),
        CredentialSource::WorkloadIdentity {
            tenant,
            client,
            token_file,
        } => format!("{name} {tenant} {client} {}", token_file.display()),
        CredentialSource::GitHub {
            tenant,
            client,
            url,
            ..
        } => format!("{name} {tenant} {client} {url}"),
        CredentialSource::ManagedIdentity { client } => format!("{name} {client:?}"),
        CredentialSource::DeveloperTools => name.to_owned(),
    }
}

#[test]
fn one_source_is_chosen_and_a_broken_one_is_an_error() {
    let all = [
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_CLIENT_SECRET", "hush-hush"),
        ("AZURE_CLIENT_CERTIFICATE_PATH", "/c.pem"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://github/x"),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "hush-hush"),
        ("IDENTITY_ENDPOINT", "http://169.254.129.1"),
    ];
    let without = |names: &[&str]| -> Vec<(&str, &str)> {
        all.into_iter()
            .filter(|(name, _)| !names.contains(name))
            .collect()
    };
    let only = |names: &[&str]| -> Vec<(&str, &str)> {
        all.into_iter()
            .filter(|(name, _)| names.contains(name))
            .collect()
    };
    let mut table = Vec::new();
    let mut add_row = |what: &str,
                       kind: Option<CredentialKind>,
                       tenant: Option<&str>,
                       client: Option<&str>,
                       environment: Vec<(&str, &str)>| {
        let named = CredentialOptions {
            kind,
            tenant: tenant.map(str::to_owned),
            client: client.map(str::to_owned),
        };
        let environment: BTreeMap<String, String> = environment
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let chosen = match CredentialSource::choose(&named, &environment) {
            Ok(source) => describe(&source),
            Err(error) => format!("error: {error}"),
        };
        table.push(format!("{what}: {chosen}"));
    };
    add_row("nothing", None, None, None, vec![]);
    add_row("everything", None, None, None, all.to_vec());
    add_row(
        "no token file",
        None,
        None,
        None,
        without(&["AZURE_FEDERATED_TOKEN_FILE"]),
    );
    add_row(
        "no secret either",
        None,
        None,
        None,
        without(&["AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_SECRET"]),
    );
    add_row(
        "a job",
        None,
        None,
        None,
        only(&[
            "AZURE_TENANT_ID",
            "AZURE_CLIENT_ID",
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        ]),
    );
    add_row(
        "a job that says no client",
        None,
        None,
        None,
        only(&[
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        ]),
    );
    add_row(
        "a job without a tenant",
        None,
        None,
        Some("mine"),
        only(&[
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        ]),
    );
    add_row(
        "a job without permission",
        Some(CredentialKind::GitHub),
        Some("t"),
        Some("c"),
        vec![],
    );
    add_row("an app", None, None, None, only(&["IDENTITY_ENDPOINT"]));
    add_row(
        "a secret alone",
        None,
        None,
        None,
        only(&["AZURE_CLIENT_SECRET"]),
    );
    add_row(
        "a secret without a client",
        None,
        None,
        None,
        only(&["AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"]),
    );
    add_row(
        "an empty secret",
        None,
        None,
        None,
        vec![("AZURE_CLIENT_SECRET", "")],
    );
    add_row(
        "a token file alone",
        None,
        None,
        None,
        only(&["AZURE_FEDERATED_TOKEN_FILE"]),
    );
    add_row(
        "a certificate alone",
        None,
        None,
        None,
        only(&["AZURE_CLIENT_CERTIFICATE_PATH"]),
    );
    add_row(
        "ids alone",
        None,
        None,
        None,
        only(&["AZURE_TENANT_ID", "AZURE_CLIENT_ID"]),
    );
    for kind in CredentialKind::ALL {
        add_row(
            &format!("named {}, everything", kind.name()),
            Some(kind),
            None,
            None,
            all.to_vec(),
        );
        add_row(
            &format!("named {}, ids of its own", kind.name()),
            Some(kind),
            Some("mine"),
            Some("me"),
            all.to_vec(),
        );
        add_row(
            &format!("named {}, nothing", kind.name()),
            Some(kind),
            None,
            None,
            vec![],
        );
    }
    println!("{} cases", table.len());
    let whole = table.join("\n");
    assert!(!whole.contains("hush"));
    insta::assert_snapshot!(whole);
}

/// Returns a token from `source`, or the text of the error.
async fn token(server: &MockServer, source: CredentialSource) -> Result<String, String> {
    let tokens = server
        .auth(source)
        .tokens()
        .map_err(|error| error.to_string())?;
    let token = tokens
        .get_token(&["https://management.azure.com/.default"], None)
        .await;
    token
        .map(|token| token.token.secret().to_owned())
        .map_err(|error| tokens.scrub(&error.to_string()))
}

fn field<'a>(body: &'a str, name: &str) -> &'a str {
    let found = body
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_default()
}

#[tokio::test]
async fn a_workload_shows_the_token_of_its_file() {
    let (server, folder) = (MockServer::new().await, TempDir::new().unwrap());
    let source = |file: &str| CredentialSource::WorkloadIdentity {
        tenant: "t1".into(),
        client: "c1".into(),
        token_file: folder.path().join(file),
    };
    fs::write(folder.path().join("token"), "pods-own-token").unwrap();
    assert_eq!(
        token(&server, source("token")).await.unwrap(),
        "token-number-1"
    );
    let request = &server.all_requests()[0];
    assert_eq!(
        (request.host.as_str(), request.path.as_str()),
        ("https://login.microsoftonline.com", "/t1/oauth2/v2.0/token")
    );
    assert_eq!(field(&request.body, "client_assertion"), "pods-own-token");
    let missing = token(&server, source("none")).await.unwrap_err();
    assert!(
        missing.starts_with("cannot use credential source workload-identity: ")
            && missing.contains("/none: "),
        "{missing}"
    );
}

#[tokio::test]
async fn a_job_of_github_shows_what_github_signs() {
    let server = MockServer::new().await;
    let source = |url: &str| CredentialSource::GitHub {
        tenant: "t1".into(),
        client: "c1".into(),
        url: url.into(),
        token: Secret::new("hush-hush"),
    };
    server.on(
        "GET /job",
        [respond(200, &json!({ "value": "signed-by-github" }))],
    );
    let job = "https://pipelines.actions.example/job?run=1";
    assert_eq!(token(&server, source(job)).await.unwrap(), "token-number-1");
    let all = server.all_requests();
    assert_eq!(
        (all[0].host.as_str(), all[0].query.as_str()),
        (
            "https://pipelines.actions.example",
            "run=1&audience=api%3A%2F%2FAzureADTokenExchange"
        )
    );
    assert_eq!(all[0].header("authorization"), "bearer hush-hush");
    assert_eq!(field(&all[1].body, "client_assertion"), "signed-by-github");
    let mut table = vec![
        token(&server, source("http://pipelines.actions.example/job"))
            .await
            .unwrap_err(),
        token(&server, source("job")).await.unwrap_err(),
    ];
    for reply in [
        refuse(403, "hush-hush"),
        respond(200, &json!({})),
        respond(200, &json!("text")),
    ] {
        server.on("GET /job", [reply]);
        table.push(token(&server, source(job)).await.unwrap_err());
    }
    insta::assert_snapshot!(table.join("\n"));
}

fn self_signed(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let certificate = rcgen::CertificateParams::new(vec![])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Creates an RSA key with OpenSSL, because `rcgen` cannot, and a certificate for it.
fn application() -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let made = rcgen::KeyPair::from_pem(
        &String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap(),
    )
    .unwrap();
    let certificate = rcgen::CertificateParams::new(vec![])
        .unwrap()
        .self_signed(&made)
        .unwrap();
    (X509::from_pem(certificate.pem().as_bytes()).unwrap(), key)
}

#[tokio::test]
async fn a_certificate_signs_in_place_of_a_password() {
    let (server, folder) = (MockServer::new().await, TempDir::new().unwrap());
    let (certificate, key) = application();
    let (other, _) = application();
    let pem = |certificate: &X509, key: Vec<u8>| [certificate.to_pem().unwrap(), key].concat();
    let plain = key.private_key_to_pem_pkcs8().unwrap();
    let locked = key
        .private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_256_cbc(), b"hush-hush")
        .unwrap();
    let archive = Pkcs12::builder()
        .cert(&certificate)
        .pkey(&key)
        .build2("hush-hush")
        .unwrap();
    let (elliptic, elliptic_key) = self_signed(&rcgen::PKCS_ECDSA_P256_SHA256);
    for (name, bytes) in [
        ("plain.pem", pem(&certificate, plain.clone())),
        ("locked.pem", pem(&certificate, locked)),
        ("app.pfx", archive.to_der().unwrap()),
        ("no-key.pem", certificate.to_pem().unwrap()),
        ("no-certificate.pem", plain.clone()),
        ("another.pem", pem(&other, plain)),
        (
            "elliptic.pem",
            format!("{elliptic}{elliptic_key}").into_bytes(),
        ),
        ("text.pem", b"hello".to_vec()),
    ] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let source = |file: &str, password: Option<&str>| CredentialSource::Certificate {
        tenant: "t1".into(),
        client: "c1".into(),
        path: folder.path().join(file),
        password: password.map(Secret::new),
    };
    for (file, password) in [
        ("plain.pem", None),
        ("locked.pem", Some("hush-hush")),
        ("app.pfx", Some("hush-hush")),
    ] {
        token(&server, source(file, password)).await.unwrap();
    }
    for request in server.all_requests() {
        let assertion = field(&request.body, "client_assertion");
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let part = |at: usize| -> Value {
            serde_json::from_slice(
                &URL_SAFE_NO_PAD
                    .decode(signed.split('.').nth(at).unwrap())
                    .unwrap(),
            )
            .unwrap()
        };
        let digest = URL_SAFE_NO_PAD.encode(certificate.digest(MessageDigest::sha256()).unwrap());
        assert_eq!(
            part(0),
            json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": digest })
        );
        let mut claims = part(1);
        assert_eq!(claims["jti"].take().as_str().unwrap().len(), 36);
        assert_eq!(
            claims,
            json!({ "aud": "https://login.microsoftonline.com/t1/oauth2/v2.0/token", "iss": "c1", "sub": "c1", "jti": null, "nbf": 1_795_391_940, "exp": 1_795_392_600 })
        );
        let public = certificate.public_key().unwrap();
        let mut verifier = Verifier::new(MessageDigest::sha256(), &public).unwrap();
        verifier.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
        verifier
            .set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)
            .unwrap();
        assert!(
            verifier
                .verify_oneshot(
                    &URL_SAFE_NO_PAD.decode(signature).unwrap(),
                    signed.as_bytes()
                )
                .unwrap()
        );
    }
    let mut table = Vec::new();
    for (file, password) in [
        ("locked.pem", None),
        ("locked.pem", Some("wrong")),
        ("app.pfx", None),
        ("no-key.pem", None),
        ("no-certificate.pem", None),
        ("another.pem", None),
        ("elliptic.pem", None),
        ("text.pem", None),
        ("none.pem", None),
    ] {
        let error = token(&server, source(file, password)).await.unwrap_err();
        table.push(error.replace(folder.path().to_str().unwrap(), "…"));
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[tokio::test]
async fn a_machine_asks_its_own_link() {
    let server = MockServer::new().await;
    let answer = json!({ "access_token": "of-the-machine", "expires_on": "4000000000", "token_type": "Bearer", "resource": "x" });
    server.on(
        "GET /metadata/identity/oauth2/token",
        [respond(200, &answer)],
    );
    for client in [None, Some(String::from("mine"))] {
        let given = token(&server, CredentialSource::ManagedIdentity { client })
            .await
            .unwrap();
        assert_eq!(given, "of-the-machine");
    }
    let all = server.all_requests();
    assert_eq!(all[0].host, "http://169.254.169.254");
    assert_eq!(all[0].header("metadata"), "true");
    assert!(!all[0].query.contains("client_id"), "{}", all[0].query);
    assert!(all[1].query.contains("client_id=mine"), "{}", all[1].query);
    server.on(
        "GET /metadata/identity/oauth2/token",
        [respond(
            400,
            &json!({ "error": "invalid_request", "error_description": "Identity not found" }),
        )],
    );
    let error = token(&server, CredentialSource::ManagedIdentity { client: None })
        .await
        .unwrap_err();
    assert!(
        error.contains("Managed") || error.contains("identity"),
        "{error}"
    );
}

#[tokio::test]
async fn a_source_that_fails_ends_the_request() {
    let server = MockServer::new().await;
    server.on("POST /token", [respond(401, &json!({ "error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided: hush-hush.\r\nTrace ID: 1", "error_codes": [7_000_215] }))]);
    let error = server.client().get(vm(), API).await.unwrap_err();
    assert!(server.requests().is_empty());
    insta::assert_snapshot!(format!("{error}\nhint: {}", error.hint().unwrap()));
}
