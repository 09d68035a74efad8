//! Finds the images of one resource, by the form of their ids and by the table of fields.
//! Takes the planned values and the unknown ones. Returns for each field an image, or why there is
//! none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::catalog_fields::{self, FieldRole};
use super::image::{PlannedImage, is_image, marketplace};
use super::request::{self, Named, Request, overlay};
use super::values::{child, embedded, item, keys, text, with_key};

/// The images of a resource, by attribute.
#[derive(Default)]
pub(super) struct Found {
    pub(super) images: BTreeMap<String, PlannedImage>,
    /// Attributes and texts of disks and so on that something is created from.
    pub(super) sources: Vec<(String, String)>,
    /// OS disks. They count only if the resource names no image.
    os_disks: BTreeMap<String, PlannedImage>,
    names_image: bool,
}

/// Searches a resource of the type `kind`: its planned values, and their unknown parts in the same
/// shape.
pub(super) fn find(kind: &str, after: &Value, unknown: &Value) -> Found {
    let mut found = Found::default();
    find_by_form(after, &mut String::new(), &mut found.images);
    if *unknown == Value::Bool(true) {
        if catalog_fields::is_known(kind) {
            found.add_unknown("(the whole resource)".to_owned());
        }
        return found;
    }
    let resource = Resource { after, unknown };
    for (path, role) in catalog_fields::fields(kind) {
        let path: Vec<&str> = path.split('.').collect();
        let at = (after, unknown, &mut String::new());
        resource.descend(&path, role, at, &mut found);
    }
    if !found.names_image {
        found.use_os_disks();
    }
    if !found.names_image && catalog_fields::boots(kind) && after.is_object() {
        let why = "the plan names no image for it";
        found.add_unseen("image".to_owned(), why.to_owned());
    }
    found
}

impl Found {
    fn add_unknown(&mut self, path: String) {
        self.names_image = true;
        self.images.entry(path).or_insert(PlannedImage::Unknown);
    }

    fn add_unseen(&mut self, path: String, why: String) {
        self.names_image = true;
        self.images.entry(path).or_insert(PlannedImage::NoId(why));
    }

    fn add_id(&mut self, path: String, id: &str) {
        self.names_image = true;
        self.images.insert(path, PlannedImage::Id(id.to_owned()));
    }

    /// Adds the images of a request.
    fn add_request(&mut self, request: &Request<'_>, path: &str) {
        for (path, named) in request.find(path) {
            match named {
                Named::Image(PlannedImage::Id(id)) => self.add_id(path, &id),
                Named::Image(PlannedImage::Unknown) => self.add_unknown(path),
                Named::Image(PlannedImage::NoId(why)) => self.add_unseen(path, why),
                Named::Source(source) => self.sources.push((path, source)),
            }
        }
    }

    /// Adds the OS disks. If one of them is known, the unknown ones are computed and do not count.
    fn use_os_disks(&mut self) {
        let disks = std::mem::take(&mut self.os_disks);
        let known = disks.values().any(|disk| *disk != PlannedImage::Unknown);
        for (path, disk) in disks {
            if !known || disk != PlannedImage::Unknown {
                self.names_image = true;
                self.images.entry(path).or_insert(disk);
            }
        }
    }
}

/// A planned value, its unknown parts, and its path.
type At<'a, 'p> = (&'a Value, &'a Value, &'p mut String);

struct Resource<'a> {
    after: &'a Value,
    unknown: &'a Value,
}

