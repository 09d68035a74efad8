//! Checks bodies of requests and answers against Microsoft's schemas, if they are available.
//!
//! The schemas are not part of the project: `../shared/azure-schemas`, or `VAULT_BAKE_AZURE_SCHEMAS`.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

/// The side of a body: request or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Request,
    Response,
}

struct Schemas {
    /// The documents by side.
    documents: Vec<(Side, Value)>,
    made: HashMap<(Side, String), Option<Arc<Validator>>>,
}

static SCHEMAS: LazyLock<Option<Mutex<Schemas>>> = LazyLock::new(load);

fn folder() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "where a test finds its material")]
    let named = std::env::var_os("VAULT_BAKE_AZURE_SCHEMAS");
    named.map_or_else(
        || crate::root().join("../shared/azure-schemas"),
        PathBuf::from,
    )
}

fn load() -> Option<Mutex<Schemas>> {
    let folder = folder();
    let Ok(entries) = fs::read_dir(&folder) else {
        #[expect(clippy::print_stderr, reason = "a skipped check prints its reason")]
        let () = eprintln!(
            "SKIPPED: bodies are not checked against Microsoft's schemas, {} is missing",
            folder.display()
        );
        return None;
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let documents = paths
        .into_iter()
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            let side = match name {
                name if name.ends_with(".request.schema.json") => Side::Request,
                name if name.ends_with(".response.schema.json") => Side::Response,
                _ => return None,
            };
            let text = fs::read_to_string(&path).ok()?;
            Some((side, serde_json::from_str(&text).ok()?))
        })
        .collect();
    Some(Mutex::new(Schemas {
        documents,
        made: HashMap::new(),
    }))
}

/// Returns whether the schemas are available.
pub fn present() -> bool {
    SCHEMAS.is_some()
}

/// Returns the first defect of a body, or `None` if it is valid or has no schema.
///
/// `fallback` is the type in the Python SDK, which covers the newest versions and PATCH.
pub fn wrong(
    side: Side,
    kind: &str,
    version: &str,
    fallback: &str,
    body: &Value,
) -> Option<String> {
    let schemas = SCHEMAS.as_ref()?;
    let validator = {
        let mut schemas = schemas.lock().expect("the schemas");
        let key = (side, format!("{kind}@{version}/{fallback}"));
        if !schemas.made.contains_key(&key) {
            let found = schemas.find(side, kind, version, fallback);
            let made = found.map(|schema| {
                Arc::new(jsonschema::draft202012::new(&schema).expect("a schema of Microsoft's"))
            });
            schemas.made.insert(key.clone(), made);
        }
        schemas.made.get(&key).cloned().flatten()?
    };
    let wrong: Vec<String> = validator
        .iter_errors(body)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

impl Schemas {
    fn find(&self, side: Side, kind: &str, version: &str, fallback: &str) -> Option<Value> {
        let exact = format!("{kind}@{version}");
        let resource = |name: &str| {
            self.documents
                .iter()
                .filter(|(of, _)| *of == side)
                .find_map(|(_, document)| Some((document, document["resources"].get(name)?)))
        };
        let by_type = || {
            self.documents
                .iter()
                .filter(|(of, _)| *of == side)
                .find_map(|(_, document)| Some((document, document["types"].get(fallback)?)))
        };
        // An answer in a version without a schema is checked against the newest one.
        let newest = || {
            let prefix = format!("{kind}@");
            self.documents
                .iter()
                .filter(|(of, _)| *of == side)
                .flat_map(|(_, document)| {
                    let all = document["resources"].as_object().into_iter().flatten();
                    all.map(move |(name, schema)| (document, name, schema))
                })
                .filter(|(_, name, _)| name.starts_with(&prefix))
                .max_by_key(|(_, name, _)| (*name).clone())
                .map(|(document, _, schema)| (document, schema))
        };
        let (document, schema) = resource(&exact).or_else(by_type).or_else(newest)?;
        let mut schema = schema.clone();
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["$defs"] = document["$defs"].clone();
        Some(schema)
    }
}
