//! Rollouts in the log: who may begin and end one, and which record a reader accepts.

use serde_json::{Value, json};
use tempfile::TempDir;
use testing::recorded_store::revoke;
use testing::rollout::{CLUSTER, append_begin, begin, image, plan, record_of};
use testing::signing::{key, signer};
use uuid::Uuid;
use vault_bake::digest::Digest;
use vault_bake::manifest::{RolloutOutcome, RolloutRecord};
use vault_bake::rollout::EffectError;
use vault_bake::rollout::fence::confirm_open;
use vault_bake::sign::{STATEMENT_PAYLOAD_TYPE, Trust, sign};
use vault_bake::store::event::{Body, RolloutEnd};
use vault_bake::store::{Depth, Dir, Store, StoreError};
use vault_bake::wait::Interrupt;

use super::{append_as, append_raw, now, put, store};

/// A store with two images, and the plan of a rollout from the first to the second.
struct Ready {
    folder: TempDir,
    store: Store<Dir>,
    images: [Digest; 2],
    plan: Digest,
}

async fn ready() -> Ready {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    let old = put(&store, "1.0.0", "disk 0").await.unwrap();
    let new = put(&store, "1.0.1", "disk 1").await.unwrap();
    let plan = store.put_object(&plan(new, &[old, new])).await.unwrap();
    Ready {
        folder,
        store,
        images: [old, new],
        plan,
    }
}

impl Ready {
    async fn begin(&self, epoch: u64, takes_over: bool) -> Result<(), StoreError> {
        let begin = begin(epoch, self.plan, takes_over);
        self.store.begin_rollout(Uuid::now_v7(), begin, now()).await
    }

    async fn record(&self) -> RolloutRecord {
        let [old, new] = self.images;
        let from = image("quickstart", "1.0.0", old);
        record_of(&self.store, from, image("quickstart", "1.0.1", new)).await
    }

    /// Returns the message and the hint of a refusal.
    fn refusal(error: &StoreError) -> String {
        assert!(error.is_conflict(), "{error}");
        let hint = error.hint().unwrap_or_default();
        format!("{error}\n  {hint}\n")
    }
}

#[tokio::test]
async fn a_rollout_begins_once_and_is_taken_over_only_on_request() {
    let ready = ready().await;
    let mut lines = Vec::new();
    let mut refuse = |error: Result<(), StoreError>| {
        lines.push(Ready::refusal(&error.unwrap_err()));
    };
    refuse(ready.begin(2, false).await);
    refuse(ready.begin(1, true).await);
    ready.begin(1, false).await.unwrap();
    refuse(ready.begin(2, false).await);
    refuse(ready.begin(3, true).await);
    let other = ready.store.put_object(b"{}").await.unwrap();
    let over = begin(2, other, true);
    let id = Uuid::now_v7();
    let refused = ready.store.begin_rollout(id, over, now()).await;
    refuse(refused.map_err(|error| hide(error, &ready.plan)));
    let mut stranger = begin(2, ready.plan, true);
    stranger.name = "prod".into();
    refuse(ready.store.begin_rollout(id, stranger, now()).await);
    // Rollouts of other clusters do not concern this one.
    let mut other = begin(1, ready.plan, false);
    (other.cluster, other.name) = ("prod-00000000".into(), "prod".into());
    ready.store.begin_rollout(id, other, now()).await.unwrap();
    ready.begin(2, true).await.unwrap();
    insta::assert_snapshot!("rollout_refusals", lines.join(""));

    let history = ready.store.history().await.unwrap();
    let open: Vec<_> = history.open_rollouts().map(|one| &*one.name).collect();
    assert_eq!(open, ["prod", "dev"]);
    let last = history.rollout(CLUSTER).unwrap();
    assert_eq!((last.epoch, last.takes_over), (2, true));
    let by: Vec<_> = last.by.iter().copied().collect();
    assert_eq!(by, [key(1).public().id()]);
    let epochs: Vec<u64> = history
        .rollout_epochs(last)
        .iter()
        .map(|one| one.epoch)
        .collect();
    assert_eq!(epochs, [1, 2]);
    assert!(ready.store.verify(Depth::Records).await.unwrap().is_sound());
}

/// Replaces a digest that depends on the sample images.
fn hide(error: StoreError, digest: &Digest) -> StoreError {
    match error {
        StoreError::Refused { what, why, hint } => StoreError::Refused {
            what,
            why: why.replace(&digest.to_string(), "PLAN"),
            hint,
        },
        other => other,
    }
}

