//! Checks the parsers of manifests, test records, rollout records and package lists.

use serde_json::Value;
use vault_bake::digest::{Digest, canonical_json};
use vault_bake::manifest::diff::diff;
use vault_bake::manifest::{
    Manifest, Output, RolloutRecord, TestRecord, is_cluster_id, is_name, packages_bytes,
    parse_packages,
};
use vault_bake::sign::Statement;

/// More than the longest record.
const ANY_SIZE: usize = 1 << 20;

/// Returns whether `data` is one of the four. Panics if the result differs from the text.
pub fn check(data: &[u8]) -> bool {
    if let Ok(manifest) = Manifest::parse(data) {
        check_manifest(data, &manifest);
        return true;
    }
    if let Ok(record) = TestRecord::parse(data) {
        check_record(data, &record);
        return true;
    }
    if let Ok(record) = RolloutRecord::parse(data) {
        assert_eq!(record.to_bytes(), data, "another form of the record");
        assert!(is_cluster_id(&record.cluster.id, &record.cluster.name));
        return true;
    }
    match parse_packages(data) {
        Ok(packages) => {
            let written = packages_bytes(&packages);
            let again = parse_packages(&written).expect("what was written is read");
            assert_eq!(packages_bytes(&again), written);
            true
        }
        Err(_) => false,
    }
}

fn check_manifest(data: &[u8], manifest: &Manifest) {
    let statement = Statement::parse(data, ANY_SIZE).expect("a manifest is a statement");
    assert_eq!(statement.to_bytes(), data, "another form of the statement");
    let subjects: Vec<Digest> = statement.subjects.iter().map(|one| one.digest).collect();
    let outputs: Vec<Digest> = manifest.outputs.iter().map(Output::digest).collect();
    assert_eq!(subjects, outputs, "a statement about other files");
    assert!(is_name(&manifest.image), "{} is no name", manifest.image);
    assert!(!manifest.outputs.is_empty(), "no outputs");

    let written = manifest.to_bytes();
    let again = Manifest::parse(&written).expect("what was written is read");
    assert_eq!(&again, manifest);
    assert_eq!(again.digest(), Digest::hash_bytes(&written));
    same_known_fields(data, &written, &statement.predicate, manifest);

    // Diff and Display must not panic for any manifest.
    let same = diff(manifest, &again, None);
    assert!(same.is_empty(), "it differs from itself");
    let _ = manifest.to_string();
}

fn check_record(data: &[u8], record: &TestRecord) {
    let written = record.to_bytes();
    assert_eq!(
        &TestRecord::parse(&written).expect("what was written is read"),
        record
    );
    assert!(!record.passed || record.checks.iter().all(|check| check.ok));
    let statement = Statement::parse(data, ANY_SIZE).expect("a test record is a statement");
    same_known_fields(data, &written, &statement.predicate, record);
}

/// Panics if the record differs from its text, except for unknown fields of a newer version.
fn same_known_fields(
    data: &[u8],
    written: &[u8],
    predicate: &Value,
    record: &impl serde::Serialize,
) {
    let known = serde_json::to_value(record).expect("a record is JSON");
    let unknown = within(&known, predicate);
    assert_eq!(
        written == data,
        !unknown,
        "{}",
        String::from_utf8_lossy(&canonical_json(&known))
    );
}

/// Panics if `written` has a value that `text` lacks. Returns whether `text` has more.
fn within(written: &Value, text: &Value) -> bool {
    match (written, text) {
        (Value::Object(written), Value::Object(text)) => {
            let mut more = written.len() != text.len();
            for (key, value) in written {
                let text = text
                    .get(key)
                    .unwrap_or_else(|| panic!("{key} is not in the text"));
                more |= within(value, text);
            }
            more
        }
        (Value::Array(written), Value::Array(text)) => {
            assert_eq!(written.len(), text.len());
            let pairs = written.iter().zip(text);
            pairs.fold(false, |more, (written, text)| within(written, text) | more)
        }
        _ => {
            assert_eq!(written, text);
            false
        }
    }
}
