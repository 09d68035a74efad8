//! The images of one resource: by the form of their ids, and at the places of the table.
//!
//! In: what a resource is planned to be, and what of it is not known yet. Out: an image, or why it cannot be told, for each
//! place.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::catalog_fields::{self, Role};
use super::request::{self, Named, Request, overlay};
use super::uses::{Planned, embedded, is_image};

/// The images of a resource, by attribute.
#[derive(Default)]
pub(super) struct Found {
    pub(super) images: BTreeMap<String, Planned>,
    /// Attribute and text of disks and the like that something is made from.
    pub(super) sources: Vec<(String, String)>,
    /// Disks with a system on them: they count where no image is named.
    os_disks: BTreeMap<String, Planned>,
    names_image: bool,
}

/// Looks through a resource of the type `kind`: its values, and in the same shape what is not known of them.
pub(super) fn find(kind: &str, after: &Value, unknown: &Value) -> Found {
    let mut found = Found::default();
    by_form(after, &mut String::new(), &mut found.images);
    if *unknown == Value::Bool(true) {
        if catalog_fields::is_known(kind) {
            found.unknown("(the whole resource)".to_owned());
        }
        return found;
    }
    let resource = Resource { after, unknown };
    for (path, role) in catalog_fields::places(kind) {
        let path: Vec<&str> = path.split('.').collect();
        let at = (after, unknown, &mut String::new());
        resource.descend(&path, role, at, &mut found);
    }
    if !found.names_image {
        found.take_os_disks();
    }
    if !found.names_image && catalog_fields::boots(kind) && after.is_object() {
        let why = "no image is named, so what it starts is not in the plan";
        found.unseen("image".to_owned(), why.to_owned());
    }
    found
}

impl Found {
    fn unknown(&mut self, path: String) {
        self.names_image = true;
        self.images.entry(path).or_insert(Planned::Unknown);
    }

    fn unseen(&mut self, path: String, why: String) {
        self.names_image = true;
        self.images.entry(path).or_insert(Planned::Unseen(why));
    }

    fn id(&mut self, path: String, id: &str) {
        self.names_image = true;
        self.images.insert(path, Planned::Id(id.to_owned()));
    }

    /// What a request names.
    fn request(&mut self, request: &Request<'_>, path: &str) {
        for (path, named) in request.find(path) {
            match named {
                Named::Image(Planned::Id(id)) => self.id(path, &id),
                Named::Image(Planned::Unknown) => self.unknown(path),
                Named::Image(Planned::Unseen(why)) => self.unseen(path, why),
                Named::Source(source) => self.sources.push((path, source)),
            }
        }
    }

    /// What is computed beside a known disk says nothing.
    fn take_os_disks(&mut self) {
        let disks = std::mem::take(&mut self.os_disks);
        let known = disks.values().any(|disk| *disk != Planned::Unknown);
        for (path, disk) in disks {
            if !known || disk != Planned::Unknown {
                self.names_image = true;
                self.images.entry(path).or_insert(disk);
            }
        }
    }
}

/// Values and what is not known of them, at a path.
type At<'a, 'p> = (&'a Value, &'a Value, &'p mut String);

struct Resource<'a> {
    after: &'a Value,
    unknown: &'a Value,
}

