//! Builds with a remote store, which has no files on this host.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use testing::harness::{FakeBuilderHarness, clock, steps};
use testing::remote_backend::RemoteBackend;
use testing::signing::signed_store;
use vault_bake::bake::BakeError;
use vault_bake::event::{Event, Stage};
use vault_bake::run_context::runs_folder;
use vault_bake::store::Depth;

#[tokio::test]
async fn an_image_in_a_far_store_is_fetched_checked_and_booted() {
    let folder = tempfile::tempdir().unwrap();
    let harness = FakeBuilderHarness::new(folder.path(), steps());
    let remote = RemoteBackend::new(folder.path().join("store"), false);
    let store = signed_store(remote, clock()).await;
    let baked = harness.bake_into(&store, |_| {}).await.unwrap();
    assert!(baked.tested.is_some_and(|record| record.passed) && baked.leftovers.is_empty());
    let recorded = harness
        .recorded_events()
        .into_iter()
        .find_map(|event| match event {
            Event::Recorded { artifact, .. } => Some(artifact),
            _ => None,
        });
    let name = &baked.manifest.outputs[0].id;
    assert_eq!(
        recorded.unwrap(),
        format!("https://far.example/away/{name}")
    );

    let again = harness.test_image(&store, baked.digest).await.unwrap();
    assert!(again.record.passed && again.leftovers.is_empty());
    let fetched = store.backend().fetched();
    assert_eq!(fetched.len(), 2);
    for to in fetched {
        assert!(
            to.starts_with(runs_folder(&harness.cache())) && !to.exists(),
            "{}",
            to.display()
        );
    }
    assert!(store.verify(Depth::Artifacts).await.unwrap().is_sound());

    let disk = folder.path().join("store").join(name);
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&disk, "another disk").unwrap();
    let refused = harness.test_image(&store, baked.digest).await.unwrap_err();
    let integrity = matches!(&refused.error, BakeError::Store(error) if error.is_integrity());
    assert!(integrity, "{refused}");
    fs::remove_file(&disk).unwrap();
    let gone = harness.test_image(&store, baked.digest).await.unwrap_err();
    assert!(matches!(gone.error, BakeError::NoArtifact { .. }), "{gone}");
    let left = harness.leftovers().await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn an_interrupt_ends_a_long_upload() {
    let folder = tempfile::tempdir().unwrap();
    let harness = FakeBuilderHarness::new(folder.path(), steps());
    let remote = RemoteBackend::new(folder.path().join("store"), true);
    let store = signed_store(remote, clock()).await;
    let interrupt = harness.interrupt.clone();
    let recording = Event::StageStarted {
        stage: Stage::Record,
    };
    let failed = harness
        .bake_into(&store, move |event| {
            if *event == recording {
                interrupt.raise();
            }
        })
        .await
        .unwrap_err();
    assert!(
        matches!(failed.error, BakeError::Interrupted(_)),
        "{failed}"
    );
    let left = harness.leftovers().await;
    assert!(left.is_empty(), "{left:?}");
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound() && report.manifests == 0, "{report}");
}
