//! Deletion of artifacts: holds, plans, crashes, and forged events.

mod crash;
mod model;
mod rollouts;
mod rules;
mod users;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use testing::memory_backend::MemoryBackend;
use testing::recorded_store::in_cloud;
use testing::sample::{packages, sample};
use testing::signing::signed_store;
use vault_bake::digest::Digest;
use vault_bake::manifest::Manifest;
use vault_bake::store::backend::Backend;
use vault_bake::store::event::{Body, Retention, Revoke};
use vault_bake::store::gc::{ExternalUses, Presence, Survey};
use vault_bake::store::revocation::Rule;
use vault_bake::store::{Dir, Store};

use super::{now, store, test_record};

/// The default rules of the tests: keep two generations, and images younger than a day.
const KEEP: Retention = Retention {
    generations: 2,
    min_age_s: 24 * 60 * 60,
    pin_files: 0,
    in_use_lists: 0,
};

const HOUR_S: u64 = 60 * 60;

/// A store in memory with a local cache in this folder, so that calls need not read the whole log.
async fn in_memory(memory: &TempDir) -> Store<MemoryBackend> {
    let store = signed_store(MemoryBackend::default(), now()).await;
    store.with_cache(memory.path())
}

fn after_days(days: i64) -> Timestamp {
    now() + SignedDuration::from_hours(24 * days)
}

fn file(disk: &str) -> String {
    format!("artifacts/sha256/{}.qcow2", Digest::hash_bytes(disk).hex())
}

/// Records a manifest of a disk with this content, which it stores.
async fn record<B: Backend>(
    store: &Store<B>,
    manifest: &Manifest,
    disk: &str,
    tested: Option<bool>,
    at: Timestamp,
) -> Digest {
    let name = file(disk);
    store
        .backend()
        .create(&name, disk.as_bytes())
        .await
        .unwrap();
    store.put_packages(&packages(), "dpkg").await.unwrap();
    let digest = store.put_manifest(manifest, at).await.unwrap();
    if let Some(passed) = tested {
        store
            .put_test(&test_record(digest, passed), at)
            .await
            .unwrap();
    }
    digest
}

/// Records a tested image whose disk contains its version.
async fn good<B: Backend>(store: &Store<B>, version: &str) -> Digest {
    record(store, &sample(version, version), version, Some(true), now()).await
}

async fn promote<B: Backend>(store: &Store<B>, manifest: &Digest, channel: &str) {
    let set = store.plan_promotion(manifest, channel, None, None, now());
    let set = set.await.unwrap_or_else(|error| panic!("{error}"));
    store.move_channel(set, now()).await.unwrap();
}

async fn revoke<B: Backend>(store: &Store<B>, manifest: Digest) {
    let revoke = Revoke {
        rule: Rule::Manifests {
            manifests: [manifest].into(),
        },
        why: "CVE-2026-0001".into(),
        effective_at: now().into(),
        replacement: None,
    };
    let id = uuid::Uuid::now_v7();
    store.append(id, now(), Body::Revoke(revoke)).await.unwrap();
}

async fn survey<B: Backend>(store: &Store<B>, outside: &ExternalUses, at: Timestamp) -> Survey {
    let history = store.history().await.unwrap();
    store.survey(&history, &KEEP, outside, at).await.unwrap()
}

