//! `resolve`: every output form, hostile values, and Terraform as the consumer.

mod terraform;

use std::fs;

use serde_json::Value;
use testing::recorded_store::{RecordedStore, bake, in_cloud, promote, revoke, settled, with};
use testing::sample::digest;
use vault_bake::pin::{PinFile, PinnedOutput};
use vault_bake::resolve::{FIELDS, Format, Resolved};
use vault_bake::store::DeployState;

const FILE: &str = "vault-bake.pins.json";

/// Makes a store whose channel points to 1.0.0, pinned.
async fn recorded() -> RecordedStore {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let first = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    promote(&store, &first).await;
    assert!(
        recorded
            .transcript(&["pin", "quickstart:prod"])
            .contains("exit 0")
    );
    recorded
}

/// Formats an image with this id and these warnings.
fn hostile(id: &str) -> Resolved {
    Resolved {
        name: "quickstart:prod".into(),
        image: "quickstart".into(),
        version: "1.0.0".parse().unwrap(),
        manifest_digest: digest("manifest"),
        channel: Some("prod".into()),
        generation: Some(4),
        target: "azure/westeurope".into(),
        class: "azure-gallery-version".into(),
        image_id: id.into(),
        arch: "x86_64".into(),
        firmware: "uefi".into(),
        file_digest: digest("file"),
        releases: [("vault".to_owned(), "1.21.0".to_owned())].into(),
        status: DeployState::Scheduled,
        warnings: vec![id.into(), "second".into()],
    }
}

const ID: &str = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0";

