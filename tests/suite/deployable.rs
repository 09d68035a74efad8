//! One rule decides what is deployable, for every command.

use std::fs;

use serde_json::{Value, json};
use testing::recorded_store::{
    RecordedStore, bake, bake_with, now, promote, revoke, settled, with,
};
use testing::signing::key_pem;
use vault_bake::store::{Allow, DeployState, Depth};

use crate::cli::channels::key_of;

const FILE: &str = "vault-bake.pins.json";

/// A plan that makes a volume of the image whose disk is `disk VERSION`.
fn plan(recorded: &RecordedStore, version: &str) {
    let hex = vault_bake::digest::Digest::hash_bytes(format!("disk {version}")).hex();
    let after = json!({ "source": format!("/srv/store/artifacts/sha256/{hex}.qcow2") });
    let plan = json!({ "format_version": "1.2", "resource_changes": [{
        "address": "libvirt_volume.x", "mode": "managed", "type": "libvirt_volume", "name": "x",
        "change": { "actions": ["create"], "before": Value::Null, "after": after, "after_unknown": {} },
    }] });
    fs::write(recorded.path("plan.json"), plan.to_string()).unwrap();
}

fn disk(recorded: &RecordedStore, version: &str) -> std::path::PathBuf {
    let hex = vault_bake::digest::Digest::hash_bytes(format!("disk {version}")).hex();
    recorded.path(&format!("store/artifacts/sha256/{hex}.qcow2"))
}

#[tokio::test]
async fn an_image_in_every_state_at_every_gate() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    key_of(&recorded.path(""));
    bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    bake_with(&store, &with("1.0.1", "1.20.0", "1.8.7"), Some(false)).await;
    bake_with(&store, &with("1.0.2", "1.20.0", "1.8.7"), None).await;
    let bad = bake(&store, &with("1.0.3", "1.20.0", "1.8.7")).await;
    revoke(&store, bad, None, "2026-11-22T19:00:00Z").await;
    bake(&store, &with("1.0.4", "1.20.0", "1.8.7")).await;
    fs::remove_file(disk(&recorded, "1.0.4")).unwrap();
    let worse = bake_with(&store, &with("1.0.5", "1.20.0", "1.8.7"), Some(false)).await;
    revoke(&store, worse, None, "2026-11-22T19:00:00Z").await;
    let mut transcripts = Vec::new();
    for version in ["1.0.0", "1.0.1", "1.0.2", "1.0.3", "1.0.4", "1.0.5"] {
        let name = format!("quickstart@{version}");
        plan(&recorded, version);
        transcripts.push(recorded.transcript(&["resolve", &name]));
        transcripts.push(recorded.transcript(&["promote", &name, "prod", "--dry-run"]));
        transcripts.push(recorded.transcript(&["check-plan", "plan.json"]));
        transcripts.push(recorded.transcript(&[
            "check-plan",
            "plan.json",
            "--lenient",
            "--allow-untested",
        ]));
        for allow in ["--allow-untested", "--allow-revoked"] {
            transcripts.push(recorded.transcript(&["resolve", &name, allow, "--format", "plain"]));
        }
    }
    settled().bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

#[tokio::test]
async fn a_bare_name_means_the_newest_image_that_may_be_deployed() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    key_of(&recorded.path(""));
    bake_with(&store, &with("1.0.0", "1.20.0", "1.8.7"), Some(false)).await;
    let mut transcripts = vec![recorded.transcript(&["resolve", "quickstart"])];
    bake(&store, &with("1.0.1", "1.20.0", "1.8.7")).await;
    bake_with(&store, &with("1.0.2", "1.20.0", "1.8.7"), None).await;
    transcripts.push(recorded.transcript(&["resolve", "quickstart"]));
    transcripts.push(recorded.transcript(&[
        "resolve",
        "quickstart",
        "--allow-untested",
        "--format",
        "plain",
    ]));
    transcripts.push(recorded.transcript(&["promote", "quickstart", "prod"]));
    transcripts.push(recorded.transcript(&["resolve", "other"]));
    settled().bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

