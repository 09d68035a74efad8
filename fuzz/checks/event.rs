//! What holds for every event that is read: the payload of an entry of the log.

use std::collections::BTreeSet;

use serde_json::Value;
use vault_bake::canonical;
use vault_bake::digest::{Digest, canonical_json};
use vault_bake::sign::{Envelope, Signature};
use vault_bake::store::event::PAYLOAD_TYPE;
use vault_bake::store::proof::Logged;

/// Whether `data` is an event. Fails where one is read that says more or less than its text.
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
    assert_eq!(logged.digest(), Digest::of(logged.envelope.to_bytes()));
    let Some(body) = &logged.body else {
        assert_ne!(
            value["critical"], true,
            "passed over although it is critical"
        );
        return true;
    };
    // What a newer version added is not known here, so the body may say less than its text, but nothing else.
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

/// `data` as an entry, signed by nobody in particular.
fn read(data: &[u8]) -> Result<Logged, String> {
    let signature = Signature {
        key: Digest::of("nobody").to_string().parse().expect("an id"),
        bytes: vec![0; 64],
    };
    let envelope = Envelope {
        payload_type: PAYLOAD_TYPE.to_owned(),
        payload: data.to_vec(),
        signatures: vec![signature],
    };
    Logged::read(envelope).map_err(|error| error.to_string())
}

/// Fails where `written` holds what `text` does not. Defaults may be left out of the text, and sets may be out of order.
fn within(at: &str, written: &Value, text: &Value) {
    match (written, text) {
        (Value::Object(written), Value::Object(text)) => {
            for (key, value) in written {
                match text.get(key) {
                    Some(text) => within(key, value, text),
                    None => assert!(is_default(key, value), "{key} came from nowhere"),
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

/// What a grant of a policy has where its text says nothing.
fn is_default(key: &str, value: &Value) -> bool {
    match key {
        "threshold" => *value == 1,
        "images" | "channels" => *value == serde_json::json!(["*"]),
        _ => false,
    }
}
