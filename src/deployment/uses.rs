//! The images that a plan uses: found by the form of their ids, and by the attributes that hold them.

use std::collections::BTreeMap;

use serde_json::Value;

/// Attributes of Azure's resources that hold the id of an image.
const IMAGE_ATTRIBUTES: [&str; 2] = ["source_image_id", "image_id"];

/// Where artifacts of a folder's store are, below the store.
pub(super) const LOCAL: &str = "artifacts/sha256/";

/// An image at one place of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The resource's address.
    pub address: String,
    /// The attribute, with the way to it.
    pub attribute: String,
    /// What runs now, where anything does.
    pub before: Option<String>,
    /// What is planned; none where that is known only once it is applied.
    pub after: Option<String>,
}

/// What was read is no plan.
#[derive(Debug, thiserror::Error)]
#[error(
    "{what}: {why}; expected what `terraform show -json PLANFILE` prints: an object with `format_version`, and with \
     `planned_values` or `resource_changes`"
)]
pub struct PlanError {
    /// The file.
    pub what: String,
    /// What is wrong.
    pub why: String,
}

/// All images that the plan in `bytes` uses after it is applied. `what` is what messages call it.
pub fn uses(what: &str, bytes: &[u8]) -> Result<Vec<Use>, PlanError> {
    let wrong = |why: String| PlanError {
        what: what.to_owned(),
        why,
    };
    let plan: Value =
        serde_json::from_slice(bytes).map_err(|error| wrong(format!("not JSON: {error}")))?;
    if !plan.is_object() {
        return Err(wrong("not an object".to_owned()));
    }
    let version = plan["format_version"].as_str();
    let version = version.ok_or_else(|| wrong("no `format_version`".to_owned()))?;
    if !matches!(version.split('.').next(), Some("0" | "1")) {
        return Err(wrong(format!("`format_version` is {version:?}, not 1.x")));
    }
    let (planned, changes) = (plan.get("planned_values"), plan.get("resource_changes"));
    if planned.is_none() && changes.is_none() {
        let hint = match plan.get("values") {
            Some(_) => "a state, not a plan",
            None => "neither `planned_values` nor `resource_changes`",
        };
        return Err(wrong(hint.to_owned()));
    }
    let mut found = BTreeMap::new();
    if let Some(changes) = changes {
        let changes = changes.as_array();
        for change in changes.ok_or_else(|| wrong("`resource_changes` is no list".to_owned()))? {
            changed(change, &mut found).map_err(|why| wrong(format!("resource_changes: {why}")))?;
        }
    }
    if let Some(planned) = planned {
        let root = planned.get("root_module");
        if let Some(root) = root {
            module(root, &mut found).map_err(|why| wrong(format!("planned_values: {why}")))?;
        } else if !planned.is_object() {
            return Err(wrong("`planned_values` is no object".to_owned()));
        }
    }
    Ok(found.into_values().collect())
}

type Found = BTreeMap<(String, String), Use>;

fn address(resource: &Value) -> Result<&str, String> {
    let address = resource["address"].as_str();
    address.ok_or_else(|| "a resource without `address`".to_owned())
}

fn changed(resource: &Value, found: &mut Found) -> Result<(), String> {
    let address = address(resource)?;
    let kind = resource["type"].as_str().unwrap_or_default();
    let change = resource.get("change").filter(|change| change.is_object());
    let change = change.ok_or_else(|| format!("{address} has no `change`"))?;
    let before = ids(kind, &change["before"]);
    let mut note = |attribute: &String, after: Option<String>| {
        let key = (address.to_owned(), attribute.clone());
        found.entry(key).or_insert_with(|| Use {
            address: address.to_owned(),
            attribute: attribute.clone(),
            before: before.get(attribute).cloned(),
            after,
        });
    };
    for (attribute, id) in ids(kind, &change["after"]) {
        note(&attribute, Some(id));
    }
    let mut unknown = Vec::new();
    if is_azure(kind) {
        walk_unknown(&change["after_unknown"], &mut String::new(), &mut unknown);
        // The body of a request may hold an image anywhere.
        if change["after_unknown"]["body"] == true {
            unknown.push("body".to_owned());
        }
    }
    unknown.iter().for_each(|attribute| note(attribute, None));
    Ok(())
}

