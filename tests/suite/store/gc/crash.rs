//! Killed and failing deletions, which another call completes.

use testing::remote_backend::RemoteBackend;
use vault_bake::store::Depth;

use super::*;

/// Two old images, the first without a hold, and a due plan for it.
async fn planned<B: Backend>(store: &Store<B>) -> (Digest, u64) {
    let old = good(store, "1.0.0").await;
    good(store, "1.0.1").await;
    let (entry, named) = plan(store, &ExternalUses::default(), after_days(40)).await;
    assert_eq!(named, ["quickstart@1.0.0"]);
    (old, entry)
}

async fn state<B: Backend>(store: &Store<B>, manifest: &Digest) -> Presence {
    let found = survey(store, &ExternalUses::default(), after_days(41)).await;
    found.row(manifest).unwrap().state
}

#[tokio::test]
async fn killed_between_event_and_bytes_in_a_folder() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let store = store(&root).await;
    let (old, entry) = planned(&store).await;
    // The state after a process that was killed right after its event.
    let body = Body::ArtifactDeleted {
        manifest: old,
        plan: entry,
        why: "old".into(),
    };
    let id = uuid::Uuid::from_u128(9);
    store.append(id, after_days(41), body).await.unwrap();
    assert!(root.join(file("1.0.0")).exists());
    assert_eq!(state(&store, &old).await, Presence::Unfinished);
    // Readers do not report damage, and do not deploy the image.
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound());
    assert_eq!(report.removals_unfinished, [file("1.0.0")]);
    assert!(report.to_string().contains("removes it"), "{report}");
    let refused = store.plan_promotion(&old, "prod", None, None, after_days(41));
    insta::assert_snapshot!(refused.await.unwrap_err(), @"quickstart:prod: the artifact of quickstart@1.0.0 was removed by gc (entry 6): old");
    // A node that uses the bytes delays the deletion.
    let mut outside = ExternalUses::default();
    outside.add_in_use_list("quickstart@1.0.0");
    let kept = store
        .apply_gc(entry, &outside, after_days(41))
        .await
        .unwrap();
    assert_eq!((kept.files.len(), kept.skipped.len()), (0, 1));
    assert_eq!(
        kept.skipped[0].why,
        "its bytes stay: in use: quickstart@1.0.0"
    );
    let again = store
        .apply_gc(entry, &ExternalUses::default(), after_days(41))
        .await
        .unwrap();
    assert!(again.removed.is_empty(), "the event is there");
    assert_eq!(again.files, [file("1.0.0")]);
    assert!(!root.join(file("1.0.0")).exists());
    assert_eq!(state(&store, &old).await, Presence::Removed);
    let head = store.history().await.unwrap().head();
    // Another process repeats the deletion.
    let nothing = store
        .apply_gc(entry, &ExternalUses::default(), after_days(41))
        .await
        .unwrap();
    assert_eq!(nothing, vault_bake::store::gc::GcOutcome::default());
    assert_eq!(store.history().await.unwrap().head(), head);
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound() && report.artifacts_missing.is_empty());
    assert!(report.removals_unfinished.is_empty());
    // The record is unchanged.
    assert_eq!(
        store.manifest(&old).await.unwrap(),
        sample("1.0.0", "1.0.0")
    );
}

#[tokio::test]
async fn a_service_that_is_lost_between_event_and_bytes() {
    let folder = TempDir::new().unwrap();
    let remote = RemoteBackend::new(folder.path().join("remote"), false);
    let store = signed_store(remote, now()).await;
    let (old, entry) = planned(&store).await;
    store.backend().lose(true);
    let outside = ExternalUses::default();
    let failed = store
        .apply_gc(entry, &outside, after_days(41))
        .await
        .unwrap();
    assert_eq!(
        (failed.removed.len(), failed.files.len(), failed.bytes),
        (1, 0, 0)
    );
    assert_eq!(failed.failed[0].file, file("1.0.0"));
    assert!(failed.failed[0].why.contains("could not be reached"));
    assert_eq!(state(&store, &old).await, Presence::Unfinished);
    store.backend().lose(false);
    let again = store
        .apply_gc(entry, &outside, after_days(41))
        .await
        .unwrap();
    assert_eq!((again.removed.len(), again.files.len()), (0, 1));
    assert_eq!(state(&store, &old).await, Presence::Removed);
}

#[tokio::test]
async fn a_file_that_several_share_goes_with_the_last_of_them() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    let first = record(&store, &sample("1.0.0", "twins"), "twins", None, now()).await;
    let second = record(&store, &sample("1.0.1", "twins"), "twins", None, now()).await;
    let outside = ExternalUses::default();
    let (entry, named) = plan(&store, &outside, after_days(40)).await;
    assert_eq!(named.len(), 2);
    // Killed after the first of two events.
    let body = Body::ArtifactDeleted {
        manifest: first,
        plan: entry,
        why: "old".into(),
    };
    let id = uuid::Uuid::from_u128(9);
    store.append(id, after_days(41), body).await.unwrap();
    assert_eq!(state(&store, &first).await, Presence::Removed);
    assert_eq!(state(&store, &second).await, Presence::Present);
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(
        report.removals_unfinished.is_empty(),
        "the other has it still"
    );
    // A third image with the same file, which the plan does not know, keeps the file.
    let third = record(&store, &sample("1.0.2", "twins"), "twins", None, now()).await;
    let applied = store
        .apply_gc(entry, &outside, after_days(41))
        .await
        .unwrap();
    assert_eq!(applied.files.len(), 0);
    assert_eq!(
        applied.skipped[0].why,
        "quickstart@1.0.2 has the same file, and the plan does not list it"
    );
    // A process uses the file by the name of the deleted image.
    let mut used = ExternalUses::default();
    used.add_in_use_list("quickstart@1.0.0");
    let (next, _) = plan(&store, &outside, after_days(42)).await;
    let applied = store.apply_gc(next, &used, after_days(43)).await.unwrap();
    assert_eq!((applied.removed.len(), applied.files.len()), (0, 0));
    let applied = store
        .apply_gc(next, &outside, after_days(43))
        .await
        .unwrap();
    assert_eq!((applied.removed.len(), applied.files.len()), (2, 1));
    for one in [first, second, third] {
        assert_eq!(state(&store, &one).await, Presence::Removed);
    }
    // Another build gives the same bytes, which are stored again for the new image.
    let fourth = record(&store, &sample("1.0.3", "twins"), "twins", None, now()).await;
    assert_eq!(state(&store, &fourth).await, Presence::Present);
    assert_eq!(state(&store, &first).await, Presence::Removed);
    assert!(store.verify(Depth::Artifacts).await.unwrap().is_sound());
}
