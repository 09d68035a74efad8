//! The images that a plan uses.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::find::{Found, find};
use super::plan_file::{self, PlanFileError};

/// Where artifacts of a folder's store are, below the store.
pub(super) const LOCAL: &str = "artifacts/sha256/";

/// What a plan says of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// The id of an image.
    Id(String),
    /// Known only once the plan is applied.
    Unknown,
    /// An image that has no id in the plan: why, in words.
    Unseen(String),
}

/// An image at one place of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The resource's address.
    pub address: String,
    /// The attribute, with the way to it.
    pub attribute: String,
    /// What runs now, where anything does.
    pub before: Option<String>,
    /// What is planned.
    pub after: Planned,
}

/// All images that a plan uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The images, by address and attribute.
    pub uses: Vec<Use>,
    /// What cannot be told from the plan, in words.
    pub notes: Vec<String>,
}

impl Plan {
    /// Reads what `terraform show -json` printed: all images that are used after the plan is applied. `what` is what
    /// messages call it.
    pub fn read(what: &str, bytes: &[u8]) -> Result<Self, PlanFileError> {
        let wrong = |why: String| PlanFileError {
            what: what.to_owned(),
            why,
        };
        let plan = plan_file::read(bytes).map_err(wrong)?;
        Reader::default().read(&plan).map_err(wrong)
    }
}

#[derive(Default)]
struct Reader {
    uses: BTreeMap<(String, String), Use>,
    notes: Vec<String>,
    /// Resources that a change is about.
    changed: BTreeSet<String>,
}

impl Reader {
    fn read(mut self, plan: &Value) -> Result<Plan, String> {
        for change in list(plan, "resource_changes")? {
            let named = |why: String| format!("resource_changes: {why}");
            self.change(change).map_err(named)?;
        }
        for deferred in list(plan, "deferred_changes")? {
            let named = |why: String| format!("deferred_changes: {why}");
            let change = deferred.get("resource_change");
            let change = change.ok_or_else(|| named("one without `resource_change`".to_owned()))?;
            self.change(change).map_err(named)?;
        }
        match &plan["planned_values"] {
            Value::Null => {}
            planned @ Value::Object(_) => {
                let named = |why: String| format!("planned_values: {why}");
                self.module(&planned["root_module"]).map_err(named)?;
            }
            _ => return Err("`planned_values` is no object".to_owned()),
        }
        if plan["complete"] == false {
            self.notes.push(
                "changes that Terraform leaves to another plan, as this one is not complete: check that one as well".to_owned(),
            );
        }
        Ok(Plan {
            uses: self.uses.into_values().collect(),
            notes: self.notes,
        })
    }

    fn change(&mut self, resource: &Value) -> Result<(), String> {
        let address = address(resource)?;
        let change = resource.get("change").filter(|change| change.is_object());
        let change = change.ok_or_else(|| format!("{address} has no `change`"))?;
        self.changed.insert(address.to_owned());
        if is_data(resource) {
            return Ok(());
        }
        let kind = kind(resource, address);
        let before = find(kind, &change["before"], &Value::Null);
        let after = find(kind, &change["after"], &change["after_unknown"]);
        self.note(address, after, &before.images);
        Ok(())
    }

    fn module(&mut self, module: &Value) -> Result<(), String> {
        for resource in list(module, "resources")? {
            let address = address(resource)?;
            if self.changed.contains(address) || is_data(resource) {
                continue;
            }
            let found = find(kind(resource, address), &resource["values"], &Value::Null);
            self.note(address, found, &BTreeMap::new());
        }
        for child in list(module, "child_modules")? {
            self.module(child)?;
        }
        Ok(())
    }

    fn note(&mut self, address: &str, found: Found, before: &BTreeMap<String, Planned>) {
        for (attribute, after) in found.images {
            let key = (address.to_owned(), attribute.clone());
            let before = match before.get(&attribute) {
                Some(Planned::Id(id)) => Some(id.clone()),
                _ => None,
            };
            self.uses.entry(key).or_insert_with(|| Use {
                address: address.to_owned(),
                attribute,
                before,
                after,
            });
        }
        for (attribute, source) in found.sources {
            self.notes.push(format!(
                "what is on {source}, which {address} is made from ({attribute})"
            ));
        }
    }
}

fn address(resource: &Value) -> Result<&str, String> {
    let address = resource["address"].as_str();
    address.ok_or_else(|| "a resource without `address`".to_owned())
}

/// The type of a resource. Its address says it as well: `module.a["x"].TYPE.NAME["key"]`.
fn kind<'a>(resource: &'a Value, address: &'a str) -> &'a str {
    if let Some(kind) = resource["type"].as_str() {
        return kind;
    }
    let known = |part: &&str| super::catalog_fields::is_known(part);
    address.split('.').find(known).unwrap_or_default()
}

/// Whether it is only read: what it reads is used by others, if at all.
fn is_data(resource: &Value) -> bool {
    resource["mode"] == "data"
}

/// A list that may be absent. One in another form is not passed over: what is in it would go unseen.
fn list<'a>(module: &'a Value, key: &str) -> Result<&'a [Value], String> {
    match &module[key] {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        _ => Err(format!("`{key}` is no list")),
    }
}

/// Some resources take a request's body as JSON within a text.
pub(super) fn embedded(text: &str) -> Option<Value> {
    let value = text.trim_start().starts_with('{');
    let value = value.then(|| serde_json::from_str::<Value>(text).ok())??;
    value.is_object().then_some(value)
}

pub(super) fn is_image(text: &str) -> bool {
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