#[tokio::test]
async fn a_begin_that_is_repeated_with_its_id_changes_nothing() {
    let ready = ready().await;
    let id = Uuid::now_v7();
    for _ in 0..2 {
        let begin = begin(1, ready.plan, false);
        ready.store.begin_rollout(id, begin, now()).await.unwrap();
    }
    assert_eq!(ready.store.history().await.unwrap().rollouts().len(), 1);
    let missing = begin(2, Digest::hash_bytes("missing"), true);
    let error = ready.store.begin_rollout(id, missing, now()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, StoreError::NotYetStored { .. }), "{error}");
}

#[tokio::test]
async fn of_many_controllers_one_begins() {
    let ready = ready().await;
    let root = ready.folder.path().join("store");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (root, plan) = (root.clone(), ready.plan);
            tokio::spawn(async move {
                let store = store(&root).await;
                let begin = begin(1, plan, false);
                store.begin_rollout(Uuid::now_v7(), begin, now()).await
            })
        })
        .collect();
    let mut begun = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => begun += 1,
            Err(error) => assert!(matches!(error, StoreError::RolloutOpen { .. }), "{error}"),
        }
    }
    let history = ready.store.history().await.unwrap();
    assert_eq!((begun, history.rollouts().len()), (1, 1));
    assert_eq!(history.voids(), []);
}

#[tokio::test]
async fn a_record_ends_the_rollout_and_is_read_back_verified() {
    let ready = ready().await;
    ready.begin(1, false).await.unwrap();
    ready.begin(2, true).await.unwrap();
    let record = ready.record().await;
    let digest = ready.store.put_rollout(&record, now()).await.unwrap();
    let head = ready.store.history().await.unwrap().head();
    assert_eq!(
        ready.store.put_rollout(&record, now()).await.unwrap(),
        digest
    );
    let history = ready.store.history().await.unwrap();
    assert_eq!(history.head(), head, "the repetition appended nothing");
    assert!(history.open_rollouts().next().is_none());
    let [first, last] = history.rollouts() else {
        panic!("two epochs");
    };
    let read = async |one| ready.store.rollout_record(&history, one).await.unwrap();
    assert_eq!(read(last).await, Some(record));
    assert_eq!(read(first).await, None);
    let end = last.end.as_ref().unwrap();
    assert_eq!(end.outcome, RolloutOutcome::Completed);
    let report = ready.store.verify(Depth::Records).await.unwrap();
    assert!(report.is_sound(), "{report}");
    assert_eq!((report.rollouts, report.left_over.len()), (1, 0));
    // The next rollout of the cluster has the next epoch.
    ready.begin(3, false).await.unwrap();
    let history = ready.store.history().await.unwrap();
    let epochs = history.rollout_epochs(history.rollout(CLUSTER).unwrap());
    assert_eq!((epochs.len(), epochs[0].epoch), (1, 3));
}

#[tokio::test]
async fn a_controller_that_was_taken_over_cannot_end_the_rollout() {
    let ready = ready().await;
    let early = ready.store.put_rollout(&sample_record(&ready), now()).await;
    let mut lines = vec![Ready::refusal(&early.unwrap_err())];
    ready.begin(1, false).await.unwrap();
    let late = ready.record().await;
    ready.begin(2, true).await.unwrap();
    let mut refuse = |error: StoreError| lines.push(Ready::refusal(&error));
    refuse(ready.store.put_rollout(&late, now()).await.unwrap_err());
    // A record that names other epochs, or another plan, is not accepted either.
    let good = ready.record().await;
    let mut lie = good.clone();
    lie.epochs.remove(0);
    refuse(ready.store.put_rollout(&lie, now()).await.unwrap_err());
    let mut lie = good.clone();
    lie.plans = vec![Digest::hash_bytes("another plan")];
    refuse(ready.store.put_rollout(&lie, now()).await.unwrap_err());
    ready.store.put_rollout(&good, now()).await.unwrap();
    let aborted = RolloutRecord {
        outcome: RolloutOutcome::Aborted,
        ..good
    };
    refuse(ready.store.put_rollout(&aborted, now()).await.unwrap_err());
    insta::assert_snapshot!("rollout_end_refusals", lines.join(""));
}

fn sample_record(ready: &Ready) -> RolloutRecord {
    let [old, new] = ready.images;
    let epochs = vec![vault_bake::manifest::EpochFact {
        begun_at: now().into(),
        by: [key(1).public().id()].into(),
        epoch: 1,
    }];
    let from = image("quickstart", "1.0.0", old);
    let to = image("quickstart", "1.0.1", new);
    testing::rollout::record(epochs, ready.plan, from, to)
}

