//! The published JSON Schemas match the records: the same fields, and as strict as a schema can be.

mod event;
mod rollout;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};
use testing::recorded_store::in_cloud;
use testing::sample::{self, check, digest, golden as sample, packages, sample_with_everything};
use vault_bake::digest::canonical_json;
use vault_bake::manifest::{
    AuditFact, Manifest, SCHEMA, TEST_SCHEMA, TestRecord, packages_bytes, parse_packages,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn schema(name: &str) -> Value {
    let text = fs::read_to_string(root().join("schemas").join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn validator(name: &str) -> Validator {
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(&schema(name))
        .unwrap()
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Returns the record in its statement.
fn predicate(bytes: &[u8]) -> Value {
    value(bytes)["predicate"].clone()
}

/// Makes a statement of `predicate`, with its subjects if they are known.
fn statement(kind: &str, predicate: &Value) -> Vec<u8> {
    let subject = |name: &Value, digest: &Value| {
        let hex = digest.as_str().unwrap_or_default().strip_prefix("sha256:");
        json!({ "name": name, "digest": { "sha256": hex.unwrap_or_default() } })
    };
    let outputs = predicate["outputs"].as_array();
    let subjects: Vec<Value> = match outputs {
        None => vec![subject(&json!("manifest"), &predicate["manifest"])],
        Some(outputs) => outputs
            .iter()
            .map(|output| subject(&output["id"], &output["file"]["digest"]))
            .collect(),
    };
    canonical_json(&json!({
        "_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": kind,
        "predicate": predicate,
    }))
}

fn reads_manifest(predicate: &Value) -> bool {
    Manifest::parse(&statement(SCHEMA, predicate)).is_ok()
}

fn reads_test(predicate: &Value) -> bool {
    TestRecord::parse(&statement(TEST_SCHEMA, predicate)).is_ok()
}

fn test_record() -> TestRecord {
    let audit = AuditFact {
        base_index: Some(61),
        index: 86,
        suggestions: vec!["AUTH-9262".into(), "BOOT-5122".into()],
        tool: "lynis".into(),
        version: "3.0.8".into(),
        warnings: vec!["KRNL-5830".into()],
    };
    let record = sample::test_record(
        digest("manifest"),
        "2026-11-22T19:20:00Z".parse().unwrap(),
        false,
    );
    TestRecord {
        audit: Some(audit),
        ..record
    }
}

#[test]
fn every_schema_is_one_and_describes_every_field() {
    for name in [
        "event-v1",
        "image-manifest-v1",
        "image-test-v1",
        "packages-v1",
        "proposal-v1",
        "rollout-v1",
    ] {
        let schema = schema(name);
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
        let id = format!("https://vault-bake.dev/schemas/{name}.json");
        assert_eq!(schema["$id"], id.as_str());
        let mut silent = Vec::new();
        undescribed(&schema, &schema, "", &mut silent);
        assert!(silent.is_empty(), "{name} is silent on {silent:?}");
    }
}

/// Returns the fields without a description, neither their own nor that of their type.
fn undescribed(root: &Value, part: &Value, at: &str, silent: &mut Vec<String>) {
    let fields = part["properties"].as_object().into_iter().flatten();
    for (name, field) in fields {
        let at = format!("{at}/{name}");
        if field["description"].is_null() && resolved(root, field)["description"].is_null() {
            silent.push(at.clone());
        }
        undescribed(root, field, &at, silent);
    }
    for (name, definition) in part["$defs"].as_object().into_iter().flatten() {
        undescribed(root, definition, &format!("{at}/$defs/{name}"), silent);
    }
}

fn resolved<'a>(root: &'a Value, part: &'a Value) -> &'a Value {
    match part["$ref"].as_str() {
        Some(reference) => root.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => part,
    }
}

/// Compares the fields of a schema with the written ones: a field of any of the `examples` is
/// allowed, a field of all of them is required.
fn compare(root: &Value, part: &Value, examples: &[&Value], at: &str) {
    let part = resolved(root, part);
    let names = |example: &&Value| -> BTreeSet<String> {
        let map = example.as_object().unwrap();
        map.keys().cloned().collect()
    };
    if let Some(fields) = part["properties"].as_object() {
        let given: BTreeSet<String> = fields.keys().cloned().collect();
        let all = examples.iter().flat_map(names).collect();
        assert_eq!(given, all, "fields of {at}/");
        let each = examples.iter().map(names).reduce(|a, b| &a & &b).unwrap();
        let required: BTreeSet<String> = serde_json::from_value(part["required"].clone()).unwrap();
        assert_eq!(required, each, "required in {at}/");
        for (name, field) in fields {
            let examples: Vec<&Value> = examples.iter().filter_map(|one| one.get(name)).collect();
            compare(root, field, &examples, &format!("{at}/{name}"));
        }
    }
    if !part["items"].is_null() {
        let items = examples.iter().filter_map(|list| list.as_array());
        let items: Vec<&Value> = items.flatten().collect();
        compare(root, &part["items"], &items, &format!("{at}/0"));
    }
}

#[test]
fn schemas_have_the_fields_that_are_written_and_no_others() {
    let mut full = sample_with_everything();
    full.must_understand = vec!["x".into()];
    let mut least = sample("1.2.3", "disk");
    least.releases.swap(0, 1);
    least.releases[0].url = None;
    (least.source.repo, least.source.commit, least.source.dirty) = (None, None, None);
    let mut cloud = sample("1.2.3", "disk");
    cloud.base.disk_sha256 = None;
    let mut named = in_cloud("westeurope", "azure-gallery-version", "/x".into());
    cloud.outputs = vec![named.clone()];
    let fact = named.cloud.as_mut().unwrap();
    (fact.created_at, fact.unique_id) = (None, Some("x".into()));
    cloud.outputs.push(named);
    let manifest = schema("image-manifest-v1");
    let examples = [full, least, cloud].map(|one| predicate(&one.to_bytes()));
    compare(&manifest, &manifest, &examples.each_ref(), "");

    let mut full = test_record();
    full.checks[0].skipped = Some("no TPM".into());
    full.builder.tool.binary_sha256 = Some(digest("vault-bake"));
    let least = TestRecord {
        audit: None,
        failure: None,
        ..test_record()
    };
    let mut image_alone = test_record();
    image_alone.audit.as_mut().unwrap().base_index = None;
    let test = schema("image-test-v1");
    let examples = [full, least, image_alone].map(|one| predicate(&one.to_bytes()));
    compare(&test, &test, &examples.each_ref(), "");

    let (list, schema) = (value(&packages_bytes(&packages())), schema("packages-v1"));
    compare(&schema, &schema, &[&list], "");
}

/// Returns the record of a golden file, with or without a statement.
fn golden(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    let (_, body) = text
        .strip_prefix("---\n")
        .unwrap()
        .split_once("\n---\n")
        .unwrap();
    let value: Value = serde_json::from_str(body.trim()).unwrap();
    value.get("predicate").unwrap_or(&value).clone()
}

#[test]
fn every_golden_record_is_valid() {
    let (manifests, tests) = (validator("image-manifest-v1"), validator("image-test-v1"));
    let mut seen = 0;
    for entry in fs::read_dir(root().join("tests/suite/snapshots")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let validator = match name.strip_prefix("suite__manifest__").unwrap_or_default() {
            name if name.starts_with("manifest_v1") => &manifests,
            name if name.starts_with("test_record_v1") => &tests,
            _ => continue,
        };
        if let Err(error) = validator.validate(&golden(&path)) {
            panic!("{name}: {} {error}", error.instance_path());
        }
        seen += 1;
    }
    assert_eq!(seen, 3, "golden records");
    assert!(validator("packages-v1").is_valid(&value(&packages_bytes(&packages()))));
    assert!(validator("packages-v1").is_valid(&json!([])));
}

/// Returns all positions in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let at = format!("{at}/{name}");
                found.push(at.clone());
                places(value, &at, found);
            }
        }
        Value::Array(items) => {
            for (place, value) in items.iter().enumerate() {
                let at = format!("{at}/{place}");
                found.push(at.clone());
                places(value, &at, found);
            }
        }
        _ => {}
    }
}

