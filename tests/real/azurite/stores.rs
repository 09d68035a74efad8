//! Stores in a container: records, tests, artifacts, concurrent writers, and detection of changes.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use vault_bake::digest::Digest;
use vault_bake::store::backend::{Backend as _, Created};
use vault_bake::store::event::Retention;
use vault_bake::store::gc::{ExternalUses, GcOutcome};
use vault_bake::store::{Blob, Depth, Store, StoreError};

use super::server::{Azurite, azurite, open, open_with};
use testing::crash_test::{now, put};
use testing::sample::{packages, sample, test_record};
use testing::signing::signed_store;

async fn store(blob: Blob) -> Store<Blob> {
    signed_store(blob, now()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_a_container_keeps_what_it_was_given() {
    let Some(azurite) = azurite() else { return };
    tokio::join!(
        a_bake_is_recorded_found_tested_and_proved(&azurite),
        an_artifact_without_holds_is_removed_and_its_record_stays(&azurite),
        of_sixteen_writers_of_one_version_one_wins(&azurite),
        a_big_artifact_goes_up_and_comes_back_and_a_flipped_byte_is_noticed(&azurite),
        two_senders_of_one_artifact_agree(&azurite),
    );
}

async fn a_bake_is_recorded_found_tested_and_proved(azurite: &Azurite) {
    let folder = TempDir::new().unwrap();
    let store = store(azurite.blob("bakes").await).await;
    let first = put(&store, folder.path(), "2026.1122.0", "disk 0")
        .await
        .unwrap();
    let second = put(&store, folder.path(), "2026.1122.1", "disk 1")
        .await
        .unwrap();
    assert_eq!(
        put(&store, folder.path(), "2026.1122.1", "disk 1")
            .await
            .unwrap(),
        second
    );
    let record = test_record(first, now(), true);
    store.put_test(&record, now()).await.unwrap();

    // Another machine has the same view.
    let store = Store::open(open(azurite.port, "bakes")).await.unwrap();
    let rows = store.images(now()).await.unwrap();
    let printed: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                "{}@{} {} {}",
                row.image, row.version, row.state, row.artifact_present
            )
        })
        .collect();
    assert_eq!(
        printed,
        [
            "quickstart@2026.1122.0 tested true",
            "quickstart@2026.1122.1 untested true"
        ]
    );
    assert_eq!(
        store.resolve(&"quickstart".parse().unwrap()).await.unwrap(),
        second
    );
    let taken = put(&store, folder.path(), "2026.1122.0", "another disk")
        .await
        .unwrap_err();
    assert!(taken.is_conflict(), "{taken}");
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound() && report.voids.is_empty(), "{report:#?}");
    assert_eq!(
        (
            report.entries,
            report.manifests,
            report.tests,
            report.artifacts
        ),
        (3, 2, 1, 2)
    );
}

/// Blobs are deleted as files are: by a plan and an event, and only without holds.
async fn an_artifact_without_holds_is_removed_and_its_record_stays(azurite: &Azurite) {
    let folder = TempDir::new().unwrap();
    let store = store(azurite.blob("retention").await).await;
    let mut recorded = Vec::new();
    for (version, disk) in [
        ("1.0.0", "disk 0"),
        ("1.0.1", "disk 1"),
        ("1.0.2", "disk 2"),
    ] {
        let manifest = put(&store, folder.path(), version, disk).await.unwrap();
        let record = test_record(manifest, now(), true);
        store.put_test(&record, now()).await.unwrap();
        recorded.push(manifest);
    }
    let set = store.plan_promotion(&recorded[0], "prod", None, None, now());
    store.move_channel(set.await.unwrap(), now()).await.unwrap();
    let keep = Retention {
        generations: 1,
        min_age_s: 0,
        pin_files: 0,
        in_use_lists: 0,
    };
    let outside = ExternalUses::default();
    let (_, plan) = store.plan_gc(&keep, &outside, 0, now()).await.unwrap();
    let plan = plan.unwrap().seq;
    // The signature for builds has no delete permission: the event is written, and the file stays.
    let applied = store.apply_gc(plan, &outside, now()).await.unwrap();
    let removed: Vec<_> = applied.removed.iter().map(|gone| gone.manifest).collect();
    assert_eq!(removed, recorded[1..2], "{applied:?}");
    assert_eq!((applied.files.len(), applied.failed.len()), (0, 1));
    let why = &applied.failed[0].why;
    assert!(why.contains("`d` to remove artifacts"), "{why}");
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert_eq!(report.removals_unfinished.len(), 1);

    // With that permission, the same call completes the deletion.
    let keeper = signed_store(open_with(azurite.port, "retention", "rcwld"), now()).await;
    let ended = keeper.apply_gc(plan, &outside, now()).await.unwrap();
    assert_eq!((ended.removed.len(), ended.files.len()), (0, 1));
    let again = keeper.apply_gc(plan, &outside, now()).await.unwrap();
    assert_eq!(again, GcOutcome::default());

    let store = Store::open(open(azurite.port, "retention")).await.unwrap();
    let rows = store.images(now()).await.unwrap();
    let present: Vec<bool> = rows.iter().map(|row| row.artifact_present).collect();
    assert_eq!(present, [true, false, true]);
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound() && report.voids.is_empty(), "{report:#?}");
    assert_eq!((report.manifests, report.artifacts), (3, 2));
}

