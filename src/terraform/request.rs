//! Finds images in requests to Azure Resource Manager: bodies of `azapi` resources, and ARM
//! templates.
//! Expressions in templates are evaluated if they can contain an image. Other results are unknown.

mod scope;
mod words;

use serde_json::Value;

use super::image::{PlannedImage, is_image, marketplace};
use super::values::{child, embedded, keys, text};
use scope::{MAX_DEPTH, Scope, get};
use words::{REFERENCE_IDS, REFERENCE_NAMES, SECTIONS, ValueRole};

pub(super) use scope::overlay;
pub(super) use words::may_name_images;

/// The largest number of expressions that are followed in one request. The rest is unknown.
const MAX_EXPRESSIONS: usize = 5000;

/// Whether unknown parameters can affect which image a template deploys.
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
    let declared = get(&template, "parameters").as_object();
    declared.is_some_and(|declared| !declared.is_empty())
        && words.iter().any(|word| lower.contains(word))
}

/// A finding in a request.
pub(super) enum Named {
    /// An image.
    Image(PlannedImage),
    /// A disk, snapshot or machine that something is created from.
    Source(String),
}

/// A request, with the scope of its expressions.
pub(super) struct Request<'a> {
    tree: Option<Value>,
    unknown: &'a Value,
    kind: Option<String>,
    scope: Scope,
    is_template: bool,
}

impl<'a> Request<'a> {
    /// Returns the body of a request about a resource of the type `kind`, given as an object or as
    /// text.
    pub(super) fn from_body(kind: &str, body: &Value, unknown: &'a Value) -> Self {
        let (kind, _) = kind.split_once('@').unwrap_or((kind, ""));
        Self {
            tree: match body {
                Value::String(text) if text.trim().is_empty() => Some(Value::Null),
                Value::String(text) => serde_json::from_str(text).ok(),
                body => Some(body.clone()),
            },
            unknown,
            kind: Some(kind.to_ascii_lowercase()).filter(|kind| !kind.is_empty()),
            scope: Scope::default(),
            is_template: false,
        }
    }

    /// Returns a template with its known parameters.
    pub(super) fn from_template(template: &str, parameters: &Value) -> Self {
        let tree = serde_json::from_str(template).ok();
        Self {
            scope: Scope::of_template(tree.as_ref().unwrap_or(&Value::Null), parameters),
            tree,
            unknown: &Value::Null,
            kind: None,
            is_template: true,
        }
    }

    /// Returns all images and sources in it, with their paths below `path`.
    pub(super) fn find(&self, path: &str) -> Vec<(String, Named)> {
        let Some(tree) = &self.tree else {
            let why = "the request is not JSON, so its images cannot be found";
            let unseen = Named::Image(PlannedImage::NoId(why.to_owned()));
            return vec![(path.to_owned(), unseen)];
        };
        let mut walk = Walk {
            path: path.to_owned(),
            found: Vec::new(),
            left: MAX_EXPRESSIONS,
        };
        let root = At {
            key: "",
            value: tree,
            unknown: self.unknown,
            scope: &self.scope,
            expanded: 0,
            is_template: self.is_template,
        };
        walk.search_resource(self.kind.clone(), root);
        walk.found
    }
}

/// A value in a request.
#[derive(Clone, Copy)]
struct At<'a> {
    /// The key of the value. Items of a list have the key of the list.
    key: &'a str,
    value: &'a Value,
    unknown: &'a Value,
    scope: &'a Scope,
    /// The number of nested expressions on the way to this value.
    expanded: usize,
    is_template: bool,
}

/// The state of the search in one resource.
struct Resource {
    kind: Option<String>,
    may_name_images: bool,
    names_image: bool,
    has_disk: bool,
    disks: Vec<(String, PlannedImage)>,
}

struct Walk {
    path: String,
    found: Vec<(String, Named)>,
    left: usize,
}