/// Replaces the value at every position of `record`, and removes it. Returns what the schema
/// accepts and
/// the reader refuses. Panics if the schema refuses what the reader accepts.
fn disagreements(
    record: &Value,
    schema: &Validator,
    reads: impl Fn(&Value) -> bool,
) -> Vec<String> {
    let mut found = Vec::new();
    places(record, "", &mut found);
    let others = [
        None,
        Some(json!(null)),
        Some(json!(true)),
        Some(json!(1)),
        Some(json!(-1)),
        Some(json!(1.5)),
        Some(json!(9_007_199_254_740_992_u64)),
        Some(json!("x")),
        Some(json!([])),
        Some(json!({})),
        Some(json!(["x"])),
        Some(json!({ "x": null })),
    ];
    let mut wrong = Vec::new();
    let mut refused_by_both = 0;
    for at in &found {
        for other in &others {
            let mut record = record.clone();
            let (parent, last) = at.rsplit_once('/').unwrap();
            match (other, record.pointer_mut(parent).unwrap()) {
                (Some(other), _) => *record.pointer_mut(at).unwrap() = other.clone(),
                (None, Value::Object(fields)) => drop(fields.remove(last)),
                (None, Value::Array(items)) => drop(items.remove(last.parse().unwrap())),
                (None, _) => unreachable!("a place is in an object or an array"),
            }
            let printed = other.as_ref().map_or("absent".to_owned(), Value::to_string);
            match (schema.is_valid(&record), reads(&record)) {
                (true, false) => wrong.push(format!("{at} = {printed}")),
                (false, true) => panic!("the schema refuses what is read: {at} = {printed}"),
                (true, true) => {}
                (false, false) => refused_by_both += 1,
            }
        }
    }
    assert!(refused_by_both > found.len() * 3, "{refused_by_both}");
    wrong
}

