//! Runs the binary on a store in a container, as users do.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests start the binary, as users do"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use openssl::base64::encode_block;
use tempfile::TempDir;

use super::server::{Azurite, azurite, sas};
use testing::crash_test::{now, put};
use testing::signing::signed_store;

/// Runs the binary in `folder`, with no other environment.
fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vault-bake"));
    command.args(arguments).current_dir(folder).env_clear();
    command.env("HOME", folder).env("PATH", "/usr/bin:/bin");
    command.envs(environment.iter().copied());
    command.output().unwrap()
}

fn output_text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    format!("exit {}\n{out}{err}", output.status.code().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_finds_the_store_by_option_environment_or_file() {
    let Some(azurite) = azurite() else { return };
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("images")).unwrap();
    let store = signed_store(azurite.blob("person").await, now()).await;
    put(&store, folder.path(), "1.0.0", "disk").await.unwrap();
    let (url, token) = (azurite.url("person"), sas("person", "rl"));
    let signature = ("VAULT_BAKE_STORE_SAS", token.as_str());
    let listed = "exit 0\nquickstart@1.0.0";

    let by_option = run(folder.path(), &["images", "--store", &url], &[signature]);
    assert!(
        output_text(&by_option).starts_with(listed),
        "{}",
        output_text(&by_option)
    );
    let in_environment = [signature, ("VAULT_BAKE_STORE", &url)];
    let by_environment = run(folder.path(), &["images"], &in_environment);
    assert!(
        output_text(&by_environment).starts_with(listed),
        "{}",
        output_text(&by_environment)
    );
    let verified = run(folder.path(), &["verify"], &in_environment);
    assert!(
        output_text(&verified).contains("sound: 1 log entries"),
        "{}",
        output_text(&verified)
    );
    let printed = run(folder.path(), &["show", "quickstart"], &in_environment);
    assert_eq!(printed.status.code(), Some(0), "{}", output_text(&printed));
    let doctor = run(folder.path(), &["doctor"], &in_environment);
    assert!(
        output_text(&doctor).contains(&format!("ok       {url} (reachable)")),
        "{}",
        output_text(&doctor)
    );

    let file = |at: &str| {
        let text = format!("[store]\nat = \"{at}\"\n[store.azure]\ncredential = \"sas\"\n");
        fs::write(folder.path().join("vault-bake.toml"), text).unwrap();
    };
    file(&url);
    let by_file = run(folder.path(), &["images"], &[signature]);
    assert!(
        output_text(&by_file).starts_with(listed),
        "{}",
        output_text(&by_file)
    );
    let unsigned = run(folder.path(), &["images"], &[]);
    assert!(
        output_text(&unsigned).contains("VAULT_BAKE_STORE_SAS"),
        "{}",
        output_text(&unsigned)
    );
    assert_eq!(unsigned.status.code(), Some(2));
    file("elsewhere");
    let over_file = run(folder.path(), &["images"], &in_environment);
    assert!(
        output_text(&over_file).starts_with(listed),
        "{}",
        output_text(&over_file)
    );
    let over_both = run(
        folder.path(),
        &["images", "--store", "nowhere"],
        &in_environment,
    );
    assert!(
        output_text(&over_both).contains("/nowhere\nhint: Name another store with --store"),
        "{}",
        output_text(&over_both)
    );
    let by_folder = run(folder.path(), &["images"], &[]);
    assert!(
        output_text(&by_folder).contains("/elsewhere\nhint: Name another store with --store"),
        "{}",
        output_text(&by_folder)
    );

    let missing = azurite.url("missing");
    let wrong = [
        ("VAULT_BAKE_STORE_SAS", token.as_str()),
        ("VAULT_BAKE_STORE", &missing),
    ];
    let refused = run(folder.path(), &["images"], &wrong);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        output_text(&refused).contains("403 ") && !output_text(&refused).contains("sig="),
        "{}",
        output_text(&refused)
    );
}

/// Makes a token for Azurite, which reads the claims and does not check the signature.
fn bearer() -> String {
    let url = |text: &str| {
        encode_block(text.as_bytes())
            .trim_end_matches('=')
            .replace('+', "-")
            .replace('/', "_")
    };
    let claims = r#"{"aud":"https://storage.azure.com","iss":"https://sts.windows.net/11111111-1111-1111-1111-111111111111/","nbf":1600000000,"iat":1600000000,"exp":4000000000}"#;
    format!(
        "{}.{}.{}",
        url(r#"{"alg":"RS256","typ":"JWT"}"#),
        url(claims),
        url("signature")
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_is_logged_in_with_az_needs_no_signature() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])
        .unwrap();
    fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let Some(azurite) =
        Azurite::start(&["--oauth", "basic", "--cert", &certificate, "--key", &key])
    else {
        return;
    };
    let url = azurite.url("logged-in").replace("http://", "https://");
    let container = reqwest::Client::builder()
        .add_root_certificate(reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap())
        .build()
        .unwrap();
    let made = container
        .put(format!("{url}?restype=container"))
        .bearer_auth(bearer());
    let made = made
        .header("x-ms-version", "2025-11-05")
        .body("")
        .send()
        .await
        .unwrap();
    assert_eq!(made.status().as_u16(), 201);

    fs::create_dir(path("bin")).unwrap();
    let az = |answer: &str| {
        let script = format!("#!/bin/sh\n{answer}\n");
        fs::write(path("bin/az"), script).unwrap();
        fs::set_permissions(path("bin/az"), fs::Permissions::from_mode(0o755)).unwrap();
    };
    az(&format!(
        "echo '{{\"accessToken\":\"{}\",\"expires_on\":4000000000,\"expiresOn\":\"2096-10-02 07:06:40.000000\",\"tokenType\":\"Bearer\"}}'",
        bearer()
    ));
    let search = format!("{}:/usr/bin:/bin", path("bin"));
    let environment = [
        ("SSL_CERT_FILE", certificate.as_str()),
        ("PATH", &search),
        ("VAULT_BAKE_STORE", &url),
    ];
    let empty = run(folder.path(), &["images"], &environment);
    assert!(
        output_text(&empty).contains("no store at https://127.0.0.1"),
        "{}",
        output_text(&empty)
    );
    let doctor = run(folder.path(), &["doctor"], &environment);
    assert!(
        output_text(&doctor).contains(&format!("ok       {url} (reachable)")),
        "{}",
        output_text(&doctor)
    );

    // The binary verifies the certificate of the service.
    let stranger = run(folder.path(), &["images"], &environment[1..]);
    assert!(
        output_text(&stranger).contains("certificate"),
        "{}",
        output_text(&stranger)
    );
    // No user is logged in. The binary stops there, without a fallback to another credential
    // source.
    az("echo 'Please run az login to setup account.' >&2; exit 1");
    let lost = run(folder.path(), &["images"], &environment);
    assert_eq!(lost.status.code(), Some(1));
    let text = output_text(&lost);
    assert!(text.contains("no credential: "), "{text}");
    assert!(text.contains("az login"), "{text}");
}