/// What a controller asks before it takes a node away.
#[tokio::test]
async fn a_revocation_and_a_take_over_stop_a_rollout_and_a_restore_lets_it_continue() {
    let ready = ready().await;
    let (store, [_, new]) = (&ready.store, ready.images);
    let confirm = async |epoch, targets: &[Digest]| {
        let confirmed = confirm_open(store, (CLUSTER, epoch), targets, now());
        confirmed.await
    };
    let refusal = |confirmed: Result<(), EffectError>| match confirmed {
        Err(EffectError::Refused { message, hint }) => format!("{message}\n{hint}"),
        other => panic!("{other:?}"),
    };
    let text = refusal(confirm(1, &[new]).await);
    assert!(text.contains("epoch 1 is not open"), "{text}");
    ready.begin(1, false).await.unwrap();
    assert_eq!(confirm(1, &[new]).await, Ok(()));

    revoke(store, new, None, "2026-11-22T19:00:00Z").await;
    insta::assert_snapshot!(refusal(confirm(1, &[new]).await), @r"
    a target image may not be deployed: quickstart@1.0.1 is revoked by entry 4 (CVE-2026-0001, it's bad)
    Run `vault-bake rollout abort`. If the revocation is a mistake, withdraw it with `vault-bake restore`, then run `vault-bake rollout resume`.
    ");
    // An abort gives no node that image.
    assert_eq!(confirm(1, &[]).await, Ok(()));
    let history = store.history().await.unwrap();
    let restore = Body::Restore {
        revocation: history.head(),
        why: "a mistake".into(),
    };
    store.append(Uuid::now_v7(), now(), restore).await.unwrap();
    assert_eq!(confirm(1, &[new]).await, Ok(()));

    ready.begin(2, true).await.unwrap();
    let over = Err(EffectError::TakenOver { epoch: 2 });
    assert_eq!(confirm(1, &[new]).await, over);
    assert_eq!(confirm(2, &[new]).await, Ok(()));
    let record = ready.record().await;
    store.put_rollout(&record, now()).await.unwrap();
    let text = refusal(confirm(2, &[new]).await);
    assert!(text.contains("epoch 2 is not open"), "{text}");
}

#[tokio::test]
async fn readers_void_forged_begins_and_ends() {
    let ready = ready().await;
    let (store, some) = (&ready.store, Digest::hash_bytes("x"));
    let begin = |epoch: u64, more: Value| {
        let mut body = json!({ "cluster": CLUSTER, "name": "dev", "epoch": epoch, "plan": some });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    let end = |epoch: u64| json!({ "cluster": CLUSTER, "epoch": epoch, "outcome": "completed", "record": some, "envelope": some });
    let append = async |kind: &str, body: Value| append_raw(store, kind, body, json!({})).await;
    append("rollout.end", end(1)).await;
    append("rollout.begin", begin(0, json!({}))).await;
    append("rollout.begin", begin(1, json!({ "takes_over": true }))).await;
    append("rollout.begin", begin(1, json!({ "cluster": "dev" }))).await;
    append("rollout.begin", begin(1, json!({ "epoch": "1" }))).await;
    append("rollout.begin", begin(1, json!({}))).await;
    append("rollout.begin", begin(1, json!({}))).await;
    append("rollout.begin", begin(2, json!({}))).await;
    let other = json!({ "takes_over": true, "plan": Digest::hash_bytes("y") });
    append("rollout.begin", begin(2, other)).await;
    append("rollout.end", end(2)).await;
    append("rollout.begin", begin(2, json!({ "takes_over": true }))).await;
    append("rollout.end", end(1)).await;
    append("rollout.end", end(2)).await;
    append("rollout.end", end(2)).await;
    let mut again = end(2);
    again["outcome"] = "aborted".into();
    append("rollout.end", again).await;
    append("rollout.end", json!({ "cluster": CLUSTER, "epoch": 2 })).await;
    let history = store.history().await.unwrap();
    let voids = history.voids().iter();
    let voids: Vec<String> = voids
        .map(|void| {
            format!(
                "{}: {}",
                void.seq,
                void.why.replace(&some.to_string(), "PLAN")
            )
        })
        .collect();
    insta::assert_snapshot!("rollouts_void", voids.join("\n"));
    let state = history.rollouts().iter();
    let state: Vec<_> = state.map(|one| (one.epoch, one.end.is_some())).collect();
    assert_eq!(state, [(1, false), (2, true)]);
    // Neither plan nor record exist.
    let report = store.verify(Depth::Records).await.unwrap();
    assert_eq!(report.findings.len(), 2, "{report}");
}

/// Key 1 has all roles except operator; key 2 operates clusters named `dev*`.
fn operators() -> Trust {
    let id = |n: u8| key(n).public().id().to_string();
    let keys: serde_json::Map<String, Value> =
        (1..=2).map(|n| (id(n), json!(key(n).public()))).collect();
    let mut grants: Vec<Value> = ["root", "builder", "promoter", "revoker", "keeper"]
        .map(|role| json!({ "role": role, "keys": [id(1)] }))
        .to_vec();
    grants.push(json!({ "role": "operator", "keys": [id(2)], "images": ["dev*"] }));
    let policy = json!({
        "schema": "https://vault-bake.dev/trust/v1", "version": 1, "keys": keys, "grants": grants,
    });
    Trust::from_json(policy.to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn only_an_operator_of_the_cluster_begins_and_ends_a_rollout() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let with = async |n: u8| {
        let store = Store::open_or_create(Dir::new(&root), &operators(), now()).await;
        let store = store.unwrap();
        store.with_signers(vec![signer(n)], Interrupt::default())
    };
    let (builder, operator) = (with(1).await, with(2).await);
    let plan = builder.put_object(b"{}").await.unwrap();
    let mut refusals = Vec::new();
    let mut refuse = |error: StoreError| {
        assert!(matches!(error, StoreError::NotAllowed { .. }), "{error}");
        let text = error.to_string();
        let text = text.replace(&key(1).public().id().to_string(), "KEY 1");
        refusals.push(text.replace(&key(2).public().id().to_string(), "KEY 2"));
    };
    let first = begin(1, plan, false);
    let id = Uuid::now_v7();
    let refused = builder.begin_rollout(id, first.clone(), now()).await;
    refuse(refused.unwrap_err());
    let mut elsewhere = begin(1, plan, false);
    (elsewhere.cluster, elsewhere.name) = ("prod-00000000".into(), "prod".into());
    let refused = operator.begin_rollout(id, elsewhere, now()).await;
    refuse(refused.unwrap_err());
    operator.begin_rollout(id, first, now()).await.unwrap();
    let end = Body::RolloutEnd(RolloutEnd {
        cluster: CLUSTER.into(),
        epoch: 1,
        outcome: RolloutOutcome::Aborted,
        record: plan,
        envelope: plan,
    });
    let refused = builder.append(Uuid::now_v7(), now(), end.clone()).await;
    refuse(refused.unwrap_err());
    insta::assert_snapshot!(refusals.join("\n"), @r"
    cannot act as operator for dev: signed by KEY 1, but the trust policy gives this role to KEY 2
    cannot act as operator for prod: signed by KEY 2, but the trust policy gives this role to no key
    cannot act as operator for dev: signed by KEY 1, but the trust policy gives this role to KEY 2
    ");
    append_as(
        1,
        &builder,
        "rollout.end",
        json!(end)["body"].clone(),
        json!({}),
    )
    .await;
    let history = operator.history().await.unwrap();
    assert_eq!(history.voids().len(), 1);
    assert!(history.open_rollout(CLUSTER).is_some());
}

#[tokio::test]
async fn verify_finds_a_missing_plan_and_a_record_by_the_wrong_key() {
    let ready = ready().await;
    append_begin(&ready.store, 1, ready.plan, false).await;
    let record = ready.record().await;
    ready.store.put_rollout(&record, now()).await.unwrap();
    let object = |digest: &Digest| {
        let hex = digest.hex();
        let root = ready.folder.path().join("store/objects/sha256");
        root.join(&hex[..2]).join(&hex[2..])
    };
    let history = ready.store.history().await.unwrap();
    let end = history.rollout(CLUSTER).unwrap().end.clone().unwrap();
    for (what, digest) in [
        ("plan", ready.plan),
        ("record", end.record),
        ("envelope", end.envelope),
    ] {
        let path = object(&digest);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let report = ready.store.verify(Depth::Records).await.unwrap();
        assert_eq!(report.findings.len(), 1, "{what}: {report}");
        assert!(report.findings[0].why.contains("missing"), "{report}");
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(ready.store.verify(Depth::Records).await.unwrap().is_sound());

    // An end that names a record with another outcome.
    append_begin(&ready.store, 2, ready.plan, false).await;
    let second = ready.record().await;
    let bytes = second.to_bytes();
    let digest = ready.store.put_object(&bytes).await.unwrap();
    let (signers, interrupt) = ([signer(1)], Interrupt::default());
    let signed = sign(STATEMENT_PAYLOAD_TYPE, bytes, &signers, &interrupt);
    let envelope = signed.await.unwrap().to_bytes();
    let envelope = ready.store.put_object(&envelope).await.unwrap();
    let body = Body::RolloutEnd(RolloutEnd {
        cluster: CLUSTER.into(),
        epoch: 2,
        outcome: RolloutOutcome::Aborted,
        record: digest,
        envelope,
    });
    ready
        .store
        .append(Uuid::now_v7(), now(), body)
        .await
        .unwrap();
    let report = ready.store.verify(Depth::Records).await.unwrap();
    let why: Vec<&str> = report.findings.iter().map(|one| &*one.why).collect();
    assert_eq!(why, ["the log has another outcome"]);
}
