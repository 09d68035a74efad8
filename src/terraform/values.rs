//! Reads parts of JSON values that may be absent.

use serde_json::Value;

/// Parses the JSON object in a text: some resources have a request body in this form.
pub(super) fn embedded(text: &str) -> Option<Value> {
    let value = text.trim_start().starts_with('{');
    let value = value.then(|| serde_json::from_str::<Value>(text).ok())??;
    value.is_object().then_some(value)
}

/// Returns the text, unless it is empty.
pub(super) fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// Returns the keys or indexes of both values, each once.
pub(super) fn keys(after: &Value, unknown: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    for value in [after, unknown] {
        match value {
            Value::Object(entries) => keys.extend(entries.keys().cloned()),
            Value::Array(items) => keys.extend((0..items.len()).map(|at| at.to_string())),
            _ => {}
        }
    }
    keys.sort();
    keys.dedup();
    keys
}

pub(super) fn child<'a>(value: &'a Value, key: &str) -> &'a Value {
    let found = match value {
        Value::Array(items) => key.parse::<usize>().ok().and_then(|at| items.get(at)),
        value => value.get(key),
    };
    found.unwrap_or(&Value::Null)
}

/// Returns an item of a list. A block that is not a list counts as its only item.
pub(super) fn item(value: &Value, at: usize) -> &Value {
    match value {
        Value::Array(items) => items.get(at).unwrap_or(&Value::Null),
        value if at == 0 => value,
        _ => &Value::Null,
    }
}

pub(super) fn with_key(path: &mut String, key: &str, then: impl FnOnce(&mut String)) {
    let length = path.len();
    if length > 0 {
        path.push('.');
    }
    path.push_str(key);
    then(path);
    path.truncate(length);
}