impl Walk {
    /// Searches a resource.
    fn search_resource(&mut self, kind: Option<String>, at: At<'_>) {
        let mut resource = Resource {
            may_name_images: may_name_images(kind.as_deref()),
            kind,
            names_image: false,
            has_disk: false,
            disks: Vec::new(),
        };
        self.search_children(at, &mut resource);
        if resource.names_image {
            return;
        }
        let starts_machine = matches!(
            resource.kind.as_deref(),
            Some("microsoft.compute/virtualmachines" | "microsoft.compute/virtualmachinescalesets")
        );
        if starts_machine && resource.has_disk && resource.disks.is_empty() {
            let why = "the plan names no image for it";
            return self.add(PlannedImage::NoId(why.to_owned()), &mut resource);
        }
        // If one of the disks is known, the unknown ones are computed and do not count.
        let disks = std::mem::take(&mut resource.disks);
        let known = disks.iter().any(|(_, disk)| *disk != PlannedImage::Unknown);
        let counts = disks.into_iter();
        let counts = counts.filter(|(_, disk)| !known || *disk != PlannedImage::Unknown);
        (self.found).extend(counts.map(|(path, disk)| (path, Named::Image(disk))));
    }

    fn add(&mut self, planned: PlannedImage, resource: &mut Resource) {
        resource.names_image = true;
        self.found.push((self.path.clone(), Named::Image(planned)));
    }

    fn walk(&mut self, at: At<'_>, resource: &mut Resource) {
        if *at.unknown == Value::Bool(true) {
            return self.add_unknown(at.key, false, resource);
        }
        if !at.scope.is_expression(at.value) {
            return self.search_value(at, resource);
        }
        let follows = at.expanded < MAX_DEPTH && self.left > 0;
        self.left = self.left.saturating_sub(1);
        let value = follows.then(|| at.scope.resolved(at.value)).flatten();
        match &value {
            Some(value) => {
                let expanded = at.expanded + 1;
                let at = At {
                    value,
                    expanded,
                    ..at
                };
                self.search_value(at, resource);
            }
            None => self.add_unknown(at.key, true, resource),
        }
    }

    /// Adds a value that is unknown to Terraform, or an expression that cannot be evaluated.
    fn add_unknown(&mut self, key: &str, is_expression: bool, resource: &mut Resource) {
        let role = words::role(&self.path).filter(|_| resource.may_name_images);
        if role == Some(ValueRole::Disk) {
            return resource
                .disks
                .push((self.path.clone(), PlannedImage::Unknown));
        }
        let hides = words::hides(key) && (!is_expression || resource.may_name_images);
        let whole = !is_expression && (key.is_empty() || words::names_values(key));
        if role.is_some() || hides || whole || words::is_id(key) || words::is_reference(key) {
            self.add(PlannedImage::Unknown, resource);
        }
    }

    fn search_value(&mut self, at: At<'_>, resource: &mut Resource) {
        if let Some(text) = text(at.value) {
            let role = words::role(&self.path).filter(|_| resource.may_name_images);
            if let Some(role) = role {
                return self.add_value(role, text, resource);
            }
            if words::is_id(at.key) {
                return self.add(PlannedImage::Id(text.to_owned()), resource);
            }
        }
        let one = at.value.is_object() || at.value.is_string() || at.unknown.is_object();
        if words::is_reference(at.key) && one {
            return self.add_reference(at, resource);
        }
        if at.key.eq_ignore_ascii_case("templateLink") && at.value.is_object() {
            let why = "a linked template is not in the plan";
            return self.add(PlannedImage::NoId(why.to_owned()), resource);
        }
        if let Some(value) = &at.value.as_str().and_then(embedded) {
            let unknown = &Value::Null;
            let at = At {
                value,
                unknown,
                ..at
            };
            return self.search_value(at, resource);
        }
        let is_storage = at.key.eq_ignore_ascii_case("storageProfile");
        resource.has_disk |= is_storage && at.value.is_object();
        match kind(&at, resource) {
            Some(kind) => self.search_resource(kind, at),
            None => self.search_children(at, resource),
        }
    }