#[tokio::test]
async fn every_form_of_a_pin_needs_the_file_alone() {
    let recorded = recorded().await;
    let mut transcripts = Vec::new();
    for form in ["json", "plain", "tfvars", "env", "github"] {
        let arguments = [
            "resolve",
            "--pins",
            FILE,
            "quickstart:prod",
            "--format",
            form,
        ];
        transcripts.push(recorded.transcript_without_store(&arguments));
    }
    let pinned = ["resolve", "--pins", FILE, "quickstart:prod"];
    let more: [&[&str]; 9] = [
        &[
            "--format",
            "bicep",
            "--map",
            "image_id=vmImageId",
            "--map",
            "generation=imageGeneration",
        ],
        &["--format", "bicep"],
        &["--format", "bicep", "--map", "colour=x"],
        &["--format", "bicep", "--map", "image_id"],
        &["--format", "bicep", "--map", "image_id=a-b"],
        &[
            "--format",
            "bicep",
            "--map",
            "image_id=a",
            "--map",
            "arch=a",
        ],
        &[
            "--format",
            "tfvars",
            "--name",
            "consul_image",
            "--target",
            "local",
        ],
        &["--format", "tfvars", "--name", "a b"],
        &["--target", "azure/westeurope"],
    ];
    for arguments in more {
        transcripts.push(recorded.transcript_without_store(&[&pinned[..], arguments].concat()));
    }
    transcripts.push(recorded.transcript_without_store(&["resolve", "--pins", FILE, "green"]));
    transcripts.push(recorded.transcript_without_store(&[
        "resolve",
        "--pins",
        "nothing.json",
        "green",
    ]));
    transcripts.push(recorded.transcript_without_store(&["resolve", "--pins", FILE]));
    transcripts.push(recorded.transcript_without_store(&[
        "resolve",
        "--map",
        "image_id=a",
        "quickstart",
    ]));
    settled().bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

#[tokio::test]
async fn a_store_is_asked_for_revocations_too() {
    let recorded = recorded().await;
    let store = recorded.store().await;
    let second = bake(&store, &with("1.0.1", "1.21.0", "1.8.7")).await;
    let mut transcripts = Vec::new();
    let asked = ["resolve", "quickstart:prod"];
    transcripts.push(recorded.transcript(&asked));
    transcripts.push(recorded.transcript(&["resolve", "quickstart@1.0.1", "--format", "plain"]));
    transcripts.push(recorded.transcript(&["resolve", "quickstart:qa"]));
    transcripts.push(recorded.transcript(&["resolve", "quick start"]));
    let held = store
        .resolve(&"quickstart:prod".parse().unwrap())
        .await
        .unwrap();
    revoke(&store, held, Some(second), "2100-01-01T00:00:00Z").await;
    transcripts.push(recorded.transcript(&asked));
    transcripts.push(recorded.transcript(&["resolve", "quickstart:prod", "--format", "github"]));
    revoke(&store, held, Some(second), "2026-11-22T19:00:00Z").await;
    transcripts.push(recorded.transcript(&asked));
    let pushed = ["resolve", "quickstart:prod", "--allow-revoked", "--format"];
    transcripts.push(recorded.transcript(&[&pushed[..], &["plain"]].concat()));
    transcripts.push(recorded.transcript(&[&pushed[..], &["json", "--json"]].concat()));
    // The file alone gives the same result as before: it cannot know.
    transcripts.push(recorded.transcript(&["resolve", "--pins", FILE, "quickstart:prod"]));
    settled().bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

#[tokio::test]
async fn a_file_that_does_not_prove_itself_resolves_nothing() {
    let recorded = recorded().await;
    let text = fs::read_to_string(recorded.path(FILE)).unwrap();
    let lie = text.replace("\"class\": \"qcow2\"", "\"class\": \"vhd\"");
    assert_ne!(lie, text);
    fs::write(recorded.path(FILE), lie).unwrap();
    for form in [
        "json",
        "plain",
        "tfvars",
        "env",
        "github",
        "terraform-external",
    ] {
        let arguments = [
            "resolve",
            "--pins",
            FILE,
            "quickstart:prod",
            "--format",
            form,
        ];
        let output = recorded.run(&arguments, b"{}", false);
        assert_eq!(output.status.code(), Some(7), "{form}");
        assert!(output.stdout.is_empty(), "{form}");
    }
}

#[tokio::test]
async fn an_image_with_several_outputs_is_not_guessed_at() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let mut manifest = with("1.0.0", "1.20.0", "1.8.7");
    for region in ["westeurope", "northeurope"] {
        let id = ID.replace("/g/", &format!("/{region}/"));
        let output = in_cloud(region, "azure-gallery-version", id);
        manifest.outputs.push(output);
    }
    promote(&store, &bake(&store, &manifest).await).await;
    assert!(
        recorded
            .transcript(&["pin", "quickstart:prod"])
            .contains("exit 0")
    );
    let mut transcripts = Vec::new();
    for asked in [
        vec!["quickstart:prod"],
        vec!["--pins", FILE, "quickstart:prod"],
    ] {
        for target in [
            None,
            Some("local"),
            Some("azure/westeurope"),
            Some("azure/eastus"),
        ] {
            let mut arguments = vec!["resolve", "--format", "plain"];
            arguments.extend(&asked);
            target
                .iter()
                .for_each(|target| arguments.extend(["--target", target]));
            transcripts.push(recorded.transcript(&arguments));
        }
    }
    settled().bind(|| insta::assert_snapshot!(transcripts.join("\n")));
    let file = PinFile::parse(FILE, &fs::read(recorded.path(FILE)).unwrap()).unwrap();
    let outputs: Vec<PinnedOutput> = manifest.outputs.iter().map(PinnedOutput::from).collect();
    assert_eq!(file.pin("quickstart:prod").unwrap().outputs, outputs);
}

/// Values that would be more than a value if a script forgot to quote them.
const HOSTILE: [&str; 16] = [
    "it's",
    "a\"b",
    "a\nimage_id=evil",
    "a\r\nb",
    "$(touch owned)",
    "`touch owned`",
    "${var.secret}",
    "%{ for x in y }",
    "::set-output name=image_id::evil",
    "##vso[task.setvariable variable=x]evil",
    "a<<EOF",
    "\u{202e}reversed ünïcode \u{1f600}",
    "a\u{0}b",
    "\u{1b}[31mred",
    "a\u{2028}b",
    "a\\nb; touch owned # &&",
];

#[test]
fn json_forms_hold_every_value_as_it_is() {
    let bicep = Format::Bicep {
        map: vec![("image_id".into(), "vmImageId".into())],
    };
    let tfvars = Format::Tfvars {
        name: "vault_image".into(),
    };
    let table = [
        (Format::Json, "/image_id"),
        (tfvars, "/vault_image/image_id"),
        (Format::TerraformExternal, "/image_id"),
        (bicep, "/parameters/vmImageId/value"),
    ];
    for value in HOSTILE {
        for (format, place) in &table {
            let text = hostile(value).write(format).unwrap();
            let read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read.pointer(place).unwrap(), value, "{format:?}");
        }
    }
}

