//! Checks the parser of events, the payloads of log entries.

use std::collections::BTreeSet;

use serde_json::Value;
use vault_bake::canonical;
use vault_bake::digest::{Digest, canonical_json};
use vault_bake::sign::{Envelope, Signature};
use vault_bake::store::event::PAYLOAD_TYPE;
use vault_bake::store::proof::LogEntry;

/// Returns whether `data` is an event. Panics if the result differs from the text.
pub fn check(data: &[u8]) -> bool {
    let Ok(logged) = read(data) else {
        return false;
    };
    let value = canonical::parse(data, data.len()).expect("an event is canonical JSON");
    assert!(value.is_object(), "an event that is no object");
    assert_eq!(value["seq"], logged.seq);
    assert_eq!(value["prev"], logged.prev.to_string());
    assert_eq!(value["at"], logged.at.to_string());
    assert_eq!(logged.envelope.payload, data);
    assert_eq!(
        Envelope::parse(&logged.envelope.to_bytes()).expect("an envelope"),
        logged.envelope
    );
    assert_eq!(
        logged.digest(),
        Digest::hash_bytes(logged.envelope.to_bytes())
    );
    let Some(body) = &logged.body else {
        assert_ne!(value["critical"], true, "a critical event was ignored");
        return true;
    };
    // The text may have fields of a newer version, so the body may have fewer fields.
    let written = serde_json::to_value(body).expect("a body is JSON");
    within("kind", &written["kind"], &value["kind"]);
    within("body", &written["body"], &value["body"]);
    let mut again = value;
    again["body"] = written["body"].clone();
    let again = read(&canonical_json(&again)).expect("what was written is read");
    assert_eq!(again.body.as_ref(), Some(body));
    assert_eq!(serde_json::to_value(body).expect("JSON"), written);
    true
}

/// Reads `data` as an entry, with a signature of an unknown key.
fn read(data: &[u8]) -> Result<LogEntry, String> {
    let signature = Signature {
        key: Digest::hash_bytes("unknown")
            .to_string()
            .parse()
            .expect("an id"),
        bytes: vec![0; 64],
    };
    let envelope = Envelope {
        payload_type: PAYLOAD_TYPE.to_owned(),
        payload: data.to_vec(),
        signatures: vec![signature],
    };
    LogEntry::parse(envelope).map_err(|error| error.to_string())
}

/// Panics if `written` has a value that `text` lacks. The text may omit defaults, and order sets
/// differently.
fn within(at: &str, written: &Value, text: &Value) {
    match (written, text) {
        (Value::Object(written), Value::Object(text)) => {
            for (key, value) in written {
                match text.get(key) {
                    Some(text) => within(key, value, text),
                    None => assert!(is_default(key, value), "{key} is not in the text"),
                }
            }
        }
        (Value::Array(written), Value::Array(text)) if written.iter().all(Value::is_string) => {
            let texts = |items: &[Value]| -> BTreeSet<String> {
                items.iter().map(ToString::to_string).collect()
            };
            assert_eq!(texts(written), texts(text), "{at}");
        }
        (Value::Array(written), Value::Array(text)) => {
            assert_eq!(written.len(), text.len(), "{at}");
            for (written, text) in written.iter().zip(text) {
                within(at, written, text);
            }
        }
        _ => assert_eq!(written, text, "{at}"),
    }
}

/// Returns whether this is the default value of a grant's key.
fn is_default(key: &str, value: &Value) -> bool {
    match key {
        "threshold" => *value == 1,
        "images" | "channels" => *value == serde_json::json!(["*"]),
        _ => false,
    }
}
