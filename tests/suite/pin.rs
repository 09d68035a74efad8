//! Pins: content and proof of the file, and detection of changes.

mod proof;
pub mod tamper;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use testing::recorded_store::{RecordedStore, bake, now, promote, revoke, settled, with};
use vault_bake::pin::{PinError, PinFile};

const FILE: &str = "vault-bake.pins.json";

/// Makes a pin file with the pin `quickstart:prod`, of a store with two images; the channel points
/// to the first.
async fn pinned(recorded: &RecordedStore) -> PinFile {
    let store = recorded.store().await;
    let first = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    promote(&store, &first).await;
    let history = store.history().await.unwrap();
    let mut file = PinFile::new("pins", &store, &history).await.unwrap();
    let of = ("quickstart", "prod");
    file.add(None, of, &store, &history, now()).await.unwrap();
    file
}

#[tokio::test]
async fn golden_file() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let file = pinned(&recorded).await;
    let text = file.to_text();
    assert!(text.ends_with("}\n") && !text.contains(&recorded.path("").display().to_string()));
    assert_eq!(PinFile::parse("pins", text.as_bytes()).unwrap(), file);
    settled().bind(|| insta::assert_snapshot!(text));
    // Another layout is the same file, and is written in our layout.
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let again = PinFile::parse("pins", value.to_string().as_bytes()).unwrap();
    assert_eq!(again.to_text(), text);
}

#[tokio::test]
async fn a_deployment_pins_moves_on_and_verifies() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let first = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    promote(&store, &first).await;
    let mut transcripts = vec![
        recorded.transcript(&["pin", "--update"]),
        recorded.transcript(&["pin", "quickstart:prod", "--dry-run"]),
    ];
    assert!(!recorded.path(FILE).exists());
    transcripts.push(recorded.transcript(&["pin", "quickstart:prod"]));
    transcripts.push(recorded.transcript(&["pin", "quickstart:prod"]));
    transcripts.push(recorded.transcript(&["pin", "quickstart:prod", "--as", "blue"]));
    transcripts.push(recorded.transcript(&["pin", "quickstart:prod", "--as", "b/lue"]));
    transcripts.push(recorded.transcript(&["pin", "quickstart:qa"]));
    transcripts.push(recorded.transcript(&["pin", "quickstart"]));
    transcripts.push(recorded.transcript(&["pin", "--update"]));
    let second = bake(&store, &with("1.0.1", "1.21.0", "1.8.7")).await;
    promote(&store, &second).await;
    let before = fs::read(recorded.path(FILE)).unwrap();
    transcripts.push(recorded.transcript(&["pin", "--update", "--dry-run", "blue"]));
    assert_eq!(fs::read(recorded.path(FILE)).unwrap(), before);
    transcripts.push(recorded.transcript(&["pin", "--update", "blue"]));
    transcripts.push(recorded.transcript(&["pin", "--update", "green"]));
    transcripts.push(recorded.transcript(&["pin", "--update", "--json"]));
    transcripts.push(recorded.transcript_without_store(&["verify", "--pins", FILE]));
    transcripts.push(recorded.transcript(&["verify", "--pins", FILE]));
    let after = fs::read(recorded.path(FILE)).unwrap();
    transcripts.push(recorded.transcript(&["pin", "--update"]));
    assert_eq!(fs::read(recorded.path(FILE)).unwrap(), after);
    let mut settings = settled();
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHORT");
    settings.bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

#[tokio::test]
async fn a_file_is_replaced_whole_and_keeps_its_mode() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let first = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    promote(&store, &first).await;
    fs::create_dir(recorded.path("real")).unwrap();
    let (real, link) = (recorded.path("real/pins.json"), recorded.path("pins.json"));
    assert!(
        recorded
            .transcript(&["pin", "quickstart:prod", "--file", "real/pins.json"])
            .contains("exit 0")
    );
    fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let transcripts =
        recorded.transcript(&["pin", "quickstart:prod", "--as", "b", "--file", "pins.json"]);
    assert!(transcripts.contains("exit 0"), "{transcripts}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let mode = fs::metadata(&real).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let names: Vec<_> = fs::read_dir(recorded.path("real")).unwrap().collect();
    assert_eq!(names.len(), 1, "a temporary file stayed behind");
    let file = PinFile::parse("pins", &fs::read(&real).unwrap()).unwrap();
    assert_eq!(file.pins().len(), 2);
}

#[tokio::test]
async fn what_is_revoked_is_not_pinned_and_shows_where_it_is() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let first = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    promote(&store, &first).await;
    let mut transcripts = vec![recorded.transcript(&["pin", "quickstart:prod"])];
    let second = bake(&store, &with("1.0.1", "1.21.0", "1.8.7")).await;
    promote(&store, &second).await;
    revoke(&store, second, Some(first), "2026-11-22T19:00:00Z").await;
    transcripts.push(recorded.transcript(&["pin", "--update"]));
    transcripts.push(recorded.transcript(&["verify", "--pins", FILE]));
    revoke(&store, first, None, "2100-01-01T00:00:00Z").await;
    transcripts.push(recorded.transcript(&["verify", "--pins", FILE]));
    revoke(&store, first, None, "2026-11-22T19:00:00Z").await;
    transcripts.push(recorded.transcript(&["verify", "--pins", FILE]));
    transcripts.push(recorded.transcript_without_store(&["verify", "--pins", FILE]));
    let mut settings = settled();
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHORT");
    settings.bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

