//! Converts the keys of `cluster.toml` to a [`ClusterFile`], with the rules between values.
//! Records every problem with its position; invalid values are replaced by defaults meanwhile.

mod auto_unseal;
mod identity;
mod platform;
mod unseal;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::document::Document;
use super::or_table::OrTable;
use super::raw::{RawCluster, RawPin};
use super::{ClusterFile, ImageRef, SCHEMA, Tier, check_name, is_label};
use crate::definition::{Location, Problem};
use crate::manifest::{Reference, is_name};

/// Reads a file that is being checked.
struct Checker<'a> {
    document: &'a Document<'a>,
    /// Folder of the file, which relative paths start from.
    folder: &'a Path,
}

/// Reads and checks `document`, the content of `file`. Problems are recorded in the document.
pub(super) fn check(file: &Path, document: &Document<'_>) -> Option<ClusterFile> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let checker = Checker { document, folder };
    let raw: RawCluster = document.read()?;
    let schema = document.required("schema", raw.schema, &format!("`schema = {SCHEMA}`"));
    checker.schema(schema?)?;
    let name = checker.name();
    checker.datacenter(&raw.datacenter);
    let consul = document.required("consul", raw.consul, "`[consul]` with an image");
    let consul = consul.map(|raw| checker.tier("consul", raw.image, raw.nodes, 1..=7));
    let vault = document.required("vault", raw.vault, "`[vault]` with an image");
    let vault = vault.map(|raw| checker.tier("vault", raw.image, raw.nodes, 1..=9));
    let front = checker.front(&raw.front, raw.platform.kind);
    let platform = checker.platform(raw.platform);
    let identity = checker.identity(raw.identity);
    let unseal = checker.unseal(raw.unseal);
    let (consul, vault, platform) = (consul??, vault??, platform?);
    checker.room(platform.subnet, &consul, &vault);
    Some(ClusterFile {
        name: name?,
        schema: 1,
        datacenter: raw.datacenter,
        consul,
        vault,
        platform,
        identity: identity?,
        unseal,
        front,
    })
}