#[test]
fn a_schema_refuses_what_the_reader_refuses() {
    let manifest = predicate(&sample_with_everything().to_bytes());
    let wrong = disagreements(&manifest, &validator("image-manifest-v1"), reads_manifest);
    insta::assert_snapshot!(wrong.join("\n"), @r#"
/inputs/0/role = "x"
/inputs/1/role = "x"
/outputs/0/format = "x"
"#);
    let test = predicate(&test_record().to_bytes());
    let wrong = disagreements(&test, &validator("image-test-v1"), reads_test);
    insta::assert_snapshot!(wrong.join("\n"), @"");
    let reads = |list: &Value| parse_packages(&canonical_json(list)).is_ok();
    let list = value(&packages_bytes(&packages()));
    let wrong = disagreements(&list, &validator("packages-v1"), reads);
    insta::assert_snapshot!(wrong.join("\n"), @"");
}

#[test]
fn broken_manifests_are_refused_by_schema_and_reader() {
    let upper = format!("sha256:{}", "AB".repeat(32));
    let cases = [
        ("/must_understand", json!(["sealed-twice"])),
        ("/image", json!("../etc")),
        ("/image", json!("")),
        ("/image", json!("x".repeat(65))),
        ("/image", json!("web\n")),
        ("/version", json!("2026.0105.1")),
        ("/version", json!("1.2")),
        ("/version", json!("1.2.3-rc1")),
        ("/build", json!("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
        ("/created_at", json!("2026-11-22T19:18:17.5Z")),
        ("/created_at", json!("2026-11-22T20:18:17+01:00")),
        ("/created_at", json!("2026-13-22T20:18:17Z")),
        ("/outputs", json!([])),
        ("/outputs/0/id", json!("../../etc/passwd")),
        ("/outputs/0/file/digest", json!(upper)),
        ("/outputs/0/file/digest", json!("sha512:00")),
        ("/steps/0/exit", json!(2_147_483_648_u64)),
        ("/variables", json!({ "größe": 1 })),
        (
            "/variables/datacenter",
            json!({ "deep": [{ "deeper": 0.5 }] }),
        ),
        ("/base/requested", json!({ "suite": null })),
        ("/sbom", json!({ "digest": upper })),
        ("/parent", json!("sha256:00")),
    ];
    let schema = validator("image-manifest-v1");
    let whole = predicate(&sample_with_everything().to_bytes());
    for (path, change) in cases {
        let mut broken = whole.clone();
        *broken.pointer_mut(path).unwrap() = change.clone();
        assert!(!schema.is_valid(&broken), "schema: {path} = {change}");
        assert!(!reads_manifest(&broken), "reader: {path} = {change}");
    }
    let lie = TestRecord {
        passed: true,
        checks: vec![check("vault.tls-only", false)],
        ..test_record()
    };
    assert!(!validator("image-test-v1").is_valid(&predicate(&lie.to_bytes())));
    assert!(validator("image-test-v1").is_valid(&predicate(&test_record().to_bytes())));
}

/// Returns the values of `fields` as a list.
fn as_lists(value: &Value, fields: &[&str]) -> Value {
    fields.iter().map(|field| value[*field].clone()).collect()
}

#[test]
fn a_list_is_not_taken_for_an_object() {
    let mut manifest = predicate(&sample_with_everything().to_bytes());
    manifest["builder"]["host"] = as_lists(&manifest["builder"]["host"], &["os", "arch"]);
    let error = Manifest::parse(&statement(SCHEMA, &manifest)).unwrap_err();
    insta::assert_snapshot!(error, @"the manifest does not match the schema https://vault-bake.dev/image-manifest/v1: `builder.host`: expected an object, found a list");
    let mut list = value(&packages_bytes(&packages()));
    list[0] = as_lists(&list[0], &["name", "arch", "version", "source"]);
    let error = parse_packages(&canonical_json(&list)).unwrap_err();
    insta::assert_snapshot!(error, @"not a record: `*`: expected an object, found a list");
    let record = predicate(&test_record().to_bytes());
    let fields = [
        "manifest",
        "run",
        "started_at",
        "ended_at",
        "passed",
        "failure",
        "checks",
        "builder",
    ];
    let whole = as_lists(&record, &fields);
    let mut about = value(&statement(TEST_SCHEMA, &record));
    about["predicate"] = whole;
    let error = TestRecord::parse(&canonical_json(&about)).unwrap_err();
    insta::assert_snapshot!(error, @"the test record is not valid: expected an object, found a list");
}

#[test]
fn fields_of_later_versions_are_valid() {
    let mut later = predicate(&sample_with_everything().to_bytes());
    later["later"] = json!({ "digest": "x" });
    assert!(validator("image-manifest-v1").is_valid(&later));
}
