//! The same for events of the log, of every kind.

use std::collections::BTreeMap;

use jsonschema::Validator;
use serde_json::{Value, json};
use testing::recorded_store::{RecordedStore, every_kind};
use testing::sample::digest;
use vault_bake::digest::canonical_json;
use vault_bake::manifest::{is_cluster_id, is_name};
use vault_bake::sign::{Envelope, Signature, Trust};
use vault_bake::store::event::{Body, PAYLOAD_TYPE};
use vault_bake::store::proof::LogEntry;

use super::{compare, disagreements, schema, validator, value};

/// Everything that a store writes, in the order of its log.
async fn written() -> Vec<Value> {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    every_kind(&store).await;
    let head = store.history().await.unwrap().head();
    let mut events = Vec::new();
    for seq in 1..=head {
        let logged = store.log_entry(seq).await.unwrap().unwrap();
        events.push(value(&logged.envelope.payload));
    }
    events
}

/// A new kind must be added to `every_kind` and to the schema.
fn kind_of(body: &Body) -> &'static str {
    match body {
        Body::ManifestPut(_) => "manifest.put",
        Body::TestPut { .. } => "test.put",
        Body::ChannelSet(_) => "channel.set",
        Body::Revoke(_) => "revoke",
        Body::Restore { .. } => "restore",
        Body::TrustUpdate { .. } => "trust.update",
        Body::GcPlan(_) => "gc.plan",
        Body::ArtifactDeleted { .. } => "artifact.deleted",
        Body::RolloutBegin(_) => "rollout.begin",
        Body::RolloutEnd(_) => "rollout.end",
        Body::Approved(_) => "approved",
    }
}

fn read(event: &Value) -> Option<Body> {
    let signature = Signature {
        key: digest("nobody").to_string().parse().unwrap(),
        bytes: vec![0; 64],
    };
    let envelope = Envelope {
        payload_type: PAYLOAD_TYPE.to_owned(),
        payload: canonical_json(event),
        signatures: vec![signature],
    };
    LogEntry::parse(envelope).ok()?.body
}

/// Returns whether the reader accepts a single event, without the rules of the history.
fn reads(event: &Value) -> bool {
    match read(event) {
        None => false,
        Some(Body::ManifestPut(put)) => is_name(&put.image),
        Some(Body::ChannelSet(set)) => is_name(&set.channel),
        Some(Body::Revoke(revoke)) => revoke.rule.check().is_ok(),
        Some(Body::TrustUpdate { trust }) => Trust::from_json(&trust.to_bytes()).is_ok(),
        Some(Body::GcPlan(plan)) => !plan.items.is_empty() && plan.keep.generations > 0,
        Some(Body::RolloutBegin(begin)) => {
            begin.epoch > 0 && is_cluster_id(&begin.cluster, &begin.name)
        }
        Some(Body::RolloutEnd(end)) => end.epoch > 0 && end.cluster.contains('-'),
        Some(
            Body::TestPut { .. }
            | Body::Restore { .. }
            | Body::ArtifactDeleted { .. }
            | Body::Approved(_),
        ) => true,
    }
}

/// Removes values that writers always write, but that a policy may omit.
fn as_people_write(body: &Value) -> Value {
    let mut body = body.clone();
    let grants = body.pointer_mut("/trust/grants");
    for grant in grants.and_then(Value::as_array_mut).into_iter().flatten() {
        let grant = grant.as_object_mut().unwrap();
        grant.retain(|field, _| matches!(field.as_str(), "role" | "keys"));
    }
    body
}

#[tokio::test]
async fn what_is_written_is_valid_and_every_kind_is_described() {
    let (schema, validator) = (schema("event-v1"), validator("event-v1"));
    let events = written().await;
    let mut by_kind: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    let mut by_rule: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for event in &events {
        if let Err(error) = validator.validate(event) {
            panic!("{event}: {} {error}", error.instance_path());
        }
        let body = read(event).unwrap();
        assert_eq!(event["kind"], kind_of(&body));
        by_kind
            .entry(kind_of(&body))
            .or_default()
            .push(&event["body"]);
        if let Some(by) = event["body"]["rule"]["by"].as_str() {
            let rules = by_rule.entry(format!("by-{by}")).or_default();
            rules.push(&event["body"]["rule"]);
        }
    }
    let known: Vec<&str> = schema["properties"]["kind"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| kind.as_str().unwrap())
        .collect();
    assert!(
        known.iter().all(|kind| by_kind.contains_key(kind)),
        "{known:?}"
    );
    assert_eq!(known.len(), by_kind.len());
    let definitions = by_kind
        .into_iter()
        .map(|(kind, all)| (kind.to_owned(), all));
    for (name, all) in definitions.chain(by_rule) {
        let as_people: Vec<Value> = all.iter().map(|one| as_people_write(one)).collect();
        let all: Vec<&Value> = all.into_iter().chain(&as_people).collect();
        let definition = &schema["$defs"][&name];
        assert!(definition.is_object(), "{name} is not described");
        compare(&schema, definition, &all, &name);
    }
    // Their bodies were checked above.
    let whole = events.iter().cloned().map(|mut event| {
        event["body"] = json!({});
        event
    });
    let whole: Vec<Value> = whole.collect();
    compare(&schema, &schema, &whole.iter().collect::<Vec<_>>(), "");
}

