//! Who may delete an artifact, and when: readers void forged and early events.

use serde_json::{Value, json};
use testing::signing::{key, signer};
use vault_bake::sign::Trust;
use vault_bake::store::{Depth, StoreError};
use vault_bake::wait::Interrupt;

use super::*;
use crate::store::{append_as, append_raw};

fn item(version: &str, manifest: Digest) -> Value {
    let file = sample(version, version).outputs[0].file.clone().unwrap();
    json!({ "manifest": manifest, "artifact": file.digest, "size": file.size, "why": "old" })
}

fn body(items: &[Value], grace_s: u64, generations: u64) -> Value {
    json!({
        "items": items, "grace_s": grace_s,
        "keep": { "generations": generations, "min_age_s": 0, "pin_files": 0, "in_use_lists": 0 },
    })
}

#[tokio::test]
async fn readers_void_plans_without_care_and_removals_without_a_plan_that_is_due() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    let mut of = Vec::new();
    for version in ["1.0.0", "1.0.1", "1.0.2", "1.0.3", "1.0.4"] {
        of.push(good(&store, version).await);
    }
    for held in [1, 2, 3] {
        promote(&store, &of[held], "prod").await;
    }
    let at = |at: &str| json!({ "at": at });
    let written = "2026-11-22T19:30:00Z";
    let plan = async |items: &[Value], generations| {
        append_raw(
            &store,
            "gc.plan",
            body(items, 3600, generations),
            at(written),
        )
        .await;
    };
    let mut unknown = item("1.0.0", Digest::hash_bytes("unknown"));
    plan(&[], 1).await;
    plan(&[unknown.clone()], 1).await;
    plan(&[item("1.0.0", of[0])], 0).await;
    plan(&[item("1.0.0", of[0]), item("1.0.0", of[0])], 1).await;
    plan(&[item("1.0.1", of[0])], 1).await;
    plan(&[item("1.0.3", of[3])], 1).await;
    plan(&[item("1.0.2", of[2])], 2).await;
    unknown["manifest"] = "?".into();
    plan(&[unknown], 1).await;
    let mut more = body(&[item("1.0.0", of[0])], 3600, 1);
    more["keep"]["no_pins"] = true.into();
    append_raw(&store, "gc.plan", more, at(written)).await;
    let head = store.history().await.unwrap().head();
    assert_eq!(store.history().await.unwrap().voids().len(), 9);
    assert!(store.history().await.unwrap().plans().is_empty());

    // These hold; the second keeps two generations.
    plan(&[item("1.0.0", of[0]), item("1.0.1", of[1])], 1).await;
    plan(&[item("1.0.1", of[1])], 2).await;
    let (first, second) = (head + 1, head + 2);
    promote(&store, &of[1], "prod").await;
    promote(&store, &of[4], "prod").await;
    let removal = async |manifest: Digest, plan: u64, when: &str| {
        let body = json!({ "manifest": manifest, "plan": plan, "why": "old" });
        append_raw(&store, "artifact.deleted", body, at(when)).await;
    };
    let (early, due) = ("2026-11-22T20:29:59Z", "2026-11-22T20:30:00Z");
    removal(of[0], first, early).await;
    removal(of[0], 99, due).await;
    removal(of[0], 1, due).await;
    removal(of[0], second, due).await;
    removal(of[2], first, due).await;
    removal(of[4], first, due).await;
    removal(of[1], second, due).await;
    removal(Digest::hash_bytes("unknown"), first, due).await;
    let without = json!({ "manifest": of[0], "why": "old" });
    append_raw(&store, "artifact.deleted", without, at(due)).await;
    let history = store.history().await.unwrap();
    assert_eq!(history.voids().len(), 18);
    assert!(history.recorded().iter().all(|one| one.deleted.is_none()));
    // The first plan keeps only the current generation.
    removal(of[0], first, due).await;
    removal(of[1], first, due).await;
    removal(of[0], first, due).await;
    let history = store.history().await.unwrap();
    let removed = history
        .recorded()
        .iter()
        .filter(|one| one.deleted.is_some());
    assert_eq!(removed.count(), 2);
    let voids = history
        .voids()
        .iter()
        .map(|void| void.why.replace(&of[0].to_string(), "FIRST"));
    let voids: Vec<String> = voids.collect();
    insta::assert_snapshot!("removals_void", voids.join("\n"));
    let report = store.verify(Depth::Records).await.unwrap();
    assert!(report.is_sound());
    assert_eq!(
        report.removals_unfinished.len(),
        2,
        "only events were written"
    );
}

