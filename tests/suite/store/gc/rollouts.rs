//! Open rollouts keep the images of their plans.

use testing::rollout::{CLUSTER, append_begin, image, plan as rollout_plan, record_of};
use vault_bake::store::StoreError;
use vault_bake::store::gc::Hold;

use super::*;

/// Returns the holds of each image that a rollout gives.
async fn held(store: &Store<MemoryBackend>) -> Vec<String> {
    let found = survey(store, &ExternalUses::default(), after_days(40)).await;
    let rows = found.rows.iter().map(|row| {
        let holds = row.holds.iter();
        let holds = holds.filter(|hold| matches!(hold, Hold::Rollout { .. }));
        (row, holds.map(ToString::to_string).collect::<Vec<_>>())
    });
    let rows = rows.filter(|(_, holds)| !holds.is_empty());
    rows.map(|(row, holds)| format!("{}: {}", row.name, holds.join("; ")))
        .collect()
}

#[tokio::test]
async fn an_open_rollout_keeps_its_images_until_it_ends() {
    let memory = TempDir::new().unwrap();
    let store = in_memory(&memory).await;
    let mut of = Vec::new();
    for version in ["1.0.0", "1.0.1", "1.0.2", "1.0.3"] {
        of.push(good(&store, version).await);
    }
    let outside = ExternalUses::default();
    let (entry, names) = plan(&store, &outside, after_days(40)).await;
    assert_eq!(
        names,
        ["quickstart@1.0.0", "quickstart@1.0.1", "quickstart@1.0.2"]
    );
    // Begun after the plan of gc: from 1.0.0, of which one node runs, to 1.0.1.
    let planned = rollout_plan(of[1], &[of[0], of[1]]);
    let plan = store.put_object(&planned).await.unwrap();
    append_begin(&store, 1, plan, false).await;
    append_begin(&store, 2, plan, true).await;
    let both = [
        "quickstart@1.0.0: rollout of cluster dev",
        "quickstart@1.0.1: rollout of cluster dev",
    ];
    assert_eq!(held(&store).await, both);
    let applied = store.apply_gc(entry, &outside, after_days(41)).await;
    let applied = applied.unwrap();
    let removed: Vec<_> = applied.removed.iter().map(|one| &*one.name).collect();
    assert_eq!(removed, ["quickstart@1.0.2"]);
    let why: Vec<_> = applied.skipped.iter().map(|one| &*one.why).collect();
    assert_eq!(why, ["rollout of cluster dev"; 2]);
    // Once it has ended, the images are free.
    let from = image("quickstart", "1.0.0", of[0]);
    let record = record_of(&store, from, image("quickstart", "1.0.1", of[1])).await;
    store.put_rollout(&record, now()).await.unwrap();
    assert_eq!(held(&store).await, [""; 0]);
    let applied = store.apply_gc(entry, &outside, after_days(41)).await;
    assert_eq!(applied.unwrap().removed.len(), 2);
}

#[tokio::test]
async fn an_open_rollout_with_an_unreadable_plan_stops_gc() {
    let memory = TempDir::new().unwrap();
    let store = in_memory(&memory).await;
    good(&store, "1.0.0").await;
    let plan = store.put_object(br#"{"nodes":{},"targets":[]}"#).await;
    append_begin(&store, 1, plan.unwrap(), false).await;
    let history = store.history().await.unwrap();
    assert!(history.open_rollout(CLUSTER).is_some());
    let outside = ExternalUses::default();
    let error = store
        .survey(&history, &KEEP, &outside, after_days(40))
        .await;
    let error = error.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    insta::assert_snapshot!(error, @"the plan of the rollout of cluster dev: cannot read its images: invalid type: sequence, expected a map at line 1 column 22");
}
