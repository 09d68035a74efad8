//! The store: kept records, concurrent writers, and detection of changes.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose preparation fails has failed"
)]

mod address;
mod by_hand;
mod channels;
mod folder;
mod gc;
mod local_cache;
mod proposals;
mod revocation;
mod rollouts;
mod sbom;
mod trust;
mod tamper;
mod writers;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use tempfile::TempDir;
use testing::sample::{self, check, packages, sample};
use testing::signing::{signer, trust};
use uuid::Uuid;
use vault_bake::digest::{Digest, canonical_json};
use vault_bake::manifest::{Manifest, Reference, TestRecord};
use vault_bake::sign::sign;
use vault_bake::store::backend::{Backend as _, Created};
use vault_bake::store::dir::Dir;
use vault_bake::store::event::{Body, ManifestPut, PAYLOAD_TYPE};
use vault_bake::store::{Depth, Store, StoreError, TestState};
use vault_bake::wait::Interrupt;

fn now() -> Timestamp {
    "2026-11-22T19:30:00Z".parse().unwrap()
}

async fn store(root: &Path) -> Store<Dir> {
    let store = Store::open_or_create(Dir::new(root), &trust(), now()).await;
    store
        .unwrap()
        .with_signers(vec![signer(1)], Interrupt::default())
}

/// Puts the disk, the package list and the manifest of a build into the store.
async fn put(store: &Store<Dir>, version: &str, disk: &str) -> Result<Digest, StoreError> {
    put_as(store, &sample(version, disk), disk).await
}

async fn put_as(store: &Store<Dir>, manifest: &Manifest, disk: &str) -> Result<Digest, StoreError> {
    let captured = store
        .backend()
        .root()
        .with_extension(format!("captured-{}", manifest.version));
    fs::write(&captured, disk).unwrap();
    let digest = Digest::hash_bytes(disk);
    store.adopt_artifact(&captured, digest).await?;
    assert!(!captured.exists());
    store.put_packages(&packages(), "dpkg").await?;
    store.put_manifest(manifest, now()).await
}

fn test_record(manifest: Digest, passed: bool) -> TestRecord {
    sample::test_record(manifest, now(), passed)
}

/// Returns all files below `root`, without temporary ones.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn a_bake_is_recorded_found_and_tested() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let store = store(&root).await;
    let first = put(&store, "2026.1122.0", "disk 0").await.unwrap();
    let second = put(&store, "2026.1122.1", "disk 1").await.unwrap();
    store
        .put_test(&test_record(first, false), now())
        .await
        .unwrap();
    store
        .put_test(&test_record(first, true), now())
        .await
        .unwrap();
    store
        .put_test(&test_record(second, false), now())
        .await
        .unwrap();

    let rows = store.images(now()).await.unwrap();
    let printed: Vec<String> = rows
        .iter()
        .map(|row| {
            let (state, here) = (row.state, row.artifact_present);
            format!(
                "{}@{} {state} here={here} fixture={}",
                row.image, row.version, row.fixture
            )
        })
        .collect();
    insta::assert_snapshot!(printed.join("\n"), @r#"
quickstart@2026.1122.0 tested here=true fixture=true
quickstart@2026.1122.1 failed here=true fixture=true
"#);
    assert_eq!(rows[0].state, TestState::Tested);

    let manifest = store.manifest(&first).await.unwrap();
    assert_eq!(manifest, sample("2026.1122.0", "disk 0"));
    assert_eq!(store.packages(&manifest).await.unwrap().len(), 3);
    assert_eq!(store.tests(&first).await.unwrap().len(), 2);
    let artifact = store.artifact(&manifest, &root).await.unwrap();
    let artifact = artifact.unwrap();
    assert!(artifact.starts_with(&root), "booted where it is");
    assert_eq!(fs::read(&artifact).unwrap(), b"disk 0");
    for file in files(&root) {
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o444, "{}", file.display());
    }

    let resolve = async |text: &str| store.resolve(&text.parse::<Reference>().unwrap()).await;
    assert_eq!(resolve("quickstart").await.unwrap(), second);
    assert_eq!(resolve("quickstart@2026.1122.0").await.unwrap(), first);
    assert_eq!(resolve(&first.to_string()).await.unwrap(), first);
    assert_eq!(resolve(&first.to_string()[..19]).await.unwrap(), first);
    let mut refusals = Vec::new();
    for text in [
        "other",
        "quickstart@1.2.3",
        "sha256:000000000000",
        "quickstart:prod",
    ] {
        refusals.push(resolve(text).await.unwrap_err().to_string());
    }
    insta::assert_snapshot!(refusals.join("\n"), @"
    other is not in the store
    quickstart@1.2.3 is not in the store
    sha256:000000000000 is not in the store
    the channel quickstart:prod does not exist
    ");

    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound());
    insta::assert_snapshot!(
        "sound_report",
        serde_json::to_string_pretty(&report).unwrap()
    );
}

