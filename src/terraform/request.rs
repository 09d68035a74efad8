//! Requests to Azure's resource manager within a plan: bodies of `azapi` resources, and ARM templates.
//!
//! Both are trees in the words of Azure's interface. In a template values may be expressions: what those of them are that
//! an image can be in or below is looked up, and what cannot be told is said to be unknown.

mod scope;
mod words;

use serde_json::Value;

use super::find::{child, keys, marketplace, text};
use super::uses::{Planned, embedded, is_image};
use scope::{DEEPEST, Scope, get};
use words::{REFERENCE_IDS, REFERENCE_NAMES, SECTIONS, ValueRole};

pub(super) use scope::overlay;
pub(super) use words::may_name_images;

/// Within one request, so many expressions are followed; what is left is unknown.
const MOST: usize = 5000;

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

/// What a request names.
pub(super) enum Named {
    /// An image.
    Image(Planned),
    /// A disk, snapshot or machine that something is made from.
    Source(String),
}

/// A request, with what its expressions may name.
pub(super) struct Request<'a> {
    tree: Option<Value>,
    unknown: &'a Value,
    kind: Option<String>,
    scope: Scope,
    is_template: bool,
}

impl<'a> Request<'a> {
    /// The body of a request about a resource of the type `kind`: an object, or one as text.
    pub(super) fn of_body(kind: &str, body: &Value, unknown: &'a Value) -> Self {
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

    /// A template, with its parameters where those are known.
    pub(super) fn of_template(template: &str, parameters: &Value) -> Self {
        let tree = serde_json::from_str(template).ok();
        Self {
            scope: Scope::of(tree.as_ref().unwrap_or(&Value::Null), parameters),
            tree,
            unknown: &Value::Null,
            kind: None,
            is_template: true,
        }
    }

    /// All that it names, with its path below `path`.
    pub(super) fn find(&self, path: &str) -> Vec<(String, Named)> {
        let Some(tree) = &self.tree else {
            let why = "a request that is no JSON, so no image in it can be found";
            let unseen = Named::Image(Planned::Unseen(why.to_owned()));
            return vec![(path.to_owned(), unseen)];
        };
        let mut walk = Walk {
            path: path.to_owned(),
            found: Vec::new(),
            left: MOST,
        };
        let root = At {
            key: "",
            value: tree,
            unknown: self.unknown,
            scope: &self.scope,
            expanded: 0,
            is_template: self.is_template,
        };
        walk.resource(self.kind.clone(), root);
        walk.found
    }
}

/// A place of a request.
#[derive(Clone, Copy)]
struct At<'a> {
    /// What is in a list is what the list is called.
    key: &'a str,
    value: &'a Value,
    unknown: &'a Value,
    scope: &'a Scope,
    /// How many expressions within one another led here.
    expanded: usize,
    is_template: bool,
}

/// What was seen of one resource.
struct Resource {
    kind: Option<String>,
    may_name_images: bool,
    names_image: bool,
    has_disk: bool,
    disks: Vec<(String, Planned)>,
}

struct Walk {
    path: String,
    found: Vec<(String, Named)>,
    left: usize,
}

impl Walk {
    /// A resource with all that is in it.
    fn resource(&mut self, kind: Option<String>, at: At<'_>) {
        let mut resource = Resource {
            may_name_images: may_name_images(kind.as_deref()),
            kind,
            names_image: false,
            has_disk: false,
            disks: Vec::new(),
        };
        self.inside(at, &mut resource);
        if resource.names_image {
            return;
        }
        let starts_machine = matches!(
            resource.kind.as_deref(),
            Some("microsoft.compute/virtualmachines" | "microsoft.compute/virtualmachinescalesets")
        );
        if starts_machine && resource.has_disk && resource.disks.is_empty() {
            let why = "no image is named, so what it starts is not in the plan";
            return self.note(Planned::Unseen(why.to_owned()), &mut resource);
        }
        // What is computed beside a known disk says nothing.
        let disks = std::mem::take(&mut resource.disks);
        let known = disks.iter().any(|(_, disk)| *disk != Planned::Unknown);
        let counts = disks.into_iter();
        let counts = counts.filter(|(_, disk)| !known || *disk != Planned::Unknown);
        (self.found).extend(counts.map(|(path, disk)| (path, Named::Image(disk))));
    }

    fn note(&mut self, planned: Planned, resource: &mut Resource) {
        resource.names_image = true;
        self.found.push((self.path.clone(), Named::Image(planned)));
    }

