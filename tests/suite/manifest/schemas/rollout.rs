//! The same for rollout records.

use serde_json::{Value, json};
use testing::rollout::{self, image};
use testing::sample::digest;
use testing::signing::key;
use vault_bake::digest::canonical_json;
use vault_bake::manifest::{EpochFact, ROLLOUT_SCHEMA, RolloutRecord};

use super::{compare, disagreements, predicate, schema, validator, value};

/// A record of two epochs, with every field.
fn record() -> RolloutRecord {
    let epoch = |epoch: u64| EpochFact {
        begun_at: "2026-11-22T19:30:00Z".parse().unwrap(),
        by: [key(1).public().id()].into(),
        epoch,
    };
    let from = image("vault-server", "1.0.0", digest("old"));
    let to = image("vault-server", "1.0.1", digest("new"));
    let mut record = rollout::record(vec![epoch(3), epoch(4)], digest("plan"), from, to);
    record.plans.push(digest("another plan"));
    record
}

/// Makes a statement of `predicate`, with the subjects that it should have if they are known.
fn statement(predicate: &Value) -> Vec<u8> {
    let subject = |name: String, digest: &Value| {
        let hex = digest.as_str().unwrap_or_default().strip_prefix("sha256:");
        json!({ "name": name, "digest": { "sha256": hex.unwrap_or_default() } })
    };
    let plans = predicate["plans"].as_array().into_iter().flatten();
    let plans = plans.enumerate().map(|(at, plan)| match at {
        0 => subject("plan".to_owned(), plan),
        at => subject(format!("plan-{}", at + 1), plan),
    });
    let tiers = predicate["to"].as_object().into_iter().flatten();
    let images = tiers.flat_map(|(_, images)| images.as_array().into_iter().flatten());
    let images = images.map(|image| {
        let text = |key: &str| image[key].as_str().unwrap_or_default().to_owned();
        let name = format!("{}@{}", text("image"), text("version"));
        subject(name, &image["manifest"])
    });
    let subjects: Vec<Value> = plans.chain(images).collect();
    canonical_json(&json!({
        "_type": "https://in-toto.io/Statement/v1", "subject": subjects,
        "predicateType": ROLLOUT_SCHEMA, "predicate": predicate,
    }))
}

fn reads(predicate: &Value) -> bool {
    RolloutRecord::parse(&statement(predicate)).is_ok()
}

#[test]
fn a_rollout_record_has_one_form_and_the_fields_of_its_schema() {
    let full = record();
    let bytes = full.to_bytes();
    insta::assert_snapshot!("rollout_v1", String::from_utf8_lossy(&bytes));
    assert_eq!(RolloutRecord::parse(&bytes).unwrap(), full);
    let written = predicate(&bytes);
    assert_eq!(statement(&written), bytes);
    let validator = validator("rollout-v1");
    if let Err(error) = validator.validate(&written) {
        panic!("{} {error}", error.instance_path());
    }
    let mut least = record();
    (least.canary, least.tool.binary_sha256) = (None, None);
    least.snapshot.as_mut().unwrap().index = None;
    let mut without = record();
    (without.snapshot, without.version_jump_reason) = (None, None);
    without.canary.as_mut().unwrap().slowest_ms = None;
    let examples = [full, least, without].map(|one| predicate(&one.to_bytes()));
    let schema = schema("rollout-v1");
    compare(&schema, &schema, &examples.each_ref(), "");
    let image = &examples[0]["to"]["vault"][0];
    compare(&schema, &schema["$defs"]["image"], &[image], "image");
    for example in &examples {
        assert!(validator.is_valid(example) && reads(example), "{example}");
    }
}

#[test]
fn schema_and_reader_of_rollout_records_refuse_the_same() {
    let whole = predicate(&record().to_bytes());
    let wrong = disagreements(&whole, &validator("rollout-v1"), reads);
    insta::assert_snapshot!(wrong.join("\n"), @r#"
    /cluster/name = "x"
    /epochs/0/epoch = 1
    /epochs/1/epoch = 1
    "#);
}

#[test]
fn broken_rollout_records_are_refused_by_both() {
    let validator = validator("rollout-v1");
    let whole = predicate(&record().to_bytes());
    for (path, change) in [
        ("/cluster/id", json!("dev-1F2E3D4C")),
        ("/cluster/name", json!("../dev")),
        ("/epochs/0/epoch", json!(0)),
        ("/epochs/0/by", json!([])),
        ("/plans/1", json!(digest("plan"))),
        ("/to", json!({})),
        ("/to/vault", json!([])),
        ("/to/vault/0/version", json!("1.02.3")),
        ("/from/vault/0/image", json!("a/b")),
        ("/outcome", json!("paused")),
        ("/steps/0/result", json!("ok")),
        ("/steps/0/more", json!(1)),
        ("/steps/0", json!([])),
        ("/tool/commit", json!("x")),
        ("/more", json!(1)),
        ("/ended_at", json!("2026-11-22T20:18:17+01:00")),
    ] {
        let mut broken = whole.clone();
        let (parent, last) = path.rsplit_once('/').unwrap();
        match broken.pointer_mut(path) {
            Some(field) => *field = change.clone(),
            None => broken.pointer_mut(parent).unwrap()[last] = change.clone(),
        }
        assert!(!validator.is_valid(&broken), "schema: {path} = {change}");
        assert!(!reads(&broken), "reader: {path} = {change}");
    }
}

#[test]
fn what_is_no_rollout_record_is_named() {
    let text = String::from_utf8(record().to_bytes()).unwrap();
    let refusal = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let changed = text.replacen(from, to, 1);
        RolloutRecord::parse(changed.as_bytes())
            .unwrap_err()
            .to_string()
    };
    let old = digest("plan").hex();
    let lines = [
        refusal("rollout/v1", "rollout/v2"),
        // The subject only: keys are sorted, so it is the last one in the text.
        {
            let at = text.rfind(&old).unwrap();
            let changed = [&text[..at], &digest("x").hex(), &text[at + 64..]].concat();
            let error = RolloutRecord::parse(changed.as_bytes());
            error.unwrap_err().to_string()
        },
        refusal("\"epoch\":4", "\"epoch\":5"),
        refusal("\"id\":\"dev-", "\"id\":\"prod-"),
        refusal("\"notes\":[", "\"more\":1,\"notes\":["),
        refusal("\"notes\":[", "\"notes\": ["),
        refusal("\"outcome\":\"completed\"", "\"outcome\":\"paused\""),
    ];
    insta::assert_snapshot!(lines.join("\n"));
    let list = value(text.as_bytes())["predicate"]["cluster"].clone();
    let list = json!([list["id"], list["name"]]);
    let mut whole = predicate(text.as_bytes());
    whole["cluster"] = list;
    let error = RolloutRecord::parse(&statement(&whole)).unwrap_err();
    insta::assert_snapshot!(error, @"the rollout record is not valid: a list in place of an object, or an unknown field");
}
