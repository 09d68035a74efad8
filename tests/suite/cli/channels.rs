//! The commands for channels, in turn: promote, rollback, channel, revoke, restore, trust.

use std::os::unix::fs::PermissionsExt as _;

use jiff::Timestamp;
use testing::sample::test_record;
use testing::signing::{key_pem, signer};
use vault_bake::store::{Dir, Store};
use vault_bake::wait::Interrupt;

use super::*;

/// Makes a store with three tested images, the last with an older Vault, and a key that may write
/// to it.
pub async fn tested(home: &Path) {
    records::recorded(home).await;
    let now: Timestamp = "2026-11-22T19:30:00Z".parse().unwrap();
    let store = Store::open(Dir::new(home.join(".local/share/vault-bake/store"))).await;
    let store = store
        .unwrap()
        .with_signers(vec![signer(1)], Interrupt::default());
    let history = store.history().await.unwrap();
    for recorded in history.recorded() {
        let record = test_record(recorded.put.manifest, now, true);
        store.put_test(&record, now).await.unwrap();
    }
    key_of(home);
}

/// Writes the key to the path where the binary reads it.
pub fn key_of(home: &Path) {
    let folder = home.join(".config/vault-bake");
    fs::create_dir_all(&folder).unwrap();
    let key = folder.join("signing-key.pem");
    fs::write(&key, key_pem(1)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Formats the output of these commands in turn, without values that differ between runs.
pub fn session(folder: &Path, commands: &[&[&str]]) -> String {
    let mut lines = Vec::new();
    for arguments in commands {
        let output = run(folder, arguments);
        let message = format_run(folder, &output);
        lines.push(format!("$ vault-bake {}\n{message}", arguments.join(" ")));
    }
    lines.join("\n")
}

pub fn assert_session(name: &str, text: &str) {
    insta::with_settings!({filters => vec![
        (r"sha256:[0-9a-f]{64}", "DIGEST"),
        (r"\b[0-9a-f]{12}\b", "SHORT"),
        (r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    ]}, {
        insta::assert_snapshot!(name, text);
    });
}

#[tokio::test]
async fn a_channel_moves_and_moves_back() {
    let folder = tempfile::tempdir().unwrap();
    tested(folder.path()).await;
    let text = session(
        folder.path(),
        &[
            &["promote", "quickstart@1.0.0", "staging", "--dry-run"],
            &["channel", "show", "quickstart:staging"],
            &["promote", "quickstart@1.0.0", "staging"],
            &["promote", "quickstart@1.0.1", "staging", "--expect", "0"],
            &[
                "promote",
                "quickstart@1.0.1",
                "staging",
                "--expect",
                "1",
                "--note",
                "November",
            ],
            &["promote", "quickstart:staging", "prod", "--json"],
            &[
                "rollback",
                "quickstart:staging",
                "--reason",
                "too slow",
                "--dry-run",
            ],
            &["rollback", "quickstart:staging", "--reason", "too slow"],
            &["rollback", "quickstart:prod", "--reason", "too slow"],
            &[
                "rollback",
                "quickstart:prod",
                "--to",
                "quickstart@1.0.2",
                "--reason",
                "too slow",
            ],
            &["rollback", "quickstart", "--reason", "too slow"],
            &["channel", "list"],
            &["channel", "log", "quickstart:staging"],
            &["channel", "show", "quickstart:staging@2", "--json"],
            &["channel", "show", "quickstart:staging@9"],
            &["channel", "log", "quickstart:qa"],
            &["show", "quickstart:qa"],
            &["verify"],
        ],
    );
    assert_session("channels", &text);
}

#[tokio::test]
async fn a_revocation_is_seen_before_it_is_made_and_can_be_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    tested(folder.path()).await;
    let text = session(
        folder.path(),
        &[
            &["promote", "quickstart@1.0.2", "prod"],
            &[
                "revoke",
                "--release",
                "vault",
                "--below",
                "1.21.0",
                "--reason",
                "CVE-2026-1",
                "--dry-run",
            ],
            &[
                "revoke",
                "--release",
                "vault",
                "--below",
                "1.21.0",
                "--reason",
                "CVE-2026-1",
            ],
            &["promote", "quickstart@1.0.2", "staging"],
            &[
                "revoke",
                "quickstart@1.0.0",
                "--reason",
                "old",
                "--at",
                "2030-01-01T00:00:00Z",
                "--use",
                "quickstart@1.0.1",
                "--json",
            ],
            &[
                "revoke",
                "--package",
                "zlib1g",
                "--below",
                "1.3",
                "--reason",
                "CVE-2026-2",
            ],
            &["revoke", "--list"],
            &["restore", "8", "--reason", "a mistake", "--dry-run"],
            &["restore", "8", "--reason", "a mistake"],
            &["restore", "9", "--reason", "a mistake", "--json"],
            &["restore", "1", "--reason", "a mistake"],
            &["promote", "quickstart@1.0.2", "staging"],
            &["revoke", "--reason", "what?"],
            &[
                "revoke",
                "--release",
                "vault",
                "--below",
                "1.21",
                "--reason",
                "x",
            ],
            &["revoke", "--release", "vault", "--reason", "x"],
            &[
                "revoke",
                "quickstart@1.0.0",
                "--reason",
                "x",
                "--at",
                "tomorrow",
            ],
            &["revoke", "--list", "--json"],
        ],
    );
    assert_session("revocations", &text);
}

#[tokio::test]
async fn a_key_is_made_once_and_only_the_right_one_may_write() {
    let folder = tempfile::tempdir().unwrap();
    tested(folder.path()).await;
    let at = folder.path();
    let policy = run(at, &["trust", "show"]);
    fs::write(at.join("trust.json"), &policy.stdout).unwrap();
    fs::write(at.join("stranger.pem"), key_pem(9)).unwrap();
    fs::set_permissions(at.join("stranger.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let text = String::from_utf8(policy.stdout).unwrap();
    let next = text.replace("\"version\": 1", "\"version\": 2");
    fs::write(at.join("next.json"), &next).unwrap();
    fs::write(
        at.join("slip.json"),
        next.replace("\"grants\"", "\"grant\""),
    )
    .unwrap();
    let text = session(
        at,
        &[
            &["images", "--trust", "trust.json"],
            &["images", "--trust", "next.json"],
            &["images", "--trust", "absent.json"],
            &["trust", "set", "slip.json"],
            &["trust", "set", "next.json", "--dry-run"],
            &["trust", "set", "next.json", "--signing-key", "stranger.pem"],
            &["trust", "set", "next.json"],
            &["trust", "set", "next.json", "--json"],
            &[
                "promote",
                "quickstart@1.0.0",
                "prod",
                "--signing-key",
                "stranger.pem",
            ],
            &[
                "promote",
                "quickstart@1.0.0",
                "prod",
                "--signing-key",
                "absent.pem",
            ],
            &["promote", "quickstart@1.0.0", "prod", "--signer", "false"],
        ],
    );
    assert_session("trust", &text);

    let fresh = tempfile::tempdir().unwrap();
    let made = run(fresh.path(), &["trust", "key"]);
    let again = run(fresh.path(), &["trust", "key"]);
    assert_eq!(made.stdout, again.stdout);
    assert!(again.stderr.is_empty());
    let path = fresh.path().join(".config/vault-bake/signing-key.pem");
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = String::from_utf8(made.stderr).unwrap();
    let text = text.replace(&fresh.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!("key_made", text);
}

/// An option that a rule ignores would revoke more images than were asked for.
#[tokio::test]
async fn a_revocation_with_an_option_of_another_rule_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    tested(folder.path()).await;
    let revoke: &[&[&str]] = &[
        &["revoke", "quickstart", "--below", "1.2.3", "--reason", "x"],
        &["revoke", "quickstart", "--from", "9.9.9", "--reason", "x"],
        &[
            "revoke",
            "--release",
            "vault",
            "--below",
            "1.21.0",
            "--to",
            "1.0.0",
            "--reason",
            "x",
        ],
        &["revoke", "quickstart", "--reason", " "],
        &["revoke", "--list", "--json"],
        &["revoke", "--reason", "x", "--json"],
    ];
    assert_session("revoke_options", &session(folder.path(), revoke));
}
