//! Channels: who may move them, refusals, and moves that readers void.

use std::fs;

use serde_json::json;
use tempfile::TempDir;
use testing::sample::{release, sample};
use vault_bake::digest::Digest;
use vault_bake::manifest::{Manifest, Output};
use vault_bake::store::event::{Body, Revoke};
use vault_bake::store::revocation::Rule;
use vault_bake::store::{Dir, Rollback, Store, StoreError};

use super::{append_raw, now, put, put_as, store, test_record};

/// Records a build that passed its boot test.
async fn good(store: &Store<Dir>, version: &str) -> Digest {
    let digest = put(store, version, version).await.unwrap();
    let record = test_record(digest, true);
    store.put_test(&record, now()).await.unwrap();
    digest
}

/// Records the given manifest, with a passed boot test.
async fn good_as(store: &Store<Dir>, manifest: &Manifest, disk: &str) -> Digest {
    let digest = put_as(store, manifest, disk).await.unwrap();
    let record = test_record(digest, true);
    store.put_test(&record, now()).await.unwrap();
    digest
}

async fn promote(store: &Store<Dir>, manifest: &Digest) -> Result<u64, StoreError> {
    let set = store.plan_promotion(manifest, "prod", None, None, now());
    let set = set.await?;
    let generation = set.generation;
    store.move_channel(set, now()).await?;
    Ok(generation)
}

fn back(to: Option<Digest>) -> Rollback<'static> {
    Rollback {
        image: "quickstart",
        channel: "prod",
        to,
        why: "it answers slowly",
        data_restored_from: None,
    }
}

async fn current(store: &Store<Dir>) -> String {
    let digest = store
        .resolve(&"quickstart:prod".parse().unwrap())
        .await
        .unwrap();
    store.manifest(&digest).await.unwrap().name()
}

fn root(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("store")
}

#[tokio::test]
async fn generations_only_grow_and_every_move_is_kept() {
    let folder = TempDir::new().unwrap();
    let store = store(&root(&folder)).await;
    let (first, second) = (good(&store, "1.0.0").await, good(&store, "1.0.1").await);
    assert_eq!(promote(&store, &first).await.unwrap(), 1);
    assert_eq!(promote(&store, &second).await.unwrap(), 2);
    let set = store.plan_rollback(back(None), now()).await.unwrap();
    store.move_channel(set, now()).await.unwrap();
    assert_eq!(current(&store).await, "quickstart@1.0.0");
    assert_eq!(promote(&store, &second).await.unwrap(), 4);
    let history = store.history().await.unwrap();
    let log: Vec<String> = history
        .channel("quickstart", "prod")
        .iter()
        .map(|one| {
            let name = history.by_digest(&one.to).unwrap().put.name();
            let note = one.note.as_deref().unwrap_or_default();
            format!("{} {name} {} {note}", one.generation, one.reason)
        })
        .collect();
    insta::assert_snapshot!(log.join("\n"));
    assert!(history.voids().is_empty());
}

#[tokio::test]
async fn guards_name_the_way_out() {
    let folder = TempDir::new().unwrap();
    let at = root(&folder);
    let store = store(&at).await;
    let mut refusals = Vec::new();
    let mut refuse = |what: &str, result: Result<u64, StoreError>| {
        let error = result.unwrap_err();
        assert!(error.is_conflict(), "{what}: {error}");
        refusals.push(format!("{what}\n    {error}"));
    };
    let untested = put(&store, "1.0.0", "untested").await.unwrap();
    refuse("untested", promote(&store, &untested).await);
    let failed = put(&store, "1.0.1", "failed").await.unwrap();
    let record = test_record(failed, false);
    store.put_test(&record, now()).await.unwrap();
    refuse("failed", promote(&store, &failed).await);
    let gone = good(&store, "1.0.2").await;
    fs::remove_file(at.join(&sample("1.0.2", "1.0.2").outputs[0].id)).unwrap();
    refuse("artifact gone", promote(&store, &gone).await);
    let revoked = good(&store, "1.0.3").await;
    let instead = good(&store, "1.0.4").await;
    let revoke = Revoke {
        rule: Rule::Manifests {
            manifests: [revoked].into(),
        },
        why: "CVE-2026-0001".into(),
        effective_at: now().into(),
        replacement: Some(instead),
    };
    let id = uuid::Uuid::from_u128(1);
    store.append(id, now(), Body::Revoke(revoke)).await.unwrap();
    refuse("revoked", promote(&store, &revoked).await);
    promote(&store, &instead).await.unwrap();
    refuse("held already", promote(&store, &instead).await);
    let late = store
        .plan_promotion(&untested, "prod", Some(0), None, now())
        .await;
    refuse(
        "another generation than expected",
        late.map(|set| set.generation),
    );
    insta::assert_snapshot!(refusals.join("\n"));
}

/// A sample with another version of Vault.
fn with_vault(version: &str, vault: &str) -> Manifest {
    Manifest {
        releases: vec![release("vault", vault, true)],
        ..sample(version, version)
    }
}