#[tokio::test]
async fn schema_and_reader_refuse_the_same() {
    let validator = validator("event-v1");
    let events = written().await;
    let mut lines = Vec::new();
    let mut seen = Vec::new();
    for event in &events {
        let shape = (&event["kind"], &event["body"]["rule"]["by"]);
        if seen.contains(&shape) {
            continue;
        }
        seen.push(shape);
        let wrong = disagreements(event, &validator, reads);
        let of = event["kind"].as_str().unwrap();
        lines.extend(wrong.iter().map(|line| format!("{of} {line}")));
    }
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("sha256:[0-9a-f]{64}", "DIGEST");
    settings.bind(|| {
        insta::assert_snapshot!(lines.join("\n"), @r#"
    rollout.begin /body/name = "x"
    trust.update /body/trust/keys = {}
    trust.update /body/trust/keys/DIGEST = absent
    "#);
    });
}

#[tokio::test]
async fn broken_events_are_refused_by_both() {
    let validator = validator("event-v1");
    let events = written().await;
    let upper = format!("sha256:{}", "AB".repeat(32));
    let cases = [
        (
            "manifest.put",
            "/schema",
            json!("https://vault-bake.dev/event/v2"),
        ),
        ("manifest.put", "/kind", json!("manifest.pat")),
        ("manifest.put", "/prev", json!(upper)),
        (
            "manifest.put",
            "/id",
            json!("019AAD5F-0A00-7000-8000-000000000001"),
        ),
        (
            "manifest.put",
            "/id",
            json!("urn:uuid:019aad5f-0a00-7000-8000-000000000001"),
        ),
        (
            "manifest.put",
            "/id",
            json!("019aad5f0a0070008000000000000001"),
        ),
        ("manifest.put", "/at", json!("2026-11-22T20:18:17+01:00")),
        ("manifest.put", "/at", json!("-000001-11-22T20:18:17Z")),
        ("manifest.put", "/body/image", json!("../etc")),
        ("manifest.put", "/body/version", json!("1.02.3")),
        ("manifest.put", "/body/releases", json!({ "größe": "1" })),
        ("channel.set", "/body/channel", json!("a/b")),
        ("channel.set", "/body/reason", json!("sideways")),
        ("channel.set", "/body/generation", json!(-1)),
        (
            "revoke",
            "/body/rule",
            json!({ "by": "colour", "colour": "blue" }),
        ),
        (
            "revoke",
            "/body/rule",
            json!({ "by": "manifests", "manifests": [] }),
        ),
        (
            "revoke",
            "/body/rule",
            json!({ "by": "release", "product": "vault", "below": "1.2" }),
        ),
        (
            "revoke",
            "/body/rule",
            json!({ "by": "input", "digest": digest("x"), "more": 1 }),
        ),
        ("revoke", "/body/rule", json!(["input", digest("x")])),
        (
            "trust.update",
            "/body/trust/schema",
            json!("https://vault-bake.dev/trust/v2"),
        ),
        ("trust.update", "/body/trust/grants/0/role", json!("king")),
        ("trust.update", "/body/trust/grants/0/threshold", json!(0)),
        (
            "trust.update",
            "/body/trust/grants/0",
            json!(["root", [digest("x")], 1, ["*"], ["*"]]),
        ),
        ("trust.update", "/body", json!([])),
        ("gc.plan", "/body/items", json!([])),
        (
            "gc.plan",
            "/body/items/0",
            json!([digest("x"), digest("y"), 4, "no channel"]),
        ),
        ("gc.plan", "/body/keep", json!([1, 0, 0, 0])),
        ("gc.plan", "/body/keep/generations", json!(0)),
        ("rollout.begin", "/body/epoch", json!(0)),
        ("rollout.begin", "/body/cluster", json!("dev-1F2E3D4C")),
        ("rollout.begin", "/body/plan", json!(upper)),
        ("rollout.end", "/body/outcome", json!("paused")),
        (
            "artifact.deleted",
            "/body",
            json!([digest("x"), 12, "nobody needs it"]),
        ),
    ];
    for (kind, path, change) in cases {
        let mut event = events
            .iter()
            .find(|event| event["kind"] == kind)
            .unwrap()
            .clone();
        *event.pointer_mut(path).unwrap() = change.clone();
        assert!(
            !validator.is_valid(&event),
            "schema: {kind} {path} = {change}"
        );
        assert!(!reads(&event), "reader: {kind} {path} = {change}");
    }
}

#[tokio::test]
async fn what_later_versions_add_is_valid_where_it_is_passed_over() {
    let validator: Validator = validator("event-v1");
    for mut event in written().await {
        event["later"] = json!({ "digest": "x" });
        // A reader that does not know what a plan keeps must not apply it. An envelope has no other
        // fields.
        if event["kind"] != "gc.plan" && event["kind"] != "approved" {
            event["body"]["later"] = json!(1);
        }
        assert!(validator.is_valid(&event) && reads(&event), "{event}");
    }
}
