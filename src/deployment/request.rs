//! Requests to Azure's resource manager within a plan: bodies of `azapi` resources, and ARM templates.
//!
//! Both are trees in the words of Azure's interface, whose keys have no case. In a template values may be expressions:
//! `parameters('x')` and `variables('x')` are looked up, whatever else Azure alone can tell.

use serde_json::Value;

use super::find::{child, deeper, keys, marketplace, text};
use super::uses::{Planned, embedded, is_image};

/// Keys that have the id of an image.
const IDS: [&str; 9] = [
    "imageid",
    "sourceimageid",
    "customimageid",
    "galleryimageid",
    "imagereferenceid",
    "galleryimagereferenceid",
    "managedimageid",
    "imageuri",
    "imageversionid",
];

/// Keys that have an object which names an image.
const REFERENCES: [&str; 5] = [
    "imagereference",
    "galleryimagereference",
    "sourceimagereference",
    "storageimagereference",
    "images",
];

/// Keys of such an object that have an id.
const REFERENCE_IDS: [&str; 5] = [
    "id",
    "resourceid",
    "communitygalleryimageid",
    "sharedgalleryimageid",
    "virtualmachineimageid",
];

/// Keys of such an object that name an image of a marketplace, or of the service.
const REFERENCE_NAMES: [&str; 5] = ["publisher", "offer", "sku", "version", "wellknownimagename"];

/// Keys below which an image may stand: not known as a whole, they hide it.
const HIDING: [&str; 24] = [
    "properties",
    "storageprofile",
    "virtualmachineprofile",
    "basevirtualmachineprofile",
    "creationdata",
    "osdisk",
    "source",
    "template",
    "templatelink",
    "parameters",
    "variables",
    "resources",
    "value",
    "deploymentconfiguration",
    "virtualmachineconfiguration",
    "fabricprofile",
    "agentpoolprofiles",
    "nodetypes",
    "vmprofile",
    "vmtemplate",
    "image",
    "sourceresourceid",
    "sourceuri",
    "snapshotid",
];

/// Services without machines. What a resource of another type may hold is not known.
const WITHOUT_IMAGES: [&str; 10] = [
    "microsoft.network",
    "microsoft.storage",
    "microsoft.keyvault",
    "microsoft.authorization",
    "microsoft.insights",
    "microsoft.operationalinsights",
    "microsoft.managedidentity",
    "microsoft.eventgrid",
    "microsoft.eventhub",
    "microsoft.servicebus",
];

/// Expressions that name one another are followed so far.
const DEEPEST: usize = 8;

/// Whether a request of this type, as in `Microsoft.Compute/virtualMachines@2025-04-01`, may name an image.
pub(super) fn may_name_images(kind: Option<&str>) -> bool {
    let service = kind.and_then(|kind| kind.split('/').next());
    let service = service.map(str::to_ascii_lowercase);
    service.is_none_or(|service| !WITHOUT_IMAGES.contains(&service.as_str()))
}

/// Whether parameters that are not known may say which image a template deploys.
pub(super) fn parameters_matter(template: Option<&str>) -> bool {
    let Some(text) = template else {
        return true;
    };
    let Ok(template) = serde_json::from_str::<Value>(text) else {
        return true;
    };
    let lower = text.to_ascii_lowercase();
    let words = [
        "image",
        "microsoft.compute/",
        "microsoft.resources/deployments",
    ];
    let asks = get(&template, "parameters").as_object();
    asks.is_some_and(|asks| !asks.is_empty()) && words.iter().any(|word| lower.contains(word))
}

/// A request, with what its expressions may name.
pub(super) struct Request<'a> {
    tree: Option<Value>,
    unknown: &'a Value,
    parameters: Value,
    /// Whether its texts may be expressions.
    is_template: bool,
    /// Whether a machine with a disk and without an image is worth a word.
    starts_machine: bool,
}

impl<'a> Request<'a> {
    /// The body of a request about a resource of the type `kind`: an object, or one as text.
    pub(super) fn of_body(kind: &str, body: &Value, unknown: &'a Value) -> Self {
        let kind = kind.to_ascii_lowercase();
        Self {
            tree: match body {
                Value::String(text) if text.trim().is_empty() => Some(Value::Null),
                Value::String(text) => serde_json::from_str(text).ok(),
                body => Some(body.clone()),
            },
            unknown,
            parameters: Value::Null,
            is_template: kind.starts_with("microsoft.resources/deployments"),
            starts_machine: kind.starts_with("microsoft.compute/virtualmachines@")
                || kind.starts_with("microsoft.compute/virtualmachinescalesets@"),
        }
    }

    /// A template, with its parameters where those are known.
    pub(super) fn of_template(template: &str, parameters: Option<&str>) -> Self {
        let parameters = parameters.and_then(|text| serde_json::from_str(text).ok());
        Self {
            tree: serde_json::from_str(template).ok(),
            unknown: &Value::Null,
            parameters: parameters.unwrap_or_default(),
            is_template: true,
            starts_machine: false,
        }
    }

    /// Gives every image of it to `found`, with its path below `path`.
    pub(super) fn find(&self, path: &str, mut found: impl FnMut(String, Planned)) {
        let Some(tree) = &self.tree else {
            let why = "a request that is no JSON, so no image in it can be found";
            return found(path.to_owned(), Planned::Unseen(why.to_owned()));
        };
        let mut any = false;
        let mut note = |path: &str, planned: Planned| {
            any = true;
            found(path.to_owned(), planned);
        };
        let mut here = path.to_owned();
        self.walk("", (tree, self.unknown), &mut here, &mut note);
        let disk = get(get(tree, "properties"), "storageprofile");
        let profile = get(get(tree, "properties"), "virtualmachineprofile");
        let disk = disk.is_object() || get(profile, "storageprofile").is_object();
        if self.starts_machine && disk && !any {
            let why = "no image is named, so what it starts is not in the plan";
            found(path.to_owned(), Planned::Unseen(why.to_owned()));
        }
    }