#[tokio::test]
async fn golden_entries() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let store = store(&root).await;
    let digest = put(&store, "1.0.0", "disk").await.unwrap();
    let record = test_record(digest, true);
    store.put_test(&record, now()).await.unwrap();
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let mut printed = vec![read("store.json")];
    for name in ["log/entries/000/000/001", "log/entries/000/000/002"] {
        let mut envelope: serde_json::Value = serde_json::from_str(&read(name)).unwrap();
        let payload = STANDARD.decode(envelope["payload"].as_str().unwrap());
        printed.push(String::from_utf8(payload.unwrap()).unwrap());
        envelope["payload"] = "…".into();
        printed.push(envelope.to_string());
    }
    let mut settings = insta::Settings::clone_current();
    // Ids are random, and so are digests that contain them.
    settings.add_filter(r#""(id|prev|sig)":"[^"]*""#, r#""$1":"…""#);
    settings.bind(|| insta::assert_snapshot!("golden_entries", printed.join("\n")));
}

#[tokio::test]
async fn doing_it_again_is_no_error_and_leaves_no_trace() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let store = store(&root).await;
    let digest = put(&store, "1.0.0", "disk").await.unwrap();
    store
        .put_test(&test_record(digest, true), now())
        .await
        .unwrap();
    let before = files(&root);
    assert_eq!(put(&store, "1.0.0", "disk").await.unwrap(), digest);
    store
        .put_test(&test_record(digest, true), now())
        .await
        .unwrap();
    assert_eq!(files(&root), before);
    // A writer that got an error after its event had become durable tries again with the same id.
    let manifest = sample("1.0.1", "disk");
    let digest = store.put_object(&manifest.to_bytes()).await.unwrap();
    let body = Body::ManifestPut(ManifestPut::from_manifest(&manifest, digest, digest));
    let id = Uuid::from_u128(7);
    store.append(id, now(), body.clone()).await.unwrap();
    store.append(id, now(), body).await.unwrap();
    assert_eq!(store.history().await.unwrap().head(), 3);
}

#[tokio::test]
async fn refusals() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let absent = Store::open(Dir::new("no/such/store")).await.err().unwrap();
    let store = store(&root).await;
    let unknown = Digest::hash_bytes("unknown");
    let no_disk = store
        .put_manifest(&sample("1.0.0", "disk"), now())
        .await
        .unwrap_err();
    let first = put(&store, "1.0.0", "disk").await.unwrap();
    let taken = put(&store, "1.0.0", "another disk").await.unwrap_err();
    assert!(taken.is_conflict() && !taken.is_integrity());
    let wrong = Manifest {
        image: "../x".into(),
        ..sample("1.0.1", "disk")
    };
    let lie = TestRecord {
        checks: vec![check("vault.tls-only", false)],
        ..test_record(first, true)
    };
    let escaping = Manifest {
        outputs: vec![vault_bake::manifest::Output {
            id: "../../etc/passwd".into(),
            ..sample("1.0.2", "disk").outputs[0].clone()
        }],
        ..sample("1.0.2", "disk")
    };
    let before = store.history().await.unwrap().head();
    let errors = [
        absent,
        no_disk,
        taken,
        store.put_manifest(&wrong, now()).await.unwrap_err(),
        store.put_manifest(&escaping, now()).await.unwrap_err(),
        store
            .put_test(&test_record(unknown, true), now())
            .await
            .unwrap_err(),
        store.put_test(&lie, now()).await.unwrap_err(),
        store.object(&unknown).await.unwrap_err(),
    ];
    assert_eq!(store.history().await.unwrap().head(), before);
    let printed: Vec<String> = errors.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("store_refusals", printed.join("\n"));
}