    fn walk(&mut self, at: At<'_>, resource: &mut Resource) {
        if *at.unknown == Value::Bool(true) {
            return self.unknown(at.key, false, resource);
        }
        if !at.scope.is_expression(at.value) {
            return self.plain(at, resource);
        }
        let follows = at.expanded < DEEPEST && self.left > 0;
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
                self.plain(at, resource);
            }
            None => self.unknown(at.key, true, resource),
        }
    }

    /// A value that is not known: to Terraform, or as an expression.
    fn unknown(&mut self, key: &str, is_expression: bool, resource: &mut Resource) {
        let place = words::place(&self.path).filter(|_| resource.may_name_images);
        if place == Some(ValueRole::Disk) {
            return resource.disks.push((self.path.clone(), Planned::Unknown));
        }
        let hides = words::hides(key) && (!is_expression || resource.may_name_images);
        let whole = !is_expression && (key.is_empty() || words::names_values(key));
        if place.is_some() || hides || whole || words::is_id(key) || words::is_reference(key) {
            self.note(Planned::Unknown, resource);
        }
    }

    fn plain(&mut self, at: At<'_>, resource: &mut Resource) {
        if let Some(text) = text(at.value) {
            let place = words::place(&self.path).filter(|_| resource.may_name_images);
            if let Some(place) = place {
                return self.place(place, text, resource);
            }
            if words::is_id(at.key) {
                return self.note(Planned::Id(text.to_owned()), resource);
            }
        }
        let one = at.value.is_object() || at.value.is_string() || at.unknown.is_object();
        if words::is_reference(at.key) && one {
            return self.reference(at, resource);
        }
        if at.key.eq_ignore_ascii_case("templateLink") && at.value.is_object() {
            let why = "a linked template, which is not in the plan";
            return self.note(Planned::Unseen(why.to_owned()), resource);
        }
        if let Some(value) = &at.value.as_str().and_then(embedded) {
            let unknown = &Value::Null;
            let at = At {
                value,
                unknown,
                ..at
            };
            return self.plain(at, resource);
        }
        let is_storage = at.key.eq_ignore_ascii_case("storageProfile");
        resource.has_disk |= is_storage && at.value.is_object();
        match kind(&at, resource) {
            Some(kind) => self.resource(kind, at),
            None => self.inside(at, resource),
        }
    }

    /// All that is in a value.
    fn inside(&mut self, at: At<'_>, resource: &mut Resource) {
        let (value, unknown) = (at.value, at.unknown);
        if at.key.is_empty() && *unknown == Value::Bool(true) {
            return self.unknown("", false, resource);
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

    fn place(&mut self, place: ValueRole, text: &str, resource: &mut Resource) {
        let id = Planned::Id(text.to_owned());
        match place {
            _ if is_image(text) => self.note(id, resource),
            ValueRole::Image => self.note(id, resource),
            ValueRole::Disk => {
                let why = format!("what is on the disk {text}, which is no image");
                let disk = Planned::Unseen(why);
                resource.disks.push((self.path.clone(), disk));
            }
            ValueRole::Source => {
                let source = Named::Source(text.to_owned());
                self.found.push((self.path.clone(), source));
            }
        }
    }

    fn reference(&mut self, at: At<'_>, resource: &mut Resource) {
        let (value, unknown) = (at.value, at.unknown);
        match text(value) {
            // In the words of some services the id itself.
            Some(id) if is_image(id) => return self.note(Planned::Id(id.to_owned()), resource),
            None if value.is_object() || value.is_null() => {}
            _ => return self.note(Planned::Unknown, resource),
        }
        for key in REFERENCE_IDS {
            let id = get(value, key);
            let planned = match at.scope.resolved(id) {
                _ if *get(unknown, key) == Value::Bool(true) => Planned::Unknown,
                Some(Value::Null) => continue,
                Some(Value::String(id)) if id.is_empty() => continue,
                Some(Value::String(id)) => Planned::Id(id),
                _ => Planned::Unknown,
            };
            let length = self.path.len();
            self.path.push('.');
            self.path.push_str(key);
            self.note(planned, resource);
            return self.path.truncate(length);
        }
        let later = |key: &&str| *get(unknown, key) == Value::Bool(true);
        if REFERENCE_NAMES.iter().any(later) {
            return self.note(Planned::Unknown, resource);
        }
        let names = REFERENCE_NAMES.iter();
        let names: Vec<&str> = names.filter_map(|key| text(get(value, key))).collect();
        if !names.is_empty() {
            self.note(Planned::Unseen(marketplace(&names.join(":"))), resource);
        }
    }
}

/// The type of a resource that begins at a place of a template, where one does; none where an expression tells it.
fn kind(at: &At<'_>, above: &Resource) -> Option<Option<String>> {
    let is_resource = at.key.eq_ignore_ascii_case("resources") && at.value.is_object();
    let kind = get(at.value, "type").as_str().filter(|_| is_resource)?;
    let kind = at.scope.resolved(&kind.into());
    let kind = kind.and_then(|kind| Some(kind.as_str()?.to_ascii_lowercase()));
    // A resource within another one is named by the rest of its type.
    Some(match (kind, &above.kind) {
        (Some(kind), Some(above)) if !kind.contains('/') => Some(format!("{above}/{kind}")),
        (kind, _) => kind,
    })
}

/// Whether resources are in an object, by the names of newer templates.
fn is_named_list(at: &At<'_>) -> bool {
    at.key.eq_ignore_ascii_case("resources")
        && at.value.is_object()
        && get(at.value, "type").is_null()
}

/// The template within the properties of a deployment, with what its expressions mean.
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
