//! Collects the images that a plan uses.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::find::{Found, find};
use super::image::PlannedImage;
use super::plan_file::{self, PlanDefect, PlanFileError};

/// An image in one field of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// The address of the resource.
    pub address: String,
    /// The path of the attribute.
    pub attribute: String,
    /// The id of the running image, if there is one.
    pub before: Option<String>,
    /// The planned image.
    pub after: PlannedImage,
}

/// All images that a plan uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The images, by address and attribute.
    pub uses: Vec<ImageUse>,
    /// What the plan does not show, in words.
    pub notes: Vec<String>,
}

impl Plan {
    /// Reads the output of `terraform show -json`: all images in use after the plan is applied.
    /// `what` is for messages.
    pub fn read(what: &str, bytes: &[u8]) -> Result<Self, PlanFileError> {
        let plan = plan_file::read(bytes).map_err(|defect| defect.of_input(what))?;
        let uses = Reader::default().read(&plan);
        uses.map_err(|why| PlanDefect::from(why).of_input(what))
    }
}

#[derive(Default)]
struct Reader {
    uses: BTreeMap<(String, String), ImageUse>,
    notes: Vec<String>,
    /// The addresses of resources in `resource_changes`.
    changed: BTreeSet<String>,
}

impl Reader {
    fn read(mut self, plan: &Value) -> Result<Plan, String> {
        for change in list(plan, "resource_changes")? {
            let named = |why: String| format!("resource_changes: {why}");
            self.add_change(change).map_err(named)?;
        }
        for deferred in list(plan, "deferred_changes")? {
            let named = |why: String| format!("deferred_changes: {why}");
            let change = deferred.get("resource_change");
            let change =
                change.ok_or_else(|| named("an item without `resource_change`".to_owned()))?;
            self.add_change(change).map_err(named)?;
        }
        match &plan["planned_values"] {
            Value::Null => {}
            planned @ Value::Object(_) => {
                let named = |why: String| format!("planned_values: {why}");
                self.add_module(&planned["root_module"]).map_err(named)?;
            }
            _ => return Err("`planned_values` is not an object".to_owned()),
        }
        if plan["complete"] == false {
            self.notes.push(
                "the plan is not complete: check the next plan for the remaining changes"
                    .to_owned(),
            );
        }
        Ok(Plan {
            uses: self.uses.into_values().collect(),
            notes: self.notes,
        })
    }

    fn add_change(&mut self, resource: &Value) -> Result<(), String> {
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
        self.add_uses(address, after, &before.images);
        Ok(())
    }

    fn add_module(&mut self, module: &Value) -> Result<(), String> {
        for resource in list(module, "resources")? {
            let address = address(resource)?;
            if self.changed.contains(address) || is_data(resource) {
                continue;
            }
            let found = find(kind(resource, address), &resource["values"], &Value::Null);
            self.add_uses(address, found, &BTreeMap::new());
        }
        for child in list(module, "child_modules")? {
            self.add_module(child)?;
        }
        Ok(())
    }

    fn add_uses(&mut self, address: &str, found: Found, before: &BTreeMap<String, PlannedImage>) {
        for (attribute, after) in found.images {
            let key = (address.to_owned(), attribute.clone());
            let before = match before.get(&attribute) {
                Some(PlannedImage::Id(id)) => Some(id.clone()),
                _ => None,
            };
            self.uses.entry(key).or_insert_with(|| ImageUse {
                address: address.to_owned(),
                attribute,
                before,
                after,
            });
        }
        for (attribute, source) in found.sources {
            self.notes.push(format!(
                "the content of {source}, which {address} is created from ({attribute})"
            ));
        }
    }
}

fn address(resource: &Value) -> Result<&str, String> {
    let address = resource["address"].as_str();
    address.ok_or_else(|| "a resource without `address`".to_owned())
}

/// Returns the type of a resource, which its address also contains:
/// `module.a["x"].TYPE.NAME["key"]`.
fn kind<'a>(resource: &'a Value, address: &'a str) -> &'a str {
    if let Some(kind) = resource["type"].as_str() {
        return kind;
    }
    let known = |part: &&str| super::catalog_fields::is_known(part);
    address.split('.').find(known).unwrap_or_default()
}

/// Whether it is a data source. The resources that use it are checked instead.
fn is_data(resource: &Value) -> bool {
    resource["mode"] == "data"
}

/// Returns a list that may be absent. Any other form is an error, since its content would be
/// missed.
fn list<'a>(module: &'a Value, key: &str) -> Result<&'a [Value], String> {
    match &module[key] {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        _ => Err(format!("`{key}` is not a list")),
    }
}