impl Resource<'_> {
    fn descend(&self, path: &[&str], role: FieldRole, at: At<'_, '_>, found: &mut Found) {
        let (after, unknown, here) = at;
        if let ["**", rest @ ..] = path {
            if after.is_object() || unknown.is_object() {
                self.descend(rest, role, (after, unknown, here), found);
            }
            for key in keys(after, unknown) {
                let inner = (child(after, &key), child(unknown, &key));
                with_key(here, &key, |here| {
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
                with_key(here, &at.to_string(), |here| {
                    self.descend(path, role, (inner.0, inner.1, here), found);
                });
            }
            return;
        }
        match path {
            [] => self.leaf(role, (after, unknown, here), found),
            [key, rest @ ..] => {
                let inner = (child(after, key), child(unknown, key));
                with_key(here, key, |here| {
                    self.descend(rest, role, (inner.0, inner.1, here), found);
                });
            }
        }
    }

    /// Adds a value that is not known before the plan is applied.
    fn unknown(&self, role: FieldRole, path: &str, found: &mut Found) {
        let path = path.to_owned();
        match role {
            FieldRole::OsDisk => {
                found.os_disks.insert(path, PlannedImage::Unknown);
            }
            FieldRole::Volume => {
                let volume = "a volume that is known only after the plan is applied";
                found.sources.push((path, volume.to_owned()));
            }
            // Computed, unless it is requested.
            FieldRole::Import if !self.imports() => {}
            FieldRole::Template if text(&self.after["template_spec_version_id"]).is_some() => {}
            FieldRole::Parameters if !request::parameters_matter(self.template()) => {}
            FieldRole::Body if !request::may_name_images(self.after["type"].as_str()) => {}
            _ => found.add_unknown(path),
        }
    }

    fn leaf(&self, role: FieldRole, (after, unknown, path): At<'_, '_>, found: &mut Found) {
        let path = path.clone();
        match (role, text(after)) {
            (FieldRole::Reference, _) => add_reference((after, unknown), &path, found),
            (FieldRole::Body, _) => {
                let kind = self.after["type"].as_str().unwrap_or_default();
                found.add_request(&Request::from_body(kind, after, unknown), &path);
            }
            (_, None) => {}
            (FieldRole::Image, Some(id)) => found.add_id(path, id),
            (FieldRole::OsDisk, Some(id)) if is_image(id) => found.add_id(path, id),
            (FieldRole::Named, Some(name)) => {
                found.add_unseen(
                    path,
                    format!("an image of the provider ({name}) cannot be looked up"),
                );
            }
            (FieldRole::OsDisk, Some(disk)) => {
                let why = format!("the disk {disk} is not an image");
                found.os_disks.insert(path, PlannedImage::NoId(why));
            }
            (FieldRole::Source | FieldRole::Import | FieldRole::Volume, Some(source)) => {
                found.names_image = true;
                if !is_image(source) {
                    found.sources.push((path, source.to_owned()));
                }
            }
            (FieldRole::Template, Some(template)) => {
                let request = Request::from_template(template, &self.parameters());
                found.add_request(&request, &path);
            }
            (FieldRole::Elsewhere, Some(id)) => {
                found.add_unseen(path, format!("the template {id} is not in the plan"));
            }
            (FieldRole::Block | FieldRole::Parameters, Some(_)) => {}
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

    /// Returns the parameters of a template, from their text or from single values.
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

/// The attributes of a reference that are ids.
const IDS: [&str; 3] = [
    "id",
    "community_gallery_image_id",
    "shared_gallery_image_id",
];

/// The attributes of a reference that identify an image of a marketplace or of the provider.
const NAMES: [&str; 6] = [
    "publisher",
    "offer",
    "sku",
    "type",
    "version",
    "well_known_image_name",
];

fn add_reference((after, unknown): (&Value, &Value), path: &str, found: &mut Found) {
    for key in IDS {
        let path = format!("{path}.{key}");
        if unknown[key] == true {
            return found.add_unknown(path);
        }
        if let Some(id) = text(&after[key]) {
            return found.add_id(path, id);
        }
    }
    if NAMES.iter().any(|key| unknown[*key] == true) {
        return found.add_unknown(path.to_owned());
    }
    let names: Vec<&str> = NAMES.iter().filter_map(|key| text(&after[*key])).collect();
    if !names.is_empty() {
        found.add_unseen(path.to_owned(), marketplace(&names.join(":")));
    }
}

/// Finds image ids by their form, in all values.
fn find_by_form(value: &Value, path: &mut String, found: &mut BTreeMap<String, PlannedImage>) {
    match value {
        Value::String(text) => {
            // The own id of an image is not a use of it.
            if path != "id" && is_image(text) {
                found.insert(path.clone(), PlannedImage::Id(text.clone()));
            } else if let Some(inner) = embedded(text) {
                find_by_form(&inner, path, found);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                with_key(path, &at.to_string(), |path| {
                    find_by_form(item, path, found);
                });
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                with_key(path, key, |path| find_by_form(value, path, found));
            }
        }
        _ => {}
    }
}