#[tokio::test]
async fn a_record_with_a_forged_signature_is_never_deployable() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let digest = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    let history = store.history().await.unwrap();
    let status = store.evaluate(&history, &digest, now()).await.unwrap();
    assert_eq!(
        (status.state(), status.refusal(Allow::default())),
        (DeployState::Good, None)
    );
    let envelope = history.by_digest(&digest).unwrap().put.envelope.hex();
    let (first, rest) = envelope.split_at(2);
    let path = recorded.path(&format!("store/objects/sha256/{first}/{rest}"));
    let mut forged: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let signature = &mut forged["signatures"][0]["sig"];
    let mut bytes = openssl::base64::decode_block(signature.as_str().unwrap()).unwrap();
    bytes[10] ^= 1;
    *signature = openssl::base64::encode_block(&bytes).into();
    fs::remove_file(&path).unwrap();
    for put in [Some(forged.to_string()), None] {
        if let Some(text) = &put {
            fs::write(&path, text).unwrap();
        }
        let error = store.evaluate(&history, &digest, now()).await.unwrap_err();
        assert!(error.is_integrity(), "{error}");
        let resolved = recorded.run(&["resolve", "quickstart@1.0.0"], b"", true);
        assert_eq!(resolved.status.code(), Some(7), "{put:?}");
        let _ = fs::remove_file(&path);
    }
}

#[tokio::test]
async fn a_revocation_is_seen_wherever_a_person_looks() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    key_of(&recorded.path(""));
    let first = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    promote(&store, &first).await;
    assert!(
        recorded
            .transcript(&["pin", "quickstart:prod"])
            .ends_with("exit 0\n")
    );
    bake(&store, &with("1.0.1", "1.21.0", "1.8.7")).await;
    revoke(&store, first, None, "2026-11-22T19:00:00Z").await;
    let mut transcripts = Vec::new();
    for arguments in [
        &["channel"][..],
        &["channel", "list", "--json"],
        &["channel", "show", "quickstart:prod"],
        &["channel", "log", "quickstart:prod"],
        &["channel", "log", "quickstart:prod", "--json"],
        &["show", "quickstart@1.0.0"],
        &["images"],
        &["images", "--json"],
        &["pin", "quickstart:prod", "--as", "again"],
        &["pin", "--update"],
        &["pin", "--update", "--json"],
        &["verify", "--pins", FILE],
        &["verify", "--pins", FILE, "--json"],
        &["promote", "quickstart@1.0.1", "quickstart:prod"],
        &["promote", "quickstart@1.0.1", "vault:prod"],
        &["pin", "--update"],
        &["verify", "--pins", FILE],
    ] {
        transcripts.push(recorded.transcript(arguments));
    }
    // Standard output has only the stored bytes, so the warning goes to standard error.
    let printed = recorded.run(&["show", "quickstart@1.0.0", "--json"], b"", true);
    transcripts.push(String::from_utf8(printed.stderr).unwrap());
    let mut settings = settled();
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHORT");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME");
    settings.bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

#[tokio::test]
async fn a_store_is_not_sound_without_the_artifact_of_a_channel() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let first = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    promote(&store, &first).await;
    bake(&store, &with("1.0.1", "1.20.0", "1.8.7")).await;
    fs::remove_file(disk(&recorded, "1.0.1")).unwrap();
    let report = store.verify(Depth::Records).await.unwrap();
    assert!(
        report.is_sound() && report.artifacts_missing.len() == 1,
        "{report}"
    );
    fs::remove_file(disk(&recorded, "1.0.0")).unwrap();
    let transcripts = [
        recorded.transcript(&["verify"]),
        recorded.transcript(&["verify", "--records-only"]),
    ];
    insta::assert_snapshot!(transcripts.join("\n"));
}