/// Formats every artifact with its holds.
fn survey_lines(survey: &Survey) -> String {
    let rows = survey.rows.iter().map(|row| {
        let holds: Vec<String> = row.holds.iter().map(ToString::to_string).collect();
        let fate = if row.is_removable() { "GOES" } else { "stays" };
        format!("{} {:?} {fate}: {}", row.name, row.state, holds.join("; "))
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// Makes a plan with an hour of grace. Returns its number and its artifacts.
async fn plan<B: Backend>(
    store: &Store<B>,
    outside: &ExternalUses,
    at: Timestamp,
) -> (u64, Vec<String>) {
    let planned = store.plan_gc(&KEEP, outside, HOUR_S, at).await;
    let (survey, plan) = planned.unwrap_or_else(|error| panic!("{error}"));
    let going = survey.rows.iter().filter(|row| row.is_removable());
    let names = going.map(|row| row.name.clone()).collect();
    (plan.expect("something goes").seq, names)
}

#[tokio::test]
async fn every_kind_of_hold() {
    let memory = TempDir::new().unwrap();
    let store = in_memory(&memory).await;
    let outside = &mut ExternalUses::default();
    // Four generations of prod, of which two are kept; only staging holds one more.
    let mut promoted = Vec::new();
    for version in ["1.0.0", "1.0.1", "1.0.2", "1.0.3"] {
        promoted.push(good(&store, version).await);
        promote(&store, promoted.last().unwrap(), "prod").await;
    }
    promote(&store, &promoted[0], "staging").await;
    let pinned = good(&store, "1.1.0").await;
    outside.add_pins([(pinned, "web:prod in pins.json".to_owned())]);
    let mut used = Vec::new();
    for version in ["1.2.0", "1.2.1", "1.2.2", "1.2.3", "1.2.4"] {
        used.push(good(&store, version).await);
    }
    let artifact = Digest::hash_bytes("1.2.2").hex();
    outside.add_in_use_list(&format!(
        "# what runs\n\n{}\n{}\n  /var/lib/nodes/{artifact}.qcow2\nQUICKSTART@1.2.3\nartifact-of-another-store\nsha256:{}\n",
        used[0],
        &used[1].to_string()[..19],
        "0".repeat(64),
    ));
    // A base of a held image, its own base, and one from which only an unheld image was made.
    let mut chain = ["2.0.0", "2.0.1", "2.0.2"].map(|version| sample(version, version));
    chain[1].base.disk_sha256 = Some(Digest::hash_bytes("2.0.0"));
    chain[2].base.disk_sha256 = Some(Digest::hash_bytes("2.0.1"));
    for manifest in &chain {
        let disk = manifest.version.to_string();
        record(&store, manifest, &disk, None, now()).await;
    }
    let last = store
        .resolve(&"quickstart@2.0.2".parse().unwrap())
        .await
        .unwrap();
    outside.add_pins([(last, "db:prod in other.json".to_owned())]);
    let mut of_nobody = sample("2.1.1", "2.1.1");
    of_nobody.base.disk_sha256 = Some(Digest::hash_bytes("2.1.0"));
    record(&store, &sample("2.1.0", "2.1.0"), "2.1.0", None, now()).await;
    record(&store, &of_nobody, "2.1.1", None, now()).await;
    // Two images with one file, one of them held; and two with one file, none of them held.
    record(&store, &sample("3.0.0", "twins"), "twins", None, now()).await;
    record(&store, &sample("3.0.1", "twins"), "twins", None, now()).await;
    outside.add_in_use_list("quickstart@3.0.1");
    record(&store, &sample("3.1.0", "pair"), "pair", Some(false), now()).await;
    record(&store, &sample("3.1.1", "pair"), "pair", Some(false), now()).await;
    // Outputs that are not in the store.
    let mut away = sample("4.0.0", "4.0.0");
    let id = "/subscriptions/x/images/web".to_owned();
    let image = in_cloud("westeurope", "azure-managed-image", id);
    away.outputs.push(image);
    record(&store, &away, "4.0.0", None, now()).await;
    // The newest tested image is revoked, so the one before is the newest; another one failed
    // later.
    good(&store, "5.0.0").await;
    good(&store, "5.0.1").await;
    let revoked = good(&store, "5.0.2").await;
    revoke(&store, revoked).await;
    record(
        &store,
        &sample("5.0.3", "5.0.3"),
        "5.0.3",
        Some(false),
        now(),
    )
    .await;
    // A file that another process deleted.
    record(&store, &sample("6.0.0", "6.0.0"), "6.0.0", None, now()).await;
    store.backend().remove(&file("6.0.0"));
    // Young by the log, and young by its manifest.
    record(
        &store,
        &sample("7.0.0", "7.0.0"),
        "7.0.0",
        None,
        after_days(40),
    )
    .await;
    let mut ahead = sample("7.0.1", "7.0.1");
    ahead.created_at = after_days(41).into();
    record(&store, &ahead, "7.0.1", None, now()).await;

    let found = survey(&store, outside, after_days(40)).await;
    insta::assert_snapshot!("every_kind_of_hold", survey_lines(&found));
    assert_eq!(
        found.unmatched,
        [
            "artifact-of-another-store".to_owned(),
            format!("sha256:{}", "0".repeat(64))
        ]
    );
    // A use of the image's name alone holds all its versions.
    let mut all = ExternalUses::default();
    all.add_in_use_list("quickstart");
    let held = survey(&store, &all, after_days(40)).await;
    assert!(held.rows.iter().all(|row| !row.is_removable()));

    // A plan names exactly the artifacts without holds, and after the grace period exactly those
    // are deleted.
    let before = store.backend().list("artifacts/").await.unwrap();
    let (entry, named) = plan(&store, outside, after_days(40)).await;
    let going: Vec<String> = found
        .rows
        .iter()
        .filter(|row| row.is_removable())
        .map(|row| row.name.clone())
        .collect();
    assert_eq!(named, going);
    let applied = store
        .apply_gc(entry, outside, after_days(41))
        .await
        .unwrap();
    let removed: Vec<String> = applied
        .removed
        .iter()
        .map(|gone| gone.name.clone())
        .collect();
    assert_eq!(removed, going);
    assert_eq!((applied.skipped.len(), applied.failed.len()), (0, 0));
    let sum = found.total(vault_bake::store::gc::SurveyRow::is_removable);
    assert_eq!(
        (applied.files.len() as u64, applied.bytes),
        (sum.artifacts, sum.bytes)
    );
    let left = store.backend().list("artifacts/").await.unwrap();
    assert_eq!(before.len() - left.len(), applied.files.len());
    let after = survey(&store, outside, after_days(41)).await;
    for (row, was) in after.rows.iter().zip(&found.rows) {
        let state = if was.is_removable() {
            Presence::Removed
        } else {
            was.state
        };
        assert_eq!(row.state, state, "{}", row.name);
    }
    let report = store
        .verify(vault_bake::store::Depth::Artifacts)
        .await
        .unwrap();
    assert!(
        report
            .findings
            .iter()
            .all(|one| one.what.contains("artifacts/")),
        "{report}"
    );
    let missing: Vec<_> = report
        .artifacts_missing
        .iter()
        .map(|one| &one.file)
        .collect();
    assert_eq!(missing, [&file("6.0.0")]);
    assert!(report.voids.is_empty() && report.removals_unfinished.is_empty());
}

#[tokio::test]
async fn a_plan_names_two_hundred_at_most_and_another_one_the_rest() {
    let memory = TempDir::new().unwrap();
    let store = in_memory(&memory).await;
    for n in 0..205 {
        let version = format!("1.0.{n}");
        record(&store, &sample(&version, &version), &version, None, now()).await;
    }
    let outside = ExternalUses::default();
    let (first, named) = plan(&store, &outside, after_days(40)).await;
    assert_eq!(named.len(), 205);
    let applied = store
        .apply_gc(first, &outside, after_days(41))
        .await
        .unwrap();
    assert_eq!((applied.removed.len(), applied.files.len()), (200, 200));
    assert_eq!(
        applied.removed[0].name, "quickstart@1.0.0",
        "the oldest first"
    );
    let (second, named) = plan(&store, &outside, after_days(41)).await;
    assert_eq!(named.len(), 5);
    let applied = store
        .apply_gc(second, &outside, after_days(42))
        .await
        .unwrap();
    assert_eq!(applied.files.len(), 5);
    let (_, none) = store
        .plan_gc(&KEEP, &outside, HOUR_S, after_days(43))
        .await
        .unwrap();
    assert_eq!(none, None);
}
