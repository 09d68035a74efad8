//! `rollout log` and `rollout show`: what the store records about rollouts.

use serde_json::Value;
use testing::recorded_store::{RecordedStore, bake, now, with};
use testing::rollout::{append_begin, begin, image, plan, record_of};
use testing::signing::{key, trust};
use uuid::Uuid;
use vault_bake::digest::Digest;
use vault_bake::manifest::{RolloutOutcome, RolloutRecord, StepResult};
use vault_bake::sign::Trust;
use vault_bake::store::{Dir, Store};

/// A rollout that another controller took over, an aborted one, one of two tiers, and an open one
/// of another cluster.
async fn recorded() -> RecordedStore {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let old = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    let new = bake(&store, &with("1.0.1", "1.21.0", "1.8.7")).await;
    let plan = store.put_object(&plan(new, &[old, new])).await.unwrap();
    append_begin(&store, 1, plan, false).await;
    append_begin(&store, 2, plan, true).await;
    end(&store, old, new, |_| ()).await;
    append_begin(&store, 3, plan, false).await;
    end(&store, old, new, |record| {
        record.outcome = RolloutOutcome::Aborted;
        (record.canary, record.snapshot) = (None, None);
        record.steps.truncate(1);
        record.steps[0].result = StepResult::Undone;
    })
    .await;
    append_begin(&store, 4, plan, false).await;
    end(&store, old, new, |record| {
        let consul = vec![image("consul-server", "2026.1122.0", new)];
        record.from.insert("consul".into(), consul);
        let consul = vec![image("consul-server", "1.0.1", old)];
        record.to.insert("consul".into(), consul);
        record.canary.as_mut().unwrap().unmeasured_ms = 131_000;
    })
    .await;
    let mut other = begin(1, plan, false);
    (other.cluster, other.name) = ("prod-00c0ffee".into(), "prod".into());
    let begun = store.begin_rollout(Uuid::now_v7(), other, now()).await;
    begun.unwrap();
    recorded
}

async fn end(
    store: &Store<Dir>,
    old: Digest,
    new: Digest,
    change: impl FnOnce(&mut RolloutRecord),
) {
    let from = image("quickstart", "1.0.0", old);
    let mut record = record_of(store, from, image("quickstart", "1.0.1", new)).await;
    change(&mut record);
    store.put_rollout(&record, now()).await.unwrap();
}

/// Replaces digests of plans, which depend on the sample images, and ids of keys.
fn settled(text: &str) -> String {
    let id = key(1).public().id().to_string();
    let text = text.replace(&id[..19], "KEY 1");
    let lines = text
        .lines()
        .map(|line| match line.strip_prefix("plan       ") {
            Some(digest) => format!("plan       {}", "0".repeat(digest.len())),
            None => line.to_owned(),
        });
    lines.map(|line| line + "\n").collect()
}

#[tokio::test]
async fn rollouts_are_listed_and_shown() {
    let recorded = recorded().await;
    let mut lines = String::new();
    for arguments in [
        &["rollout", "log"][..],
        &["rollout", "log", "prod-00c0ffee"],
        &["rollout", "log", "nowhere"],
        &["rollout", "show", "dev@2"],
        &["rollout", "show", "dev@3"],
        &["rollout", "show", "dev"],
        &["rollout", "show", "prod"],
        &["rollout", "show", "dev@5"],
        &["rollout", "show", "dev@0"],
        &["rollout", "show", "dev@x"],
        &["rollout", "show", "nowhere"],
    ] {
        lines += &recorded.transcript(arguments);
    }
    let lines = settled(&lines);
    let long = lines.lines().find(|line| line.chars().count() > 80);
    assert_eq!(long, None);
    insta::assert_snapshot!("rollouts", lines);
    // An epoch that was taken over is a part of the rollout of the next one.
    let of = |text: &str| recorded.run(&["rollout", "show", text], b"", true).stdout;
    assert_eq!(of("dev@1"), of("dev-1f2e3d4c@2"));
}