#[tokio::test]
async fn a_stray_file_in_the_log_is_called_that() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    let folder = recorded.path("store/log/entries/000/000");
    let mut transcripts = Vec::new();
    for name in ["zzz", "002.bak", ".DS_Store"] {
        fs::write(folder.join(name), "stray").unwrap();
        transcripts.push(format!(
            "{name}\n{}{}",
            recorded.transcript(&["images"]),
            recorded.transcript(&["verify"])
        ));
        fs::remove_file(folder.join(name)).unwrap();
    }
    let mut settings = settled();
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHORT");
    settings.bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

#[tokio::test]
async fn a_key_that_may_not_sign_is_named_with_those_that_may() {
    use std::os::unix::fs::PermissionsExt as _;

    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    key_of(&recorded.path(""));
    bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    let stranger = recorded.path("stranger.pem");
    fs::write(&stranger, key_pem(9)).unwrap();
    fs::set_permissions(&stranger, fs::Permissions::from_mode(0o600)).unwrap();
    let promotion = ["promote", "quickstart@1.0.0", "prod"];
    let mut transcripts =
        vec![recorded.transcript(&[&promotion[..], &["--signing-key", "stranger.pem"]].concat())];
    // From here two promoters must sign: with one signature, the error says so.
    let policy = recorded.run(&["trust", "show"], b"", true).stdout;
    let mut policy: Value = serde_json::from_slice(&policy).unwrap();
    let other = testing::signing::key(2);
    let other = other.public();
    policy["keys"][other.id().to_string()] = json!(other);
    for grant in policy["grants"].as_array_mut().unwrap() {
        if grant["role"] == "promoter" {
            grant["keys"]
                .as_array_mut()
                .unwrap()
                .push(json!(other.id()));
            grant["threshold"] = 2.into();
        }
    }
    fs::write(recorded.path("next.json"), policy.to_string()).unwrap();
    transcripts.push(recorded.transcript(&["trust", "set", "next.json"]));
    policy["version"] = 2.into();
    fs::write(recorded.path("next.json"), policy.to_string()).unwrap();
    transcripts.push(recorded.transcript(&["trust", "set", "next.json"]));
    transcripts.push(recorded.transcript(&promotion));
    settled().bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

#[tokio::test]
async fn a_revocation_that_is_likely_a_mistake_is_reported() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    key_of(&recorded.path(""));
    bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    bake_with(&store, &with("1.0.1", "1.20.0", "1.8.7"), None).await;
    let mut transcripts = Vec::new();
    let why = ["--reason", "CVE-2026-1", "--dry-run"];
    for arguments in [
        &["quickstart@1.0.0", "--use", "quickstart@1.0.0"][..],
        &["--versions-of", "quickstart", "--use", "quickstart@1.0.0"],
        &["quickstart@1.0.0", "--use", "quickstart@1.0.1"],
        &["--release", "vault", "--below", "1.16"],
        &["--release", "vault", "--below", "new"],
        &["--release", "valut", "--below", "1.16.0"],
        &["--release", "vault", "--below", "1.16.0"],
        &["--package", "opnssl", "--below", "3.0.18"],
        &["--package", "openssl", "--below", "1.0"],
        &["--versions-of", "quickstrat"],
        &["--versions-of", "quick*", "--from", "9.0.0"],
    ] {
        transcripts.push(recorded.transcript(&[&["revoke"], arguments, &why].concat()));
    }
    let mut settings = settled();
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHORT");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME");
    settings.bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

#[tokio::test]
async fn tables_have_a_header_at_a_terminal_alone() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let first = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    promote(&store, &first).await;
    bake_with(&store, &with("1.0.1", "1.20.0", "1.8.7"), Some(false)).await;
    let mut seen = Vec::new();
    for arguments in ["images", "images --json", "channel", "channel list"] {
        let Some(text) = recorded.on_terminal(arguments) else {
            #[expect(clippy::print_stderr, reason = "a skipped test prints its reason")]
            let () = eprintln!("SKIPPED: no `script` on this machine");
            return;
        };
        seen.push(format!("$ vault-bake {arguments}\n{text}"));
        let piped: Vec<&str> = arguments.split(' ').collect();
        assert!(
            !recorded.transcript(&piped).contains("IMAGE"),
            "{arguments}"
        );
    }
    let mut settings = settled();
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHORT");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME");
    settings.bind(|| insta::assert_snapshot!(seen.join("\n")));
}