#[tokio::test]
async fn a_rollback_is_guarded_and_offers_another_target() {
    let folder = TempDir::new().unwrap();
    let at = root(&folder);
    let store = store(&at).await;
    let mut lines = Vec::new();
    let none = store.plan_rollback(back(None), now()).await;
    lines.push(format!("no channel\n    {}", none.unwrap_err()));
    let oldest = good_as(&store, &with_vault("1.0.0", "1.21.0"), "1.0.0").await;
    promote(&store, &oldest).await.unwrap();
    let alone = store.plan_rollback(back(None), now()).await;
    lines.push(format!(
        "never held anything else\n    {}",
        alone.unwrap_err()
    ));
    let old = good_as(&store, &with_vault("1.0.1", "1.20.0"), "1.0.1").await;
    promote(&store, &old).await.unwrap();
    let new = good_as(&store, &with_vault("1.0.2", "1.21.0"), "1.0.2").await;
    promote(&store, &new).await.unwrap();

    let older = store.plan_rollback(back(None), now()).await;
    lines.push(format!("older Vault\n    {}", older.unwrap_err()));
    let restored = Rollback {
        data_restored_from: Some("consul-2026-11-21.snap"),
        ..back(None)
    };
    let set = store.plan_rollback(restored, now()).await.unwrap();
    lines.push(format!("data restored\n    {}", set.note.unwrap()));
    let set = store.plan_rollback(back(Some(oldest)), now()).await;
    assert_eq!(set.unwrap().to, oldest);

    let mut uefi = with_vault("1.0.3", "1.21.0");
    let file = uefi.outputs[0].file.clone();
    uefi.outputs = vec![Output::local_qcow2(file.unwrap(), "x86_64", "uefi")];
    let uefi = good_as(&store, &uefi, "1.0.3").await;
    let other_class = store.plan_rollback(back(Some(uefi)), now()).await;
    lines.push(format!("another class\n    {}", other_class.unwrap_err()));
    fs::remove_file(at.join(&sample("1.0.1", "1.0.1").outputs[0].id)).unwrap();
    let gone = Rollback {
        data_restored_from: Some("x"),
        ..back(Some(old))
    };
    let gone = store.plan_rollback(gone, now()).await;
    lines.push(format!("artifact gone\n    {}", gone.unwrap_err()));
    let unknown = store.plan_rollback(back(Some(Digest::hash_bytes("x"))), now());
    lines.push(format!("unknown\n    {}", unknown.await.unwrap_err()));
    assert_eq!(current(&store).await, "quickstart@1.0.2");
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn readers_void_moves_that_break_a_rule() {
    let folder = TempDir::new().unwrap();
    let store = store(&root(&folder)).await;
    let (first, second) = (good(&store, "1.0.0").await, good(&store, "1.0.1").await);
    let untested = put(&store, "1.0.2", "untested").await.unwrap();
    let unknown = Digest::hash_bytes("unknown");
    promote(&store, &first).await.unwrap();
    let set = |generation: u64, from: Digest, to: Digest| {
        json!({
            "image": "quickstart", "channel": "prod", "generation": generation, "from": from, "to": to,
            "reason": "promote",
        })
    };
    let mut other_image = set(2, first, second);
    other_image["image"] = "other".into();
    let mut other_name = set(1, first, second);
    other_name["channel"] = "a/b".into();
    for body in [
        set(1, first, second),
        set(3, first, second),
        set(2, second, second),
        set(2, first, first),
        set(2, first, untested),
        set(2, first, unknown),
        other_image,
        other_name,
    ] {
        append_raw(&store, "channel.set", body, json!({})).await;
    }
    let history = store.history().await.unwrap();
    let voids: Vec<&str> = history
        .voids()
        .iter()
        .map(|void| void.why.as_str())
        .collect();
    insta::assert_snapshot!(voids.join("\n"));
    assert_eq!(voids.len(), 8);
    assert_eq!(history.channel("quickstart", "prod").len(), 1);
    assert_eq!(history.channels().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_writers_with_one_expectation_exactly_one_wins() {
    let folder = TempDir::new().unwrap();
    let at = root(&folder);
    let store = store(&at).await;
    let first = good(&store, "1.0.0").await;
    promote(&store, &first).await.unwrap();
    let mut wanted = Vec::new();
    for writer in 0..4 {
        wanted.push(good(&store, &format!("1.1.{writer}")).await);
    }
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..64 {
        let (at, to) = (at.clone(), wanted[writer % 4]);
        writers.spawn(async move {
            let store = super::store(&at).await;
            let set = store
                .plan_promotion(&to, "prod", Some(1), None, now())
                .await?;
            store.move_channel(set, now()).await
        });
    }
    let results = writers.join_all().await;
    let won = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(won, 1);
    for lost in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(lost.is_conflict(), "{lost}");
    }
    let history = store.history().await.unwrap();
    assert_eq!(history.channel("quickstart", "prod").len(), 2);
    assert!(history.voids().is_empty());
}