impl Resource<'_> {
    fn descend(&self, path: &[&str], role: Role, at: At<'_, '_>, found: &mut Found) {
        let (after, unknown, here) = at;
        if let ["**", rest @ ..] = path {
            if after.is_object() || unknown.is_object() {
                self.descend(rest, role, (after, unknown, here), found);
            }
            for key in keys(after, unknown) {
                let inner = (child(after, &key), child(unknown, &key));
                deeper(here, &key, |here| {
                    self.descend(path, role, (inner.0, inner.1, here), found);
                });
            }
            return;
        }
        if *unknown == Value::Bool(true) {
            return self.unknown(role, here, found);
        }
        let items = [after, unknown].map(|value| value.as_array().map_or(0, Vec::len));
        if items != [0, 0] {
            for at in 0..items[0].max(items[1]) {
                let inner = (item(after, at), item(unknown, at));
                deeper(here, &at.to_string(), |here| {
                    self.descend(path, role, (inner.0, inner.1, here), found);
                });
            }
            return;
        }
        match path {
            [] => self.leaf(role, (after, unknown, here), found),
            [key, rest @ ..] => {
                let inner = (child(after, key), child(unknown, key));
                deeper(here, key, |here| {
                    self.descend(rest, role, (inner.0, inner.1, here), found);
                });
            }
        }
    }

    /// Something that is not known before the plan is applied.
    fn unknown(&self, role: Role, path: &str, found: &mut Found) {
        let path = path.to_owned();
        match role {
            Role::OsDisk => {
                found.os_disks.insert(path, Planned::Unknown);
            }
            Role::Volume => {
                let volume = "a volume that is known only once the plan is applied";
                found.sources.push((path, volume.to_owned()));
            }
            // Computed, unless it is asked for.
            Role::Import if !self.imports() => {}
            Role::Template if text(&self.after["template_spec_version_id"]).is_some() => {}
            Role::Parameters if !request::parameters_matter(self.template()) => {}
            Role::Body if !request::may_name_images(self.after["type"].as_str()) => {}
            _ => found.unknown(path),
        }
    }

    fn leaf(&self, role: Role, (after, unknown, path): At<'_, '_>, found: &mut Found) {
        let path = path.clone();
        match (role, text(after)) {
            (Role::Reference, _) => reference((after, unknown), &path, found),
            (Role::Body, _) => {
                let kind = self.after["type"].as_str().unwrap_or_default();
                found.request(&Request::of_body(kind, after, unknown), &path);
            }
            (_, None) => {}
            (Role::Image, Some(id)) => found.id(path, id),
            (Role::OsDisk, Some(id)) if is_image(id) => found.id(path, id),
            (Role::Named, Some(name)) => {
                found.unseen(path, format!("an image of the provider, {name}"));
            }
            (Role::OsDisk, Some(disk)) => {
                let why = format!("what is on the disk {disk}, which is no image");
                found.os_disks.insert(path, Planned::Unseen(why));
            }
            (Role::Source | Role::Import | Role::Volume, Some(source)) => {
                found.names_image = true;
                if !is_image(source) {
                    found.sources.push((path, source.to_owned()));
                }
            }
            (Role::Template, Some(template)) => {
                let request = Request::of_template(template, &self.parameters());
                found.request(&request, &path);
            }
            (Role::Elsewhere, Some(id)) => {
                found.unseen(path, format!("a template that is not in the plan, {id}"));
            }
            (Role::Block | Role::Parameters, Some(_)) => {}
        }
    }

    fn imports(&self) -> bool {
        let option = text(&self.after["create_option"]);
        option.is_none_or(|option| option.starts_with("Import"))
    }

    fn template(&self) -> Option<&str> {
        let names = ["template_content", "template_body"];
        names.iter().find_map(|name| text(&self.after[*name]))
    }

    /// The parameters of a template: as text, or each by its name.
    fn parameters(&self) -> Value {
        let names = ["parameters_content", "parameters_body"];
        let text = names.iter().find_map(|name| text(&self.after[*name]));
        if let Some(text) = text {
            return serde_json::from_str(text).unwrap_or_default();
        }
        let named = overlay(&self.after["parameters"], &self.unknown["parameters"]);
        let Value::Object(named) = named else {
            return Value::Null;
        };
        let named = named.into_iter();
        named
            .map(|(name, value)| (name, json!({ "value": value })))
            .collect()
    }
}

/// Attributes of a reference that are ids.
const IDS: [&str; 3] = [
    "id",
    "community_gallery_image_id",
    "shared_gallery_image_id",
];

/// Attributes of a reference that name an image of a marketplace, or of the provider.
const NAMES: [&str; 6] = [
    "publisher",
    "offer",
    "sku",
    "type",
    "version",
    "well_known_image_name",
];

fn reference((after, unknown): (&Value, &Value), path: &str, found: &mut Found) {
    for key in IDS {
        let path = format!("{path}.{key}");
        if unknown[key] == true {
            return found.unknown(path);
        }
        if let Some(id) = text(&after[key]) {
            return found.id(path, id);
        }
    }
    if NAMES.iter().any(|key| unknown[*key] == true) {
        return found.unknown(path.to_owned());
    }
    let names: Vec<&str> = NAMES.iter().filter_map(|key| text(&after[*key])).collect();
    if !names.is_empty() {
        found.unseen(path.to_owned(), marketplace(&names.join(":")));
    }
}

/// What is said of an image that is named and has no id.
pub(super) fn marketplace(name: &str) -> String {
    format!("a marketplace image, {name}: only images with an id can be looked up")
}

/// Ids of images wherever they stand, by their form.
fn by_form(value: &Value, path: &mut String, found: &mut BTreeMap<String, Planned>) {
    match value {
        Value::String(text) => {
            // An image's own id is no use of it.
            if path != "id" && is_image(text) {
                found.insert(path.clone(), Planned::Id(text.clone()));
            } else if let Some(inner) = embedded(text) {
                by_form(&inner, path, found);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                deeper(path, &at.to_string(), |path| by_form(item, path, found));
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                deeper(path, key, |path| by_form(value, path, found));
            }
        }
        _ => {}
    }
}

/// A text that is not empty.
pub(super) fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// The keys or places of both, each once.
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

/// A place of a list; a block that is no list is its own only place.
fn item(value: &Value, at: usize) -> &Value {
    match value {
        Value::Array(items) => items.get(at).unwrap_or(&Value::Null),
        value if at == 0 => value,
        _ => &Value::Null,
    }
}

pub(super) fn deeper(path: &mut String, key: &str, then: impl FnOnce(&mut String)) {
    let length = path.len();
    if length > 0 {
        path.push('.');
    }
    path.push_str(key);
    then(path);
    path.truncate(length);
}
