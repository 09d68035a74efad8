//! Derives the JSON Schema of `cluster.toml` from the types that serde reads.
//! It covers keys, types and ranges; `check` also compares values with each other.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw::RawCluster;

/// Returns the JSON Schema of the file.
pub(super) fn json_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<RawCluster>().to_value();
    remove_null(&mut schema);
    schema
}

/// Removes null from the allowed values of optional keys: TOML has no null.
fn remove_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("default").is_some_and(Value::is_null) {
                fields.remove("default");
            }
            if let Some(Value::Array(kinds)) = fields.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [kind] = kinds.as_slice() {
                    let kind = kind.clone();
                    fields.insert("type".to_owned(), kind);
                }
            }
            if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
                choices.retain(|choice| choice["type"] != "null");
                if let [Value::Object(choice)] = choices.as_slice() {
                    let choice = choice.clone();
                    fields.remove("anyOf");
                    fields.extend(choice);
                }
            }
            fields.values_mut().for_each(remove_null);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_null),
        _ => {}
    }
}
