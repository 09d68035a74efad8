//! Terraform as the consumer: the contract of the data source `external`, and the real program if
//! installed.

#![expect(
    clippy::disallowed_methods,
    reason = "the test starts Terraform as users do"
)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{FILE, recorded};
use testing::recorded_store::{RecordedStore, bake, promote, revoke, settled, with};

/// Runs the program as Terraform does: with its arguments, the query on standard input.
fn ask(recorded: &RecordedStore, arguments: &[&str], query: &[u8], store: bool) -> Output {
    let program = ["resolve", "--format", "terraform-external"];
    recorded.run(&[&program[..], arguments].concat(), query, store)
}

/// Parses output as Terraform does: a map of texts, and nothing else.
fn map(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(value.as_object().unwrap().values().all(Value::is_string));
    value
}

#[tokio::test]
async fn external_answers_with_texts_alone() {
    let recorded = recorded().await;
    let by_pin = json!({ "pin": "quickstart:prod" }).to_string();
    let answer = ask(&recorded, &[], by_pin.as_bytes(), false);
    settled().bind(|| {
        insta::assert_snapshot!(serde_json::to_string_pretty(&map(&answer)).unwrap());
    });
    let full =
        json!({ "pin": "quickstart:prod", "pins_file": FILE, "target": "local" }).to_string();
    let same = [
        ask(&recorded, &[], full.as_bytes(), false),
        ask(
            &recorded,
            &["--pins", FILE, "quickstart:prod"],
            b"{}",
            false,
        ),
        ask(
            &recorded,
            &["--pins", FILE, "quickstart:prod"],
            full.as_bytes(),
            false,
        ),
        ask(&recorded, &["--json"], by_pin.as_bytes(), false),
    ];
    for output in same {
        assert_eq!(map(&output), map(&answer));
        assert!(output.stderr.is_empty());
    }
    let reference = json!({ "ref": "quickstart@1.0.0", "target": "local" }).to_string();
    let stored = map(&ask(&recorded, &[], reference.as_bytes(), true));
    assert_eq!(stored["image_id"], map(&answer)["image_id"]);
    assert_eq!(stored["status"], "good");
}

#[tokio::test]
async fn external_fails_with_one_line_and_no_answer() {
    let recorded = recorded().await;
    let store = recorded.store().await;
    let second = bake(&store, &with("1.0.1", "1.21.0", "1.8.7")).await;
    promote(&store, &second).await;
    revoke(&store, second, None, "2026-11-22T19:00:00Z").await;
    let table: [(&str, &[&str], &str); 15] = [
        ("nothing at all", &[], ""),
        ("no JSON", &[], "pin=x"),
        ("a list", &[], "[]"),
        ("a number", &[], r#"{"pin": 1}"#),
        ("null", &[], r#"{"pin": null}"#),
        ("a key twice", &[], r#"{"pin": "a", "pin": "b"}"#),
        ("unknown key", &[], r#"{"pin": "a", "colour": "blue"}"#),
        ("no question", &[], "{}"),
        ("pin and ref", &[], r#"{"pin": "a", "ref": "b"}"#),
        ("ref and --pins", &["--pins", FILE], r#"{"ref": "b"}"#),
        (
            "two names",
            &["--pins", FILE, "quickstart:prod"],
            r#"{"pin": "b"}"#,
        ),
        ("unknown pin", &[], r#"{"pin": "green"}"#),
        ("a line break", &[], r#"{"pin": "gr\neen"}"#),
        (
            "no file",
            &[],
            r#"{"pin": "green", "pins_file": "none.json"}"#,
        ),
        ("revoked", &["--json"], r#"{"ref": "quickstart:prod"}"#),
    ];
    let mut lines = Vec::new();
    for (what, arguments, query) in table {
        let output = ask(&recorded, arguments, query.as_bytes(), true);
        assert_ne!(output.status.code(), Some(0), "{what}");
        assert!(output.stdout.is_empty(), "{what}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{what}: {text}");
        lines.push(format!(
            "{what} (exit {})\n    {text}",
            output.status.code().unwrap()
        ));
    }
    settled().bind(|| insta::assert_snapshot!(lines.join("")));
    let revoked = br#"{"ref": "quickstart:prod"}"#;
    let taken = map(&ask(&recorded, &["--allow-revoked"], revoked, true));
    assert_eq!(taken["status"], "revoked");
    assert!(
        taken["warnings"]
            .as_str()
            .unwrap()
            .contains("CVE-2026-0001")
    );
}

fn terraform() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("terraform"));
    let found = found.into_iter().find(|program| program.is_file());
    if found.is_none() {
        println!("SKIPPED: terraform is not on PATH");
    }
    found
}

#[tokio::test]
async fn the_real_terraform_reads_the_variables_and_its_plan_is_checked() {
    let Some(program) = terraform() else {
        return;
    };
    let recorded = recorded().await;
    let deployment = recorded.path("deployment");
    fs::create_dir(&deployment).unwrap();
    let tfvars = [
        "resolve",
        "--pins",
        FILE,
        "quickstart:prod",
        "--format",
        "tfvars",
    ];
    let tfvars = recorded.run(&tfvars, b"", false);
    fs::write(deployment.join("image.auto.tfvars.json"), &tfvars.stdout).unwrap();
    // A resource of a built-in provider, so that nothing is downloaded.
    let main = r#"
        variable "vault_image" {
          type = object({ image_id = string, version = string, manifest_digest = string, generation = number, releases = map(string) })
        }
        resource "terraform_data" "node" {
          input = { image = var.vault_image.image_id }
        }
        output "vault" { value = var.vault_image.releases["vault"] }
    "#;
    fs::write(deployment.join("main.tf"), main).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(&program)
            .args(arguments)
            .current_dir(&deployment)
            .env_clear()
            .env("HOME", recorded.path(""))
            .env("PATH", "/usr/bin:/bin")
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_IN_AUTOMATION", "1")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        output.stdout
    };
    run(&["init", "-no-color", "-input=false"]);
    run(&["plan", "-no-color", "-input=false", "-out=plan"]);
    let plan = run(&["show", "-json", "plan"]);
    let read: Value = serde_json::from_slice(&plan).unwrap();
    assert_eq!(
        read["planned_values"]["outputs"]["vault"]["value"],
        "1.20.0"
    );
    fs::write(recorded.path("plan.json"), &plan).unwrap();
    let mut transcripts = vec![
        recorded.transcript_without_store(&["check-plan", "plan.json", "--pins", FILE, "--strict"]),
        recorded.transcript(&["check-plan", "plan.json", "--strict"]),
    ];
    let store = recorded.store().await;
    let held = store
        .resolve(&"quickstart:prod".parse().unwrap())
        .await
        .unwrap();
    revoke(&store, held, None, "2026-11-22T19:00:00Z").await;
    transcripts.push(recorded.transcript(&["check-plan", "plan.json"]));
    settled().bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}