#[tokio::test]
async fn the_next_version_is_above_all_that_were_taken() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    let date = jiff::civil::date(2026, 11, 22);
    let next = async || {
        store
            .next_version("quickstart", date)
            .await
            .unwrap()
            .to_string()
    };
    assert_eq!(next().await, "2026.1122.0");
    put(&store, "2026.1122.0", "a").await.unwrap();
    put(&store, "2026.1122.9", "b").await.unwrap();
    put(&store, "2026.1121.30", "c").await.unwrap();
    assert_eq!(next().await, "2026.1122.10");
    put(&store, "2026.1122.2147483647", "d").await.unwrap();
    let error = store.next_version("quickstart", date).await.unwrap_err();
    insta::assert_snapshot!(error, @"quickstart has no version left for this day");
    assert_eq!(
        store.next_version("other", date).await.unwrap().to_string(),
        "2026.1122.0"
    );
}

/// Appends an entry as a holder of key number `key` who ignores the rules.
async fn append_as(
    key: u8,
    store: &Store<Dir>,
    kind: &str,
    body: serde_json::Value,
    more: serde_json::Value,
) {
    let seq = store.history().await.unwrap().head() + 1;
    let root = store.backend().root();
    let before = match seq {
        1 => root.join("store.json"),
        _ => root.join(format!("log/entries/000/000/{:03}", seq - 1)),
    };
    let mut entry = serde_json::json!({
        "schema": "https://vault-bake.dev/event/v1", "seq": seq, "prev": Digest::hash_bytes(fs::read(before).unwrap()),
        "id": Uuid::from_u128(u128::from(seq)), "at": "2026-11-22T19:30:00Z", "kind": kind, "body": body,
    });
    for (key, value) in more.as_object().unwrap() {
        entry[key] = value.clone();
    }
    let payload = canonical_json(&entry);
    let envelope = sign(PAYLOAD_TYPE, payload, &[signer(key)], &Interrupt::default()).await;
    let name = format!("log/entries/000/000/{seq:03}");
    let bytes = envelope.unwrap().to_bytes();
    let created = store.backend().create(&name, &bytes).await.unwrap();
    assert_eq!(created, Created::New);
}

async fn append_raw(
    store: &Store<Dir>,
    kind: &str,
    body: serde_json::Value,
    more: serde_json::Value,
) {
    append_as(1, store, kind, body, more).await;
}

#[tokio::test]
async fn readers_void_what_breaks_a_rule() {
    use serde_json::json;
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    let first = put(&store, "1.0.0", "disk").await.unwrap();
    let other = Digest::hash_bytes("another manifest");
    let put_body = |image: &str, manifest: Digest| {
        let mut body = json!(ManifestPut::from_manifest(
            &sample("1.0.0", "disk"),
            manifest,
            other
        ));
        body["image"] = image.into();
        body
    };
    let none = || json!({});
    append_raw(
        &store,
        "manifest.put",
        put_body("quickstart", other),
        none(),
    )
    .await;
    append_raw(
        &store,
        "manifest.put",
        put_body("quickstart", first),
        none(),
    )
    .await;
    append_raw(&store, "manifest.put", put_body("../x", other), none()).await;
    append_raw(
        &store,
        "test.put",
        json!({ "manifest": other, "test": other, "envelope": other, "passed": true }),
        none(),
    )
    .await;
    append_raw(&store, "test.put", json!({ "manifest": first }), none()).await;
    append_raw(&store, "channel.set", json!({}), none()).await;
    let used = json!({ "id": Uuid::from_u128(2) });
    append_raw(&store, "manifest.put", put_body("other", other), used).await;

    let history = store.history().await.unwrap();
    assert_eq!(history.recorded().len(), 1);
    let voids: Vec<String> = history
        .voids()
        .iter()
        .map(|void| format!("{} {}", void.seq, void.why))
        .collect();
    insta::assert_snapshot!("voids", voids.join("\n"));
    let newest = store.resolve(&"quickstart".parse().unwrap()).await.unwrap();
    assert_eq!(newest, first);
    let second = put(&store, "1.0.1", "disk 1").await.unwrap();
    assert_eq!(
        store.resolve(&"quickstart".parse().unwrap()).await.unwrap(),
        second
    );
    assert!(store.verify(Depth::Records).await.unwrap().is_sound());

    append_raw(&store, "key.revoke", json!({}), json!({ "critical": true })).await;
    let error = store.history().await.err().unwrap();
    insta::assert_snapshot!(error, @"entry 10 of the log is a `key.revoke`, which this version does not know");
    assert!(!error.is_integrity());
}