/// Two clusters of one name, long names of nodes, and a step of several nodes.
#[tokio::test]
async fn clusters_of_one_name_are_told_apart_and_columns_are_aligned() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let old = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    let new = bake(&store, &with("1.0.1", "1.21.0", "1.8.7")).await;
    let plan = store.put_object(&plan(new, &[old, new])).await.unwrap();
    let mut other = begin(1, plan, false);
    other.cluster = "dev-00c0ffee".into();
    let begun = store.begin_rollout(Uuid::now_v7(), other, now()).await;
    begun.unwrap();
    append_begin(&store, 1, plan, false).await;
    end(&store, old, new, |record| {
        let name = |n: u32| format!("a-cluster-of-20-char-consul-2-{n}");
        record.steps[0].nodes = (1..=3).map(name).collect();
        record.steps[1].longest_gap_ms = 7_384_000;
    })
    .await;
    let mut lines = String::new();
    for arguments in [
        &["rollout", "log"][..],
        &["rollout", "show", "dev-1f2e3d4c"],
        &["rollout", "show", "dev-00c0ffee@1"],
        &["rollout", "show", "dev"],
    ] {
        lines += &recorded.transcript(arguments);
    }
    insta::assert_snapshot!("rollouts_of_one_name", settled(&lines));
}

#[tokio::test]
async fn rollouts_are_listed_and_shown_for_programs() {
    let recorded = recorded().await;
    let output = recorded.run(&["rollout", "log", "--json"], b"", true);
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    let brief = lines.iter().map(|line| {
        let (name, epoch, state) = (&line["name"], &line["epoch"], &line["state"]);
        let failed = &line["record"]["canary"]["failed"];
        format!("{name} {epoch} {state} {failed} {}", line["targets"])
    });
    insta::assert_snapshot!(brief.collect::<Vec<_>>().join("\n"), @r#"
    "dev" 2 "completed" 0 {"vault":["quickstart@1.0.1"]}
    "dev" 3 "aborted" null {"vault":["quickstart@1.0.1"]}
    "dev" 4 "completed" 0 {"consul":["consul-server@1.0.1"],"vault":["quickstart@1.0.1"]}
    "prod" 1 "open" null {"vault":["quickstart@1.0.1"]}
    "#);
    let output = recorded.run(&["rollout", "show", "dev@1", "--json"], b"", true);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown, lines[0]);
    assert_eq!(shown["epochs"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_altered_rollout_record_is_not_shown() {
    let recorded = recorded().await;
    let history = recorded.store().await.history().await.unwrap();
    let end = history.rollouts()[1].end.as_ref().unwrap();
    let hex = end.envelope.hex();
    let path = recorded.path(&format!("store/objects/sha256/{}/{}", &hex[..2], &hex[2..]));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "{}").unwrap();
    for arguments in [&["rollout", "show", "dev@2"][..], &["rollout", "log"]] {
        let output = recorded.run(arguments, b"", true);
        assert_eq!(output.status.code(), Some(7), "{arguments:?}");
    }
    let output = recorded.run(&["rollout", "show", "dev"], b"", true);
    assert!(output.status.success(), "another rollout");
}

#[tokio::test]
async fn a_role_that_no_key_has_is_named_with_the_way_out() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let mut policy: Value = serde_json::from_slice(&trust().to_bytes()).unwrap();
    let grants = policy["grants"].as_array_mut().unwrap();
    grants.retain(|grant| grant["role"] != "revoker" && grant["role"] != "operator");
    let policy = Trust::from_json(policy.to_string().as_bytes()).unwrap();
    let store = recorded.store_of(&policy, &[1]).await;
    bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    super::channels::key_of(&recorded.path(""));
    let refused = ["revoke", "quickstart@1.0.0", "--reason", "a test"];
    let text = recorded.transcript(&refused);
    let text = text.replace(&key(1).public().id().to_string(), "KEY 1");
    insta::assert_snapshot!(text, @r"
    $ vault-bake revoke quickstart@1.0.0 --reason a test
    error: cannot act as revoker for this store: signed by KEY 1, but the trust policy gives this role to no key
    hint: Ask a root to run `vault-bake trust add KEY --role revoker`.
    exit 6
    ");
    // The store refuses a rollout in the same words.
    let plan = store.put_object(b"{}").await.unwrap();
    let begun = store.begin_rollout(Uuid::now_v7(), begin(1, plan, false), now());
    let error = begun.await.unwrap_err().to_string();
    let error = error.replace(&key(1).public().id().to_string(), "KEY 1");
    insta::assert_snapshot!(error, @"cannot act as operator for dev: signed by KEY 1, but the trust policy gives this role to no key");
}