    /// Searches the children of a value.
    fn search_children(&mut self, at: At<'_>, resource: &mut Resource) {
        let (value, unknown) = (at.value, at.unknown);
        if at.key.is_empty() && *unknown == Value::Bool(true) {
            return self.add_unknown("", false, resource);
        }
        let nested = nested(&at);
        let nested = nested.as_ref();
        let items = value.is_array() || unknown.is_array() || is_named_list(&at);
        for name in keys(value, unknown) {
            if at.is_template && SECTIONS.iter().any(|one| name.eq_ignore_ascii_case(one)) {
                continue;
            }
            let template = nested.filter(|_| name.eq_ignore_ascii_case("template"));
            let inner = At {
                key: if items { at.key } else { &name },
                value: template.map_or(child(value, &name), |(template, _)| template),
                unknown: child(unknown, &name),
                scope: template.map_or(at.scope, |(_, scope)| scope),
                is_template: template.is_some(),
                ..at
            };
            let length = self.path.len();
            self.path.push('.');
            self.path.push_str(&name);
            self.walk(inner, resource);
            self.path.truncate(length);
        }
    }

    fn add_value(&mut self, role: ValueRole, text: &str, resource: &mut Resource) {
        let id = PlannedImage::Id(text.to_owned());
        match role {
            _ if is_image(text) => self.add(id, resource),
            ValueRole::Image => self.add(id, resource),
            ValueRole::Disk => {
                let why = format!("the disk {text} is not an image");
                let disk = PlannedImage::NoId(why);
                resource.disks.push((self.path.clone(), disk));
            }
            ValueRole::Source => {
                let source = Named::Source(text.to_owned());
                self.found.push((self.path.clone(), source));
            }
        }
    }

    fn add_reference(&mut self, at: At<'_>, resource: &mut Resource) {
        let (value, unknown) = (at.value, at.unknown);
        match text(value) {
            // Some services use the id itself as the reference.
            Some(id) if is_image(id) => return self.add(PlannedImage::Id(id.to_owned()), resource),
            None if value.is_object() || value.is_null() => {}
            _ => return self.add(PlannedImage::Unknown, resource),
        }
        for key in REFERENCE_IDS {
            let id = get(value, key);
            let planned = match at.scope.resolved(id) {
                _ if *get(unknown, key) == Value::Bool(true) => PlannedImage::Unknown,
                Some(Value::Null) => continue,
                Some(Value::String(id)) if id.is_empty() => continue,
                Some(Value::String(id)) => PlannedImage::Id(id),
                _ => PlannedImage::Unknown,
            };
            let length = self.path.len();
            self.path.push('.');
            self.path.push_str(key);
            self.add(planned, resource);
            return self.path.truncate(length);
        }
        let later = |key: &&str| *get(unknown, key) == Value::Bool(true);
        if REFERENCE_NAMES.iter().any(later) {
            return self.add(PlannedImage::Unknown, resource);
        }
        let names = REFERENCE_NAMES.iter();
        let names: Vec<&str> = names.filter_map(|key| text(get(value, key))).collect();
        if !names.is_empty() {
            self.add(PlannedImage::NoId(marketplace(&names.join(":"))), resource);
        }
    }
}

/// Returns the type of the resource that begins at a value, if one does. The inner `None` is an
/// unknown type.
fn kind(at: &At<'_>, above: &Resource) -> Option<Option<String>> {
    let is_resource = at.key.eq_ignore_ascii_case("resources") && at.value.is_object();
    let kind = get(at.value, "type").as_str().filter(|_| is_resource)?;
    let kind = at.scope.resolved(&kind.into());
    let kind = kind.and_then(|kind| Some(kind.as_str()?.to_ascii_lowercase()));
    // A nested resource has only the last part of its type.
    Some(match (kind, &above.kind) {
        (Some(kind), Some(above)) if !kind.contains('/') => Some(format!("{above}/{kind}")),
        (kind, _) => kind,
    })
}

/// Whether the value is an object of resources by name, as in newer templates.
fn is_named_list(at: &At<'_>) -> bool {
    at.key.eq_ignore_ascii_case("resources")
        && at.value.is_object()
        && get(at.value, "type").is_null()
}

/// Returns the template in the properties of a deployment, with the scope of its expressions.
fn nested(at: &At<'_>) -> Option<(Value, Scope)> {
    let template = get(at.value, "template");
    let template = match template {
        Value::String(text) => embedded(text).or_else(|| at.scope.resolved(template))?,
        template => template.clone(),
    };
    let is_template = ["$schema", "resources"].map(|key| !get(&template, key).is_null());
    let scope = || at.scope.within(at.value, &template, at.unknown);
    let scope = is_template.contains(&true).then(scope)?;
    Some((template, scope))
}
