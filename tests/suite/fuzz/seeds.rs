//! Writes the seeds that are real records: made anew after changes of a format. The hostile ones are made from them.

use std::fs;

use serde_json::{Value, json};
use testing::recorded_store::{RecordedStore, every_kind};
use testing::sample::{packages, sample, sample_with_everything};
use testing::signing::trust;
use vault_bake::digest::{Digest, canonical_json};
use vault_bake::manifest::packages_bytes;
use vault_bake::store::{Dir, Store};

use super::root;
use crate::pin::tamper::small;

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = root().join("seeds").join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

/// `bytes` with one text in the place of another, which has to be there.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

#[tokio::test]
#[ignore = "writes fuzz/seeds anew; run it after changes of a format"]
async fn write_seeds() {
    let policy = trust().to_bytes();
    fs::write(root().join("checks/trust.json"), &policy).unwrap();
    manifests();
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let digest = every_kind(&store).await;
    events(&store).await;
    pins().await;
    let signed = store.logged(1).await.unwrap().unwrap().envelope.to_bytes();
    write("envelope", "good-event", &signed);
    let listed = store.history().await.unwrap();
    let put = &listed.by_digest(&digest).unwrap().put;
    let envelope = store
        .envelope(&put.envelope, &digest)
        .await
        .unwrap()
        .to_bytes();
    write("envelope", "good-manifest", &envelope);
    let (from, to) = ("\"payload\":", "\"payload\": ");
    write("envelope", "bad-layout", &replaced(&signed, from, to));
    let mut value: Value = serde_json::from_slice(&signed).unwrap();
    let signature = value["signatures"][0].clone();
    value["signatures"] = json!([signature, signature]);
    write("envelope", "good-twice-by-one", &canonical_json(&value));
    value["signatures"] = json!([]);
    write("envelope", "bad-unsigned", &canonical_json(&value));
    value["signatures"] = json!([[signature["keyid"], signature["sig"]]]);
    write("envelope", "bad-list-as-object", &canonical_json(&value));
}

fn manifests() {
    let least = sample("1.0.0", "disk").to_bytes();
    write("manifest", "good-sample", &least);
    let full = sample_with_everything();
    write("manifest", "good-everything", &full.to_bytes());
    let mut later: Value = serde_json::from_slice(&least).unwrap();
    later["predicate"]["later"] = json!({ "digest": "x" });
    write("manifest", "good-later-field", &canonical_json(&later));
    write("manifest", "good-packages", &packages_bytes(&packages()));
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
        write("manifest", name, &replaced(&least, from, to));
    }
    write("manifest", "bad-deep", "[".repeat(100).as_bytes());
}

async fn events(store: &Store<Dir>) {
    // Their names have numbers, which change.
    let _ = fs::remove_dir_all(root().join("seeds/event"));
    let head = store.history().await.unwrap().head();
    for seq in 1..=head {
        let payload = store.logged(seq).await.unwrap().unwrap().envelope.payload;
        let value: Value = serde_json::from_slice(&payload).unwrap();
        let kind = value["kind"].as_str().unwrap();
        write("event", &format!("good-{seq:02}-{kind}"), &payload);
    }
    let put = store.logged(1).await.unwrap().unwrap().envelope.payload;
    write(
        "event",
        "good-unknown-kind",
        &replaced(&put, "manifest.put", "manifest.pat"),
    );
    write(
        "event",
        "good-later-field",
        &replaced(&put, "\"id\":", "\"i\":{},\"id\":"),
    );
    let unknown = replaced(&put, "manifest.put", "manifest.pat");
    let critical = replaced(&unknown, ",\"id\":", ",\"critical\":true,\"id\":");
    // Keys are in order: `critical` stands before `id` and after `body`.
    let value: Value = serde_json::from_slice(&critical).unwrap();
    write("event", "bad-unknown-critical", &canonical_json(&value));
    other_forms();
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
        write("event", name, &replaced(&put, from, to));
    }
}

/// Events that serde would read although they were never written: a list in the place of an object, its items in the order
/// of our fields; a number in the place of a rule's name.
fn other_forms() {
    let digest = Digest::of("manifest");
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
        write(
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
    write("event", "bad-other-event", &canonical_json(&list));
}

/// Of a file as small as one can be.
async fn pins() {
    let text = small(None).await.into_bytes();
    write("pins", "good-one", &text);
    let value: Value = serde_json::from_slice(&text).unwrap();
    write("pins", "good-other-layout", value.to_string().as_bytes());
    let mut none = value;
    none["pins"] = json!({});
    let none = none.to_string().into_bytes();
    write("pins", "good-no-pins", &none);
    for (name, from, to) in [
        ("good-other-head", "\"seq\":3", "\"seq\":4"),
        ("good-other-signature", "\"sig\":\"", "\"sig\":\"AAAA"),
        ("bad-schema", "pins/v1", "pins/v9"),
        ("bad-key-twice", "\"seq\":", "\"seq\":1,\"seq\":"),
        ("bad-unknown-key", "\"seq\":", "\"colour\":1,\"seq\":"),
        ("bad-number", "\"seq\":", "\"seq\":-"),
    ] {
        write("pins", name, &replaced(&none, from, to));
    }
    for (name, from, to) in [
        ("good-own-name", "\"quickstart:prod\"", "\"blue\""),
        ("bad-name", "\"quickstart:prod\"", "\"quickstart:qa\""),
    ] {
        write("pins", name, &replaced(&text, from, to));
    }
}