#[test]
fn line_forms_hold_a_value_as_it_is_or_refuse_it() {
    let mut lines = Vec::new();
    for value in HOSTILE {
        for format in [Format::Plain, Format::Env, Format::Github] {
            match hostile(value).write(&format) {
                Err(error) => {
                    assert!(error.is_invalid());
                    lines.push(format!("{format:?}: {error}"));
                }
                Ok(text) => match format {
                    Format::Plain => assert_eq!(text, format!("{value}\n")),
                    Format::Env => {
                        let line = format!("VAULT_BAKE_IMAGE_ID='{value}'");
                        assert_eq!(text.lines().filter(|it| *it == line).count(), 1);
                        assert_eq!(text.lines().count(), FIELDS.len());
                    }
                    _ => assert_eq!(github(&text)["image_id"], value),
                },
            }
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}

/// Parses lines as the GitHub runner does: `name=value`, or `name<<END` and lines up to `END`.
fn github(text: &str) -> std::collections::BTreeMap<String, String> {
    let mut read = std::collections::BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (equals, heredoc) = (line.find('='), line.find("<<"));
        match (equals, heredoc) {
            (Some(at), other) if other.is_none_or(|other| at < other) => {
                let twice = read.insert(line[..at].to_owned(), line[at + 1..].to_owned());
                assert_eq!(twice, None, "{line}");
            }
            (_, Some(at)) => {
                let end = &line[at + 2..];
                let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
                read.insert(line[..at].to_owned(), value.join("\n"));
            }
            _ => panic!("not a line for a runner: {line:?}"),
        }
    }
    read
}

#[test]
fn warnings_of_any_text_stay_within_their_output() {
    for value in HOSTILE {
        let mut resolved = hostile(ID);
        resolved.warnings = vec![value.into(), "image_id=evil\nEND".into(), "EOF".into()];
        let read = github(&resolved.write(&Format::Github).unwrap());
        assert_eq!(read["image_id"], ID);
        assert_eq!(read.len(), FIELDS.len() + 1);
        assert!(read["warnings"].ends_with("image_id=evil\nEND\nEOF"));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a shell reads the output")]
fn a_shell_reads_values_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut tried = 0;
    for value in HOSTILE {
        let Ok(text) = hostile(value).write(&Format::Env) else {
            continue;
        };
        tried += 1;
        fs::write(folder.path().join("image.env"), text).unwrap();
        let output = std::process::Command::new("sh")
            .args(["-euc", ". ./image.env; printf %s \"$VAULT_BAKE_IMAGE_ID\""])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), value);
    }
    assert!(tried >= 8, "{tried}");
    assert!(!folder.path().join("owned").exists());
}

#[test]
fn every_field_is_there_in_every_flat_form() {
    let resolved = hostile(ID);
    let read = github(&resolved.write(&Format::Github).unwrap());
    let external: Value =
        serde_json::from_str(&resolved.write(&Format::TerraformExternal).unwrap()).unwrap();
    for field in FIELDS {
        assert_eq!(external[field], read[field], "{field}");
    }
    assert!(external.as_object().unwrap().values().all(Value::is_string));
    assert_eq!(read["vault_version"], "1.21.0");
    assert_eq!(read["consul_version"], "");
}