#[tokio::test]
async fn what_is_no_pin_file_is_named() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let text = pinned(&recorded).await.to_text();
    let table: [(&str, String); 12] = [
        ("empty", String::new()),
        ("not JSON", "pins: []".into()),
        ("no object", "[]".into()),
        ("another schema", text.replace("pins/v1", "pins/v9")),
        (
            "unknown key of the file",
            text.replacen("\"store\"", "\"more\": 1,\n  \"store\"", 1),
        ),
        (
            "unknown key of a pin",
            text.replacen("\"image\"", "\"colour\": \"blue\",\n  \"image\"", 1),
        ),
        (
            "unknown key of an envelope",
            text.replacen("\"payloadType\"", "\"extra\": 1, \"payloadType\"", 1),
        ),
        (
            "a key twice",
            text.replacen("\"image\"", "\"image\": \"x\",\n  \"image\"", 1),
        ),
        (
            "a key missing",
            text.replacen("\"channel\": \"prod\",", "", 1),
        ),
        (
            "a number with a fraction",
            text.replacen("\"generation\": 1", "\"generation\": 1.5", 1),
        ),
        (
            "a name that lies",
            text.replacen("\"quickstart:prod\"", "\"quickstart:qa\"", 1),
        ),
        ("no signature", {
            let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
            value["store"]["head"]["entry"]["signatures"] = serde_json::json!([]);
            value.to_string()
        }),
    ];
    let mut lines = Vec::new();
    for (what, text) in table {
        let error = PinFile::parse("pins.json", text.as_bytes()).unwrap_err();
        assert!(error.is_invalid() && !error.is_integrity(), "{what}");
        lines.push(format!("{what}\n    {error}"));
    }
    settled().bind(|| insta::assert_snapshot!(lines.join("\n")));
    // If the proof of an existing file fails, that is no usage error.
    let broken = text.replacen("\"sig\": \"", "\"sig\": \"!", 7);
    fs::write(recorded.path(FILE), broken).unwrap();
    let transcripts = [
        recorded.transcript_without_store(&["verify", "--pins", FILE]),
        recorded.transcript_without_store(&["verify", "--pins", "none.json"]),
        recorded.transcript_without_store(&["verify", "--pins", FILE, "--records-only"]),
        recorded.transcript(&["pin", "--update"]),
    ];
    insta::assert_snapshot!(transcripts.join("\n"));
}

#[tokio::test]
async fn older_copies_and_other_stores_are_noticed() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let first = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    let second = bake(&store, &with("1.0.1", "1.21.0", "1.8.7")).await;
    promote(&store, &first).await;
    recorded.copy_store("yesterday");
    promote(&store, &second).await;
    assert!(
        recorded
            .transcript(&["pin", "quickstart:prod"])
            .contains("exit 0")
    );

    // Same name, images and key, but another store.
    let other = RecordedStore::new(crate::VAULT_BAKE);
    let theirs = other.store().await;
    for manifest in [
        with("1.0.0", "1.20.0", "1.8.7"),
        with("1.0.1", "1.21.0", "1.8.7"),
    ] {
        promote(&theirs, &bake(&theirs, &manifest).await).await;
    }
    // Yesterday's copy with new entries: as long as ours, with another history.
    let root = recorded.path("yesterday");
    let forked = testing::recorded_store::open(&root, &testing::signing::trust(), &[1]).await;
    let mut lines = Vec::new();
    let yesterday = root.display().to_string();
    let elsewhere = other.path("store").display().to_string();
    let mut ask = |what: &str, store: &str| {
        for arguments in [
            vec!["pin", "--update", "--store", store],
            vec!["pin", "quickstart:prod", "--as", "more", "--store", store],
            vec!["verify", "--pins", FILE, "--store", store],
        ] {
            // A host without a local cache of the store has only the pin file.
            let cache = recorded.path(&format!("cache-{}", lines.len()));
            let cache = cache.display().to_string();
            let arguments = [&arguments[..], &["--cache", &cache]].concat();
            let output = recorded.run(&arguments, b"", false);
            assert_eq!(output.status.code(), Some(7), "{what}");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            lines.push(format!("{what}, {}: {text}", arguments[0]));
        }
    };
    ask("yesterday's copy", &yesterday);
    ask("another store", &elsewhere);
    let third = bake(&forked, &with("1.0.2", "1.21.0", "1.8.7")).await;
    promote(&forked, &third).await;
    ask("a copy that went on by itself", &yesterday);
    settled().bind(|| insta::assert_snapshot!(lines.join("")));
    assert!(
        recorded
            .transcript(&["pin", "--update"])
            .contains("up to date")
    );
}

#[tokio::test]
async fn generations_in_a_store_only_grow() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let mut file = pinned(&recorded).await;
    // The check of the library, if the end of the log was not checked.
    let other = RecordedStore::new(crate::VAULT_BAKE);
    let store = other.store().await;
    let another = bake(&store, &with("1.0.5", "1.21.0", "1.8.7")).await;
    promote(&store, &another).await;
    let history = store.history().await.unwrap();
    let before = file.clone();
    let error = file.update(&[], &store, &history, now()).await.unwrap_err();
    assert!(matches!(error, PinError::OtherStore { .. }) && error.is_integrity());
    assert_eq!(file, before);
}