    fn walk(
        &self,
        key: &str,
        (value, unknown): (&Value, &Value),
        path: &mut String,
        found: &mut dyn FnMut(&str, Planned),
    ) {
        let names = |list: &[&str]| list.iter().any(|one| key.eq_ignore_ascii_case(one));
        if *unknown == Value::Bool(true) {
            if key.is_empty() || names(&IDS) || names(&REFERENCES) || names(&HIDING) {
                found(path, Planned::Unknown);
            }
            return;
        }
        if names(&IDS) && text(value).is_some() {
            return self.id(value, path, found);
        }
        let one_reference = value.is_object() || value.is_string() || unknown.is_object();
        if names(&REFERENCES) && one_reference {
            return self.reference((value, unknown), path, found);
        }
        if key.eq_ignore_ascii_case("templateLink") && value.is_object() {
            let why = "a linked template, which is not in the plan";
            return found(path, Planned::Unseen(why.to_owned()));
        }
        if let Some(inner) = value.as_str().and_then(embedded) {
            return self.walk(key, (&inner, &Value::Null), path, found);
        }
        let items = value.is_array() || unknown.is_array();
        for name in keys(value, unknown) {
            let inner = (child(value, &name), child(unknown, &name));
            // What is in a list is what the list is called.
            let key = if items { key } else { &name };
            deeper(path, &name, |path| self.walk(key, inner, path, found));
        }
    }

    fn id(&self, value: &Value, path: &str, found: &mut dyn FnMut(&str, Planned)) {
        match self.resolved(value, DEEPEST) {
            Some(Value::String(id)) if !id.is_empty() => found(path, Planned::Id(id)),
            Some(Value::String(_)) => {}
            _ => found(path, Planned::Unknown),
        }
    }

    fn reference(
        &self,
        (value, unknown): (&Value, &Value),
        path: &str,
        found: &mut dyn FnMut(&str, Planned),
    ) {
        let value = match self.resolved(value, DEEPEST) {
            // In the words of some services the id itself.
            Some(Value::String(id)) if is_image(&id) => return found(path, Planned::Id(id)),
            Some(value @ (Value::Object(_) | Value::Null)) => value,
            _ => return found(path, Planned::Unknown),
        };
        for key in REFERENCE_IDS {
            let path = format!("{path}.{key}");
            if *get(unknown, key) == Value::Bool(true) {
                return found(&path, Planned::Unknown);
            }
            if text(get(&value, key)).is_some() {
                return self.id(get(&value, key), &path, found);
            }
        }
        if REFERENCE_NAMES
            .iter()
            .any(|key| *get(unknown, key) == Value::Bool(true))
        {
            return found(path, Planned::Unknown);
        }
        let names = REFERENCE_NAMES
            .iter()
            .filter_map(|key| text(get(&value, key)));
        let names: Vec<&str> = names.collect();
        if !names.is_empty() {
            found(path, Planned::Unseen(marketplace(&names.join(":"))));
        }
    }

    /// The value that an expression stands for; none where Azure alone can tell.
    fn resolved(&self, value: &Value, deepest: usize) -> Option<Value> {
        let expression = value.as_str().and_then(|text| text.strip_prefix('['));
        let expression = expression.filter(|text| self.is_template && !text.starts_with('['));
        let Some(expression) = expression else {
            return Some(value.clone());
        };
        let expression = expression.trim_end().strip_suffix(']')?.trim();
        let tree = self.tree.as_ref()?;
        // The body of a deployment has its template one level down.
        let template = match get(get(tree, "properties"), "template") {
            Value::Null => tree,
            template => template,
        };
        let found = if let Some(name) = argument(expression, "parameters") {
            let given = [&self.parameters, get(get(tree, "properties"), "parameters")];
            let given = given.map(|given| get(parameters_of(given), name));
            let given = given.into_iter().map(|one| get(one, "value"));
            let default = get(get(get(template, "parameters"), name), "defaultValue");
            let mut all = given.chain([default]);
            all.find(|value| !value.is_null())?
        } else {
            get(
                get(template, "variables"),
                argument(expression, "variables")?,
            )
        };
        match (found, deepest) {
            (Value::Null, _) | (_, 0) => None,
            (found, _) => self.resolved(found, deepest - 1),
        }
    }
}

/// A parameter file has them one level down.
fn parameters_of(value: &Value) -> &Value {
    match get(value, "parameters") {
        inner @ Value::Object(entries) if !entries.contains_key("value") => inner,
        _ => value,
    }
}

/// `x` of `function('x')`.
fn argument<'a>(expression: &'a str, function: &str) -> Option<&'a str> {
    let rest = expression.strip_prefix(function)?.trim_start();
    let inner = rest.strip_prefix('(')?.strip_suffix(')')?.trim();
    let name = inner.strip_prefix('\'')?.strip_suffix('\'')?;
    (!name.contains('\'')).then_some(name)
}

/// The value of a key, whatever its case.
fn get<'a>(value: &'a Value, key: &str) -> &'a Value {
    let entries = value.as_object().into_iter().flatten();
    let mut entries = entries.filter(|(name, _)| name.eq_ignore_ascii_case(key));
    entries.next().map_or(&Value::Null, |(_, value)| value)
}