fn module(module: &Value, found: &mut Found) -> Result<(), String> {
    for resource in list(module, "resources")? {
        let address = address(resource)?;
        let kind = resource["type"].as_str().unwrap_or_default();
        for (attribute, id) in ids(kind, &resource["values"]) {
            let key = (address.to_owned(), attribute.clone());
            found.entry(key).or_insert_with(|| Use {
                address: address.to_owned(),
                attribute,
                before: None,
                after: Some(id),
            });
        }
    }
    for child in list(module, "child_modules")? {
        self::module(child, found)?;
    }
    Ok(())
}

/// A list that may be absent. One in another form is not passed over: what is in it would go unseen.
fn list<'a>(module: &'a Value, key: &str) -> Result<&'a [Value], String> {
    match &module[key] {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        _ => Err(format!("`{key}` is no list")),
    }
}

fn is_azure(kind: &str) -> bool {
    kind.starts_with("azurerm_") || kind.starts_with("azapi_")
}

/// Attributes that hold ids of images, and the ids.
fn ids(kind: &str, values: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(is_azure(kind), values, &mut String::new(), &mut found);
    found
}

fn walk(azure: bool, value: &Value, path: &mut String, found: &mut BTreeMap<String, String>) {
    match value {
        Value::String(text) => {
            let attribute = path.rsplit('.').next().unwrap_or_default();
            let named = azure && IMAGE_ATTRIBUTES.contains(&attribute) && !text.is_empty();
            // An image's own id is no use of it.
            if path != "id" && (named || is_image(text)) {
                found.insert(path.clone(), text.clone());
            } else if let Some(inner) = embedded(text) {
                walk(azure, &inner, path, found);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                deeper(path, &at.to_string(), |path| walk(azure, item, path, found));
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                deeper(path, key, |path| walk(azure, value, path, found));
            }
        }
        _ => {}
    }
}

fn walk_unknown(value: &Value, path: &mut String, found: &mut Vec<String>) {
    match value {
        Value::Bool(true) => {
            let attribute = path.rsplit('.').next().unwrap_or_default();
            if IMAGE_ATTRIBUTES.contains(&attribute) {
                found.push(path.clone());
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                deeper(path, &at.to_string(), |path| {
                    walk_unknown(item, path, found);
                });
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                deeper(path, key, |path| walk_unknown(value, path, found));
            }
        }
        _ => {}
    }
}

fn deeper(path: &mut String, key: &str, then: impl FnOnce(&mut String)) {
    let length = path.len();
    if length > 0 {
        path.push('.');
    }
    path.push_str(key);
    then(path);
    path.truncate(length);
}

/// Some resources take a request's body as JSON within a text.
fn embedded(text: &str) -> Option<Value> {
    let value = text.trim_start().starts_with('{');
    let value = value.then(|| serde_json::from_str::<Value>(text).ok())??;
    value.is_object().then_some(value)
}

fn is_image(text: &str) -> bool {
    text.contains(LOCAL) || class(text).is_some()
}

/// The class of an image, as far as the form of its id tells.
pub(super) fn class(id: &str) -> Option<&'static str> {
    let id = id.to_ascii_lowercase();
    if id.starts_with("/subscriptions/") {
        let (_, kind) = id.split_once("/providers/microsoft.compute/")?;
        let parts: Vec<&str> = kind.split('/').collect();
        return match parts[..] {
            ["images", _] => Some("azure-managed-image"),
            ["galleries", _, "images", _] | ["galleries", _, "images", _, "versions", _] => {
                Some("azure-gallery-version")
            }
            _ => None,
        };
    }
    id.contains(LOCAL).then_some("qcow2")
}

/// Whether an id names a gallery's image without a version, or whatever is newest: what it is changes by itself.
pub(super) fn moves(id: &str) -> bool {
    let id = id.to_ascii_lowercase();
    class(&id) == Some("azure-gallery-version")
        && (!id.contains("/versions/") || id.ends_with("/versions/latest"))
}

/// What an id is looked up by: Azure does not care for case, and a local path begins where the store happens to be.
pub(super) fn key(id: &str) -> String {
    match id.rfind(LOCAL) {
        Some(at) => id[at..].to_owned(),
        None if id.starts_with('/') => id.to_ascii_lowercase(),
        None => id.to_owned(),
    }
}
