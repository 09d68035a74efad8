//! Cached and replayed histories are the same for any events, and any moment of caching.

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::memory_backend::MemoryBackend;
use testing::signing::trust;
use vault_bake::digest::Digest;
use vault_bake::store::Store;

use super::{Writer, manifest, now, plain, remembering, resolved, state_of};

/// An action, and three numbers that choose its details.
type Op = (u8, u64, u64, bool);

const MANIFESTS: u64 = 6;

fn of(n: u64) -> Digest {
    Digest::hash_bytes(format!("manifest {}", n % MANIFESTS))
}

/// Makes an event; about every second one breaks a rule.
async fn append(writer: &mut Writer, (what, a, b, odd): Op) {
    let id = if odd && a == b { 1 } else { writer.seq + 1 };
    let n = a % MANIFESTS;
    let (kind, body) = match what {
        0..=3 => ("manifest.put", manifest(n, if b == 7 { 2 } else { n % 2 })),
        4..=6 => {
            let test = Digest::hash_bytes(format!("test {b}"));
            let body = json!({ "manifest": of(a), "test": test, "envelope": test, "passed": odd || b > 3 });
            ("test.put", body)
        }
        7..=9 => ("channel.set", channel_set(&writer.backend, n, b).await),
        10 => ("revoke", revoke(a, b, odd)),
        11 => {
            let body =
                json!({ "revocation": writer.seq.saturating_sub(b), "why": "it was a mistake" });
            ("restore", body)
        }
        12 | 15 => (
            "artifact.deleted",
            json!({ "manifest": of(a), "plan": writer.seq.saturating_sub(b / 2), "why": "old" }),
        ),
        16 | 17 => ("gc.plan", gc_plan(a, b, odd)),
        19..=21 => (
            "rollout.begin",
            rollout_begin(&writer.backend, a, b, odd).await,
        ),
        22 | 23 => ("rollout.end", rollout_end(&writer.backend, a, b).await),
        13 => ("trust.update", trust_update(&writer.backend, odd).await),
        14 => ("heartbeat", json!({ "of": a })),
        _ => ("test.put", json!({ "manifest": of(a) })),
    };
    writer.append(id, kind, body).await;
}

async fn channel_set(backend: &MemoryBackend, n: u64, b: u64) -> Value {
    let (image, channel) = (
        format!("image-{}", n % 2),
        ["dev", "prod"][(b % 2) as usize],
    );
    let history = plain(backend).await.history().await.unwrap();
    let present = history.channel(&image, channel).last();
    let mut body = json!({
        "image": image, "channel": channel, "to": of(n), "reason": "promote", "note": format!("note {b}"),
        "generation": present.map_or(0, |one| one.generation) + 1 + u64::from(b == 5),
    });
    if let Some(present) = present {
        body["from"] = present.to.to_string().into();
    }
    body
}

/// Makes a plan for one or two artifacts; some name one twice, or another size.
fn gc_plan(a: u64, b: u64, odd: bool) -> Value {
    let item = |n: u64| {
        let put = manifest(n % MANIFESTS, 0);
        json!({ "manifest": of(n), "artifact": put["artifact"], "size": put["size"].as_u64().unwrap() + u64::from(b == 5), "why": "old" })
    };
    let items = if odd {
        vec![item(a), item(b)]
    } else {
        vec![item(a)]
    };
    json!({
        "items": items, "grace_s": u64::from(b == 6) * 60,
        "keep": { "generations": b % 3, "min_age_s": 0, "pin_files": 0, "in_use_lists": 0 },
    })
}

/// The cluster of the number `a`, and its last epoch and open plan.
async fn cluster(backend: &MemoryBackend, a: u64) -> (Value, String, u64, Option<Digest>) {
    let name = ["dev", "prod"][(a % 2) as usize];
    let id = format!("{name}-1f2e3d4c");
    let history = plain(backend).await.history().await.unwrap();
    let epoch = history.rollout(&id).map_or(0, |last| last.epoch);
    let plan = history.open_rollout(&id).map(|open| open.plan);
    (json!({ "cluster": id }), name.to_owned(), epoch, plan)
}