impl Checker<'_> {
    fn record(&self, problem: Problem) {
        self.document.found.record(problem);
    }

    /// Records a problem that follows from several values, unless one of them was refused.
    fn record_conflict(&self, keys: &[&str], problem: Problem) {
        if !keys.iter().any(|key| self.document.is_refused(key)) {
            self.record(problem);
        }
    }

    fn at(&self, key: &str) -> Location {
        self.document.at(key)
    }

    fn schema(&self, given: i64) -> Option<()> {
        if given == SCHEMA {
            return Some(());
        }
        let message = format!("schema {given} is unknown to this version; expected {SCHEMA}");
        self.record(
            self.at("schema")
                .problem(message)
                .with_hint(if given > SCHEMA {
                    "Update vault-bake: the file was written for a newer version.".to_owned()
                } else {
                    format!("Write `schema = {SCHEMA}`.")
                }),
        );
        None
    }

    /// Returns the name of the cluster: that of its folder.
    fn name(&self) -> Option<String> {
        let name = self.folder.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        match check_name(&name) {
            Ok(()) => Some(name),
            Err(error) => {
                let problem = self.at("").problem(format!("folder {error}"));
                self.record(problem.with_hint(error.hint().unwrap_or_default()));
                None
            }
        }
    }

    fn datacenter(&self, given: &str) {
        if !is_label(given) {
            let message = format!(
                "`{given}` is no datacenter; expected lower-case letters, digits and `-`, at most 63"
            );
            let problem = self.at("datacenter").problem(message);
            self.record(problem.with_hint("Write the datacenter of the images, as in \"dc1\"."));
        }
    }

    fn tier(
        &self,
        key: &str,
        image: Option<OrTable<RawPin>>,
        nodes: i64,
        allowed: RangeInclusive<i64>,
    ) -> Option<Tier> {
        let nodes_key = format!("{key}.nodes");
        let nodes = self.number(&nodes_key, nodes, &allowed);
        if key == "consul" && nodes.is_some_and(|nodes| nodes % 2 == 0) {
            let problem = self.at(&nodes_key).problem(format!(
                "{} servers have no better majority than {}; expected 1, 3, 5 or 7",
                nodes.unwrap_or_default(),
                nodes.unwrap_or_default() - 1,
            ));
            self.record(problem.with_hint("Write an odd number."));
        }
        let image_key = format!("{key}.image");
        let expected = format!("an image, as in `\"{key}-server:stable\"`");
        let image = self.document.required(&image_key, image, &expected)?;
        Some(Tier {
            image: self.image(&image_key, image)?,
            nodes: nodes?,
        })
    }

    fn image(&self, key: &str, image: OrTable<RawPin>) -> Option<ImageRef> {
        let at = self.at(key);
        let pin = match image {
            OrTable::Text(text) => {
                let reference = reference(&at, &text);
                return self
                    .document
                    .found
                    .ok_or_record(reference)
                    .map(ImageRef::Store);
            }
            OrTable::Table(pin) => pin,
        };
        let is_image_and_channel = pin
            .name
            .split_once(':')
            .is_some_and(|(image, channel)| is_name(image) && is_name(channel));
        if !is_name(&pin.name) && !is_image_and_channel {
            let problem = at.below("name").problem(format!(
                "`{}` is no name of a pin; expected `NAME` or `IMAGE:CHANNEL`",
                pin.name
            ));
            self.record(problem.with_hint("List the pins with `vault-bake verify --pins FILE`."));
            return None;
        }
        Some(ImageRef::Pin {
            pins: self.path(&format!("{key}.pins"), &pin.pins)?,
            name: pin.name,
        })
    }

    fn number(&self, key: &str, given: i64, allowed: &RangeInclusive<i64>) -> Option<u32> {
        if allowed.contains(&given) {
            return u32::try_from(given).ok();
        }
        let (least, most) = (allowed.start(), allowed.end());
        let message = format!("{given} is out of range; expected {least} to {most}");
        let problem = self.at(key).problem(message);
        self.record(problem.with_hint("Write a number in this range."));
        None
    }

    /// Returns a text that must not be empty.
    fn text(&self, key: &str, given: String) -> Option<String> {
        if given.trim().is_empty() {
            let problem = self.at(key).problem("empty; expected text");
            self.record(problem.with_hint("Write a value."));
            return None;
        }
        Some(given)
    }

    /// Returns a program with its arguments.
    fn command(&self, key: &str, given: Vec<String>) -> Option<Vec<String>> {
        if given
            .first()
            .is_none_or(|program| program.trim().is_empty())
        {
            let problem = self
                .at(key)
                .problem("no program; expected a list with a program and its arguments");
            self.record(problem.with_hint("Write it as in `[\"program\", \"--option\"]`."));
            return None;
        }
        Some(given)
    }

    /// Returns a path, which need not exist here.
    fn path(&self, key: &str, given: &str) -> Option<PathBuf> {
        self.text(key, given.to_owned())
            .map(|given| self.folder.join(given))
    }

    /// Returns the path of a file, which must exist.
    fn file(&self, key: &str, given: &str) -> Option<PathBuf> {
        let path = self.path(key, given)?;
        if path.is_file() {
            return Some(path);
        }
        let problem = self
            .at(key)
            .problem(format!("no such file: {}; expected one", path.display()));
        self.record(problem.with_hint("Name a file, relative to the folder of cluster.toml."));
        None
    }
}

/// Parses an image of the store: a channel or a version.
fn reference(at: &Location, text: &str) -> Result<Reference, Problem> {
    let expected = "expected NAME:CHANNEL or NAME@VERSION";
    match text.parse::<Reference>() {
        Ok(found @ (Reference::Channel { .. } | Reference::Version { .. })) => Ok(found),
        Ok(Reference::Newest { image }) => Err(at
            .problem(format!(
                "`{image}` names no channel and no version; {expected}"
            ))
            .with_hint(format!("Write `{image}:stable`, for example."))),
        Ok(_) => Err(at
            .problem(format!("`{text}` is a digest; {expected}"))
            .with_hint("Print the image of a digest with `vault-bake show DIGEST`.")),
        Err(_) => Err(at
            .problem(format!("`{text}` is no image; {expected}"))
            .with_hint("Write it as in `web:stable` or `web@2026.1128.0`.")),
    }
}