/// Key 1 has all roles except keeper; key 2 keeps images named `web*`, key 3 all.
fn keepers() -> Trust {
    let id = |n: u8| key(n).public().id().to_string();
    let keys: serde_json::Map<String, Value> =
        (1..=3).map(|n| (id(n), json!(key(n).public()))).collect();
    let mut grants: Vec<Value> = ["root", "builder", "promoter", "revoker"]
        .map(|role| json!({ "role": role, "keys": [id(1)] }))
        .to_vec();
    grants.push(json!({ "role": "keeper", "keys": [id(2)], "images": ["web*"] }));
    grants.push(json!({ "role": "keeper", "keys": [id(3)] }));
    let policy = json!({
        "schema": "https://vault-bake.dev/trust/v1", "version": 1, "keys": keys, "grants": grants,
    });
    Trust::from_json(policy.to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn only_a_keeper_of_the_image_plans_and_removes() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let with = async |keys: &[u8]| {
        let store = Store::open_or_create(Dir::new(&root), &keepers(), now()).await;
        let signers = keys.iter().map(|n| signer(*n)).collect();
        store.unwrap().with_signers(signers, Interrupt::default())
    };
    let builder = with(&[1]).await;
    let old = good(&builder, "1.0.0").await;
    good(&builder, "1.0.1").await;
    let outside = ExternalUses::default();
    let mut refusals = Vec::new();
    let mut refuse = |who: &str, error: StoreError| {
        assert!(error.is_conflict(), "{error}");
        refusals.push(format!("{who}: {error}"));
    };
    for (who, keys) in [("builder", [1]), ("keeper of another image", [2])] {
        let store = with(&keys).await;
        let refused = store.plan_gc(&KEEP, &outside, HOUR_S, after_days(40)).await;
        refuse(who, refused.unwrap_err());
    }
    let keeper = with(&[3]).await;
    let (entry, _) = plan(&keeper, &outside, after_days(40)).await;
    for (who, keys) in [("builder", [1]), ("keeper of another image", [2])] {
        let store = with(&keys).await;
        let refused = store.apply_gc(entry, &outside, after_days(41)).await;
        refuse(who, refused.unwrap_err());
    }
    refuse(
        "too early",
        keeper
            .apply_gc(entry, &outside, after_days(40))
            .await
            .unwrap_err(),
    );
    let none = keeper.apply_gc(1, &outside, after_days(41)).await;
    insta::assert_snapshot!(none.unwrap_err(), @"entry 1 of the log is not a plan to remove artifacts");
    let unsigned = Store::open(Dir::new(&root)).await.unwrap();
    assert!(matches!(
        unsigned.apply_gc(entry, &outside, after_days(41)).await,
        Err(StoreError::NoSigner)
    ));
    insta::assert_snapshot!(refusals.join("\n"));
    // A forged event by the wrong key is void too.
    let body = json!({ "manifest": old, "plan": entry, "why": "old" });
    let at = json!({ "at": "2027-01-01T00:00:00Z" });
    append_as(1, &builder, "artifact.deleted", body, at).await;
    let history = keeper.history().await.unwrap();
    assert_eq!(history.voids().len(), 1);
    assert_eq!(history.by_digest(&old).unwrap().deleted, None);
    assert_eq!(
        keeper
            .apply_gc(entry, &outside, after_days(41))
            .await
            .unwrap()
            .files
            .len(),
        1
    );
}

#[tokio::test]
async fn what_was_looked_at_for_the_plan_is_looked_at_again() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    let old = good(&store, "1.0.0").await;
    let pinned = good(&store, "1.0.1").await;
    good(&store, "1.0.2").await;
    let mut outside = ExternalUses::default();
    outside.add_pins([(pinned, "web:prod in pins.json".into())]);
    outside.add_in_use_list("another\n");
    let (entry, named) = plan(&store, &outside, after_days(40)).await;
    assert_eq!(named, ["quickstart@1.0.0"]);
    let mut refusals = Vec::new();
    let mut less = ExternalUses::default();
    refusals.push(
        store
            .apply_gc(entry, &less, after_days(41))
            .await
            .unwrap_err(),
    );
    less.add_pins([]);
    refusals.push(
        store
            .apply_gc(entry, &less, after_days(41))
            .await
            .unwrap_err(),
    );
    assert!(refusals.iter().all(StoreError::is_conflict));
    let refusals: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(refusals.join("\n"), @r"
    the plan of entry 7: it was made with 1 pin files (--pins), now there are 0
    the plan of entry 7: it was made with 1 lists of use (--in-use), now there are 0
    ");
    // Pinned or promoted since the plan.
    outside.add_pins([(old, "db:prod in other.json".into())]);
    let kept = store
        .apply_gc(entry, &outside, after_days(41))
        .await
        .unwrap();
    assert_eq!((kept.removed.len(), kept.files.len()), (0, 0));
    assert_eq!(kept.skipped[0].why, "pin db:prod in other.json");
    promote(&store, &old, "prod").await;
    let mut outside = ExternalUses::default();
    outside.add_pins([]);
    outside.add_in_use_list("");
    let kept = store
        .apply_gc(entry, &outside, after_days(41))
        .await
        .unwrap();
    assert_eq!(
        kept.skipped[0].why,
        "channel quickstart:prod (generation 1)"
    );
    assert!(store.backend().exists(&file("1.0.0")).await.unwrap());
}