/// A begin, or a take-over if a rollout is open; some have another epoch, plan or intention.
async fn rollout_begin(backend: &MemoryBackend, a: u64, b: u64, odd: bool) -> Value {
    let (mut body, name, epoch, plan) = cluster(backend, a).await;
    body["name"] = name.into();
    body["epoch"] = (epoch + 1 + u64::from(b == 5)).into();
    if plan.is_some() == (b != 6) {
        body["takes_over"] = true.into();
    }
    let plan = plan.filter(|_| odd || b > 2).unwrap_or_else(|| of(a));
    body["plan"] = plan.to_string().into();
    body
}

async fn rollout_end(backend: &MemoryBackend, a: u64, b: u64) -> Value {
    let (mut body, _, epoch, _) = cluster(backend, a).await;
    body["epoch"] = (epoch + u64::from(b == 5)).into();
    body["outcome"] = ["completed", "aborted"][(b % 2) as usize].into();
    body["record"] = of(a).to_string().into();
    body["envelope"] = of(b).to_string().into();
    body
}

fn revoke(a: u64, b: u64, odd: bool) -> Value {
    let rule = match b % 3 {
        0 => json!({ "by": "manifests", "manifests": [of(a)] }),
        1 => json!({ "by": "versions", "image": "image-*", "from": "1.0.2" }),
        _ => json!({ "by": "release", "product": "vault", "below": "1.22.0" }),
    };
    let mut body = json!({ "rule": rule, "why": "a leak", "effective_at": "2026-11-22T00:00:00Z" });
    if odd {
        body["replacement"] = of(b).to_string().into();
    }
    body
}

/// The same policy with the next version, or with a later one.
async fn trust_update(backend: &MemoryBackend, odd: bool) -> Value {
    let history = plain(backend).await.history().await.unwrap();
    let mut next = json!(trust());
    next["version"] = (history.trust().version() + 1 + u64::from(odd)).into();
    json!({ "trust": next })
}

async fn agree(store: &Store<MemoryBackend>, scratch: &Store<MemoryBackend>, ids: u64) {
    let mut references = vec!["image-9".to_owned(), "image-0:none".to_owned()];
    for image in 0..3 {
        references.push(format!("image-{image}"));
        references.extend(["dev", "prod"].map(|channel| format!("image-{image}:{channel}")));
        references.extend((0..MANIFESTS).map(|n| format!("image-{image}@1.0.{n}")));
    }
    references.extend((0..MANIFESTS).map(|n| of(n).to_string()));
    references.extend((0..MANIFESTS).map(|n| of(n).to_string()[..20].to_owned()));
    for reference in &references {
        assert_eq!(
            resolved(store, reference).await,
            resolved(scratch, reference).await,
            "{reference}"
        );
    }
    assert_eq!(
        store.images(now()).await.unwrap(),
        scratch.images(now()).await.unwrap()
    );
    let (remembered, replayed) = (store.history().await, scratch.history().await);
    assert_eq!(
        state_of(&remembered.unwrap(), ids),
        state_of(&replayed.unwrap(), ids)
    );
}

async fn play(ops: Vec<Op>, cuts: Vec<usize>) {
    let memory = TempDir::new().unwrap();
    let mut writer = Writer::new().await;
    let store = remembering(&writer.backend, memory.path()).await;
    let scratch = plain(&writer.backend).await;
    let count = ops.len() as u64 + 2;
    for (at, op) in ops.into_iter().enumerate() {
        append(&mut writer, op).await;
        if cuts.contains(&at) {
            agree(&store, &scratch, count).await;
        }
    }
    agree(&store, &scratch, count).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn remembered_and_replayed_are_the_same(
        ops in prop::collection::vec((0..24_u8, 0..12_u64, 0..8_u64, any::<bool>()), 1..48),
        cuts in prop::collection::vec(0..48_usize, 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(play(ops, cuts));
    }
}