async fn of_sixteen_writers_of_one_version_one_wins(azurite: &Azurite) {
    azurite.container("sixteen").await;
    let folder = TempDir::new().unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let blob = open(azurite.port, "sixteen");
        let scratch = folder.path().join(writer.to_string());
        writers.spawn(async move {
            fs::create_dir(&scratch).unwrap();
            // Each writer opens the store itself; the first ones also race to create it.
            let store = store(blob).await;
            put(&store, &scratch, "1.0.0", &format!("disk of {writer}")).await
        });
    }
    let (won, lost): (Vec<_>, Vec<_>) = writers
        .join_all()
        .await
        .into_iter()
        .partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 15));
    for result in lost {
        assert!(
            result.as_ref().is_err_and(StoreError::is_conflict),
            "{result:?}"
        );
    }
    let report = store(open(azurite.port, "sixteen"))
        .await
        .verify(Depth::Records)
        .await
        .unwrap();
    assert!(report.is_sound() && report.voids.is_empty(), "{report:#?}");
    assert_eq!(report.entries, 1);
}

/// 20 MB that do not compress and have no accidental duplicates.
fn disk() -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..20_000_003).map(|_| next()).collect()
}

fn file(folder: &Path, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.join("captured.qcow2");
    fs::write(&path, bytes).unwrap();
    path
}

async fn a_big_artifact_goes_up_and_comes_back_and_a_flipped_byte_is_noticed(azurite: &Azurite) {
    let folder = TempDir::new().unwrap();
    let store = store(azurite.blob("artifacts").await).await;
    let mut disk = disk();
    let digest = Digest::hash_bytes(&disk);
    let name = format!("artifacts/sha256/{}.qcow2", digest.hex());

    // Bytes with another digest are not committed.
    let lied = store
        .adopt_artifact(&file(folder.path(), b"torn"), digest)
        .await
        .unwrap_err();
    assert!(lied.is_integrity(), "{lied}");
    assert!(!store.backend().exists(&name).await.unwrap());

    let captured = file(folder.path(), &disk);
    let place = store.adopt_artifact(&captured, digest).await.unwrap();
    assert_eq!(place, format!("{}/{name}", azurite.url("artifacts")));
    assert!(!captured.exists());
    let again = file(folder.path(), &disk);
    store.adopt_artifact(&again, digest).await.unwrap();
    assert!(!again.exists());

    let mut manifest = sample("1.0.0", "disk");
    manifest.outputs[0].id = name.clone();
    manifest.outputs[0].file.as_mut().unwrap().digest = digest;
    store.put_packages(&packages(), "dpkg").await.unwrap();
    store.put_manifest(&manifest, now()).await.unwrap();
    let fetched = store
        .artifact(&manifest, folder.path())
        .await
        .unwrap()
        .unwrap();
    assert!(fetched.starts_with(folder.path()));
    assert!(fs::read(&fetched).unwrap() == disk, "the same bytes");
    fs::remove_file(&fetched).unwrap();
    assert!(store.verify(Depth::Artifacts).await.unwrap().is_sound());

    disk[12_345_678] ^= 1;
    azurite.overwrite("artifacts", &name, disk.clone()).await;
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    assert_eq!(report.findings[0].what, name);
    let refused = store.artifact(&manifest, folder.path()).await.unwrap_err();
    assert!(refused.is_integrity(), "{refused}");
    assert!(!fetched.exists(), "no VM boots it");
    // It does not replace content of another writer either.
    disk[12_345_678] ^= 1;
    let taken = store
        .adopt_artifact(&file(folder.path(), &disk), digest)
        .await
        .unwrap_err();
    assert!(taken.is_integrity(), "{taken}");

    let gone = vault_bake::manifest::Manifest {
        outputs: sample("1.0.1", "another disk").outputs,
        ..manifest
    };
    assert_eq!(store.artifact(&gone, folder.path()).await.unwrap(), None);
}

async fn two_senders_of_one_artifact_agree(azurite: &Azurite) {
    let folder = TempDir::new().unwrap();
    let blob = azurite.blob("senders").await;
    let bytes = &disk()[..9_000_000];
    let digest = Digest::hash_bytes(bytes);
    let from = file(folder.path(), bytes);
    for round in 0..5 {
        let name = format!("artifacts/{round}");
        let (one, two) = tokio::join!(
            blob.create_file(&name, &from, &digest),
            blob.create_file(&name, &from, &digest)
        );
        assert_eq!(super::won(&[one.unwrap(), two.unwrap()]), 1, "{name}");
        assert_eq!(blob.digest(&name).await.unwrap(), Some(digest));
    }
    assert_eq!(
        blob.create_file("artifacts/0", &from, &digest)
            .await
            .unwrap(),
        Created::Exists
    );
}