/// Files that have the name of an artifact but another content.
fn spoil(what: &str, file: &std::path::Path) {
    fs::remove_file(file).unwrap();
    match what {
        "empty" => fs::write(file, "").unwrap(),
        "other bytes" => fs::write(file, "junk that is longer").unwrap(),
        "a folder" => fs::create_dir(file).unwrap(),
        "a folder with the file" => {
            fs::create_dir(file).unwrap();
            fs::write(file.join("x.qcow2"), "disk 1.0.0").unwrap();
        }
        _ => std::os::unix::fs::symlink("nowhere", file).unwrap(),
    }
}

#[tokio::test]
async fn what_only_has_the_name_of_an_artifact_is_not_deployed() {
    let mut transcripts = Vec::new();
    for what in [
        "empty",
        "other bytes",
        "a folder",
        "a folder with the file",
        "a link to nothing",
    ] {
        let recorded = RecordedStore::new(crate::VAULT_BAKE);
        let store = recorded.store().await;
        promote(
            &store,
            &bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await,
        )
        .await;
        plan(&recorded, "1.0.0");
        spoil(what, &disk(&recorded, "1.0.0"));
        transcripts.push(format!("# {what}"));
        for (arguments, exit) in [
            (&["resolve", "quickstart:prod"][..], 6),
            (&["check-plan", "plan.json"], 6),
            (&["verify"], 7),
        ] {
            let text = recorded.transcript(arguments);
            assert!(text.ends_with(&format!("exit {exit}\n")), "{what}: {text}");
            transcripts.push(text);
        }
    }
    settled().bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

#[tokio::test]
async fn a_stray_file_beside_the_artifacts_stops_nothing() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    key_of(&recorded.path(""));
    bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    fs::write(recorded.path("store/artifacts/sha256/copy (1).qcow2"), "x").unwrap();
    fs::write(recorded.path("store/artifacts/a\u{1b}[2J"), "x").unwrap();
    let transcripts = [&["gc"][..], &["gc", "--plan"], &["verify"]].map(|arguments| {
        let text = recorded.transcript(arguments);
        assert!(text.ends_with("exit 0\n"), "{text}");
        text
    });
    let mut settings = settled();
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHORT");
    settings.add_filter(r"NOT SEEN   \d+ processes.*\n", "");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME");
    settings.bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

/// Returns the commands between backquotes, with a value for each `…`.
fn commands(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let commands = quoted.filter(|one| one.starts_with("vault-bake "));
    commands.map(|one| one.replace('…', "because")).collect()
}

#[tokio::test]
async fn every_revocation_is_named_with_what_takes_it_back() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    key_of(&recorded.path(""));
    let first = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    revoke(&store, first, None, "2026-11-22T19:00:00Z").await;
    revoke(&store, first, None, "2026-11-22T20:00:00Z").await;
    let refused = recorded.transcript(&["resolve", "quickstart@1.0.0"]);
    let hints = commands(&refused);
    assert_eq!(hints.len(), 2, "{refused}");
    let mut transcripts = vec![refused];
    for hint in hints {
        let words: Vec<&str> = hint.split(' ').map(|word| word.trim_matches('"')).collect();
        let ["vault-bake", arguments @ ..] = &words[..] else {
            panic!("{hint}");
        };
        let text = recorded.transcript(arguments);
        assert!(text.ends_with("exit 0\n"), "{text}");
        transcripts.push(text);
    }
    transcripts.push(recorded.transcript(&["resolve", "quickstart@1.0.0", "--format", "plain"]));
    settled().bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}
