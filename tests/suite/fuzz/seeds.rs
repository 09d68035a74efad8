//! Makes seeds from real records and hostile variants, and compares them with the committed ones.
//! `VAULT_BAKE_WRITE_SEEDS=1 cargo test --test suite fuzz::seeds` writes them, after a change of
//! a format.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use vault_bake::digest::{Digest, canonical_json};
use vault_bake::manifest::packages_bytes;
use vault_bake::store::{Dir, Store};

use super::{TARGETS, root};
use crate::pin::tamper::small;
use testing::recorded_store::{RecordedStore, every_kind};
use testing::sample::{packages, sample, sample_with_everything};
use testing::signing::trust;

/// Contents by path below `fuzz/`.
#[derive(Default)]
struct Seeds(BTreeMap<String, Vec<u8>>);

impl Seeds {
    fn write(&mut self, target: &str, name: &str, bytes: &[u8]) {
        let path = format!("seeds/{target}/{name}");
        self.0.insert(path, bytes.to_vec());
    }
}

/// Replaces one text in `bytes`, which must contain it.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

/// The committed seeds have other ids, so the test compares only names.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the user requests the write")]
async fn seeds_made_now_are_what_their_names_say_and_are_committed() {
    let made = make().await.0;
    for (path, bytes) in &made {
        // The policy is no seed.
        let Some(seed) = path.strip_prefix("seeds/") else {
            continue;
        };
        let (target, name) = seed.split_once('/').unwrap();
        let (_, check) = TARGETS.iter().find(|(known, _)| *known == target).unwrap();
        assert_eq!(check(bytes), name.starts_with("good-"), "{path}");
    }
    if std::env::var("VAULT_BAKE_WRITE_SEEDS").is_ok() {
        // Their names contain numbers, which change.
        fs::remove_dir_all(root().join("seeds/event")).unwrap();
        for (path, bytes) in &made {
            let path = root().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    let missing: Vec<&String> = made
        .keys()
        .filter(|path| !root().join(path).exists())
        .collect();
    assert!(
        missing.is_empty(),
        "a format changed: run `VAULT_BAKE_WRITE_SEEDS=1 cargo test --test suite fuzz::seeds`, which writes {missing:?}"
    );
    let events = made.keys().filter(|path| path.starts_with("seeds/event/"));
    let there = fs::read_dir(root().join("seeds/event")).unwrap();
    assert_eq!(
        there.count(),
        events.count(),
        "events that no format gives now"
    );
}

/// Makes the seeds and the policy that signs them.
async fn make() -> Seeds {
    let mut all = Seeds::default();
    let seeds = &mut all;
    let policy = trust().to_bytes();
    seeds.0.insert("checks/trust.json".into(), policy);
    manifests(seeds);
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let digest = every_kind(&store).await;
    events(seeds, &store).await;
    rollout(seeds, &store).await;
    pins(seeds).await;
    let signed = store
        .log_entry(1)
        .await
        .unwrap()
        .unwrap()
        .envelope
        .to_bytes();
    seeds.write("envelope", "good-event", &signed);
    let listed = store.history().await.unwrap();
    let put = &listed.by_digest(&digest).unwrap().put;
    let envelope = store
        .envelope(&put.envelope, &digest)
        .await
        .unwrap()
        .to_bytes();
    seeds.write("envelope", "good-manifest", &envelope);
    let (from, to) = ("\"payload\":", "\"payload\": ");
    seeds.write("envelope", "bad-layout", &replaced(&signed, from, to));
    let mut value: Value = serde_json::from_slice(&signed).unwrap();
    let signature = value["signatures"][0].clone();
    value["signatures"] = json!([signature, signature]);
    seeds.write("envelope", "good-twice-by-one", &canonical_json(&value));
    value["signatures"] = json!([]);
    seeds.write("envelope", "bad-unsigned", &canonical_json(&value));
    value["signatures"] = json!([[signature["keyid"], signature["sig"]]]);
    seeds.write("envelope", "bad-list-as-object", &canonical_json(&value));
    all
}

/// The record of the rollout in the store, and variants that a reader must refuse.
async fn rollout(seeds: &mut Seeds, store: &Store<Dir>) {
    let history = store.history().await.unwrap();
    let mut ends = history.rollouts().iter().filter_map(|one| one.end.as_ref());
    let record = store.object(&ends.next().unwrap().record).await.unwrap();
    seeds.write("manifest", "good-rollout", &record);
    for (name, from, to) in [
        ("bad-rollout-field", "\"notes\":", "\"more\":1,\"notes\":"),
        ("bad-rollout-epoch", "\"epoch\":2", "\"epoch\":9"),
        ("bad-rollout-cluster", "\"id\":\"dev-", "\"id\":\"qa-"),
    ] {
        seeds.write("manifest", name, &replaced(&record, from, to));
    }
}

fn manifests(seeds: &mut Seeds) {
    let least = sample("1.0.0", "disk").to_bytes();
    seeds.write("manifest", "good-sample", &least);
    let full = sample_with_everything();
    seeds.write("manifest", "good-everything", &full.to_bytes());
    let mut later: Value = serde_json::from_slice(&least).unwrap();
    later["predicate"]["later"] = json!({ "digest": "x" });
    seeds.write("manifest", "good-later-field", &canonical_json(&later));
    seeds.write("manifest", "good-packages", &packages_bytes(&packages()));
    for (name, from, to) in [
        (
            "bad-another-schema",
            "image-manifest/v1",
            "image-manifest/v9",
        ),
        (
            "bad-demand",
            "\"must_understand\":[]",
            "\"must_understand\":[\"x\"]",
        ),
        (
            "bad-key-twice",
            "\"dirty\":true,",
            "\"dirty\":true,\"dirty\":true,",
        ),
        (
            "bad-large-number",
            "\"elapsed_ms\":4321",
            "\"elapsed_ms\":9007199254740992",
        ),
        (
            "bad-other-file",
            "\"subject\":[{\"digest\":{\"sha256\":\"",
            "\"subject\":[{\"digest\":{\"sha256\":\"00",
        ),
        ("bad-path", "\"id\":\"artifacts/", "\"id\":\"../artifacts/"),
    ] {
        seeds.write("manifest", name, &replaced(&least, from, to));
    }
    seeds.write("manifest", "bad-deep", "[".repeat(100).as_bytes());
}

async fn events(seeds: &mut Seeds, store: &Store<Dir>) {
    let head = store.history().await.unwrap().head();
    for seq in 1..=head {
        let payload = store
            .log_entry(seq)
            .await
            .unwrap()
            .unwrap()
            .envelope
            .payload;
        let value: Value = serde_json::from_slice(&payload).unwrap();
        let kind = value["kind"].as_str().unwrap();
        seeds.write("event", &format!("good-{seq:02}-{kind}"), &payload);
    }
    let put = store.log_entry(1).await.unwrap().unwrap().envelope.payload;
    seeds.write(
        "event",
        "good-unknown-kind",
        &replaced(&put, "manifest.put", "manifest.pat"),
    );
    seeds.write(
        "event",
        "good-later-field",
        &replaced(&put, "\"id\":", "\"i\":{},\"id\":"),
    );
    let unknown = replaced(&put, "manifest.put", "manifest.pat");
    let critical = replaced(&unknown, ",\"id\":", ",\"critical\":true,\"id\":");
    // Keys are sorted: `critical` comes before `id` and after `body`.
    let value: Value = serde_json::from_slice(&critical).unwrap();
    seeds.write("event", "bad-unknown-critical", &canonical_json(&value));
    other_forms(seeds);
    for (name, from, to) in [
        ("bad-id", "\"id\":\"", "\"id\":\"urn:uuid:"),
        ("bad-digest", "sha256:", "sha256:A"),
        (
            "bad-version",
            "\"version\":\"1.0.0\"",
            "\"version\":\"1.0.00\"",
        ),
        ("bad-time", "30:00Z\"", "30:00.0Z\""),
        ("bad-layout", "\"kind\":", "\"kind\" :"),
    ] {
        seeds.write("event", name, &replaced(&put, from, to));
    }
}

/// Events that serde would accept, but no writer makes: a list instead of an object, with its items
/// in
/// the order of our fields; a number instead of the name of a rule.
fn other_forms(seeds: &mut Seeds) {
    let digest = Digest::hash_bytes("manifest");
    let bodies = [
        (
            "body",
            "channel.set",
            json!([
                "quickstart",
                "prod",
                2,
                digest,
                digest,
                "promote",
                "why not"
            ]),
        ),
        (
            "name",
            "revoke",
            json!({ "rule": { "by": 3, "digest": digest }, "why": "x", "effective_at": "2100-01-01T00:00:00Z" }),
        ),
        (
            "rule",
            "revoke",
            json!({ "rule": ["input", digest], "why": "x", "effective_at": "2100-01-01T00:00:00Z" }),
        ),
    ];
    let event = |kind: &str, body: &Value| {
        json!({
            "schema": "https://vault-bake.dev/event/v1", "seq": 2, "prev": digest, "kind": kind, "body": body,
            "id": "019aad5f-0a00-7000-8000-000000000002", "at": "2026-11-22T19:30:00Z", "critical": true,
        })
    };
    for (name, kind, body) in &bodies {
        seeds.write(
            "event",
            &format!("bad-other-{name}"),
            &canonical_json(&event(kind, body)),
        );
    }
    let whole = event(
        "artifact.deleted",
        &json!({ "manifest": digest, "why": "nobody needs it" }),
    );
    let fields = [
        "schema", "seq", "prev", "id", "at", "kind", "body", "critical",
    ];
    let list: Value = fields.iter().map(|field| whole[*field].clone()).collect();
    seeds.write("event", "bad-other-event", &canonical_json(&list));
}

/// Of a file that is as small as possible.
async fn pins(seeds: &mut Seeds) {
    let text = small(None).await.into_bytes();
    seeds.write("pins", "good-one", &text);
    let value: Value = serde_json::from_slice(&text).unwrap();
    seeds.write("pins", "good-other-layout", value.to_string().as_bytes());
    let mut none = value;
    none["pins"] = json!({});
    let none = none.to_string().into_bytes();
    seeds.write("pins", "good-no-pins", &none);
    for (name, from, to) in [
        ("good-other-head", "\"seq\":3", "\"seq\":4"),
        ("good-other-signature", "\"sig\":\"", "\"sig\":\"AAAA"),
        ("bad-schema", "pins/v1", "pins/v9"),
        ("bad-key-twice", "\"seq\":", "\"seq\":1,\"seq\":"),
        ("bad-unknown-key", "\"seq\":", "\"colour\":1,\"seq\":"),
        ("bad-number", "\"seq\":", "\"seq\":-"),
    ] {
        seeds.write("pins", name, &replaced(&none, from, to));
    }
    for (name, from, to) in [
        ("good-own-name", "\"quickstart:prod\"", "\"blue\""),
        ("bad-name", "\"quickstart:prod\"", "\"quickstart:qa\""),
    ] {
        seeds.write("pins", name, &replaced(&text, from, to));
    }
}
