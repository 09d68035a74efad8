//! Reads `images/<name>/image.toml` and the values of its variables into a [`Definition`].
//! Errors name file, line and key. Files that it names are read; the network is not used.
//! Provisioners and their inputs are left to `plan`.

mod problem;
pub(crate) mod document;
mod text;
mod kind;
pub(crate) mod variables;
pub mod platform;
pub(crate) mod options;
pub(crate) mod files;
pub(crate) mod script;
mod steps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::digest::Digest;
use document::Table;
use options::PerPlatform;
use platform::{Parts, Platforms, Reading};
use variables::Variables;

pub use kind::Type;
pub(crate) use kind::is_variable_name;
pub use options::{ReleaseSource, fingerprint};
pub use platform::Firmware;
pub use problem::{Location, Problem, Problems, closest_match};
pub(crate) use problem::{ProblemLog, one_of, quoted_list, read_hint};
pub use steps::{Action, Step};
pub use variables::Value;

/// A definition with its variables filled in.
pub struct Definition {
    /// Name of the image, which is the name of its folder.
    pub name: String,
    /// One-sentence description of the image.
    pub description: String,
    /// Folder of `image.toml`, which relative paths start from.
    pub folder: PathBuf,
    /// Path of the file, as the caller named it.
    pub file: PathBuf,
    /// Values of the variables, by variable name.
    pub variables: BTreeMap<String, Value>,
    /// The tables of each platform that the definition has a base for, by name, in the order of the
    /// list of platforms.
    pub platforms: Vec<(&'static str, Parts)>,
    /// Version of each release, by product.
    pub releases: BTreeMap<String, String>,
    /// Location of each release, by product.
    pub(crate) releases_at: BTreeMap<String, Location>,
    /// Mirror and signing certificate of the releases.
    pub release_source: ReleaseSource,
    /// Reason for each lint rule that the definition allows to be broken, by rule id.
    pub allowed: BTreeMap<String, String>,
    /// Steps in the order of the file.
    pub steps: Vec<Step>,
    /// Digest of all fields after variables are filled in. Secrets count by their name only.
    pub digest: Digest,
}

/// A definition that may have problems.
pub struct Draft {
    /// The definition without its invalid parts. Do not build it if there are `problems`.
    pub definition: Definition,
    /// All problems of the file.
    pub problems: Option<Problems>,
}

/// A definition that could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// The file could not be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the file system.
        error: std::io::Error,
    },
    /// The file has problems.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

impl DefinitionError {
    /// Returns the way out as an imperative, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { error, .. } => Some(read_hint(
                error,
                "Name an image below images/, the folder of an image, or its image.toml.",
            )),
            Self::Invalid(problems) => problems.hint(),
        }
    }
}

impl From<Problem> for DefinitionError {
    fn from(problem: Problem) -> Self {
        Self::Invalid(problem.into())
    }
}

impl Definition {
    /// Loads the definition in `folder_or_file` with the variable values `given`.
    pub fn load(
        folder_or_file: &Path,
        given: &BTreeMap<String, String>,
        platforms: &Platforms,
    ) -> Result<Self, DefinitionError> {
        let Draft {
            definition,
            problems,
        } = Self::draft(folder_or_file, given, platforms)?;
        match problems {
            Some(problems) => Err(problems.into()),
            None => Ok(definition),
        }
    }

    /// Loads the valid parts of the definition in `folder_or_file`, with all problems of the rest.
    ///
    /// Fails if the file cannot be read, is not TOML, or has another schema.
    pub fn draft(
        folder_or_file: &Path,
        given: &BTreeMap<String, String>,
        platforms: &Platforms,
    ) -> Result<Draft, DefinitionError> {
        let file = file_of(folder_or_file);
        let text = std::fs::read_to_string(&file).map_err(|error| DefinitionError::Read {
            path: file.clone(),
            error,
        })?;
        Ok(Self::parse_draft(&file, &text, given, platforms)?)
    }

    /// Returns the names of the variables that a definition declares.
    ///
    /// Returns `None` if the file cannot be read; [`Self::load`] returns the reason.
    pub fn variable_names(folder_or_file: &Path) -> Option<Vec<String>> {
        let text = std::fs::read_to_string(file_of(folder_or_file)).ok()?;
        let table: toml::Table = text.parse().ok()?;
        let variables = table.get("variables").and_then(toml::Value::as_table);
        let names = variables.into_iter().flat_map(|variables| variables.keys());
        let mut names: Vec<String> = names.cloned().collect();
        names.sort();
        Some(names)
    }

    /// Parses a definition from its `text`.
    ///
    /// `file` gives the name of the image and the folder of its other files. It is not opened.
    pub fn parse(
        file: &Path,
        text: &str,
        given: &BTreeMap<String, String>,
        platforms: &Platforms,
    ) -> Result<Self, Problems> {
        let Draft {
            definition,
            problems,
        } = Self::parse_draft(file, text, given, platforms)?;
        problems.map_or(Ok(definition), Err)
    }

    fn parse_draft(
        file: &Path,
        text: &str,
        given: &BTreeMap<String, String>,
        platforms: &Platforms,
    ) -> Result<Draft, Problem> {
        let mut root = Table::parse(file, text)?;
        root.schema(SCHEMA)?;
        let found = root.found.clone();
        let definition = Self::read(file, root, given, platforms);
        Ok(Draft {
            definition,
            problems: found.problems(),
        })
    }

    /// Reads `root`, the content of `file`.
    ///
    /// Problems are collected, so that one does not hide another. Invalid values are left out.
    fn read(
        file: &Path,
        mut root: Table,
        given: &BTreeMap<String, String>,
        platforms: &Platforms,
    ) -> Self {
        root.reject_unknown(&KEYS);
        let found = root.found.clone();
        let start = Location::start_of(file);
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let name = found
            .ok_or_record(image_name(&start, file))
            .unwrap_or_default();
        let declared = found.ok_or_record(root.take_table("variables")).flatten();
        let variables = Variables::read(declared, &start, given, &found);
        let description = "what the image is, in a sentence";
        let description = root.required("description", description, |item| variables.text(item));
        let reading = Reading {
            image: &name,
            folder: &folder,
            start: &start,
            variables: &variables,
        };
        let parts = platform_parts(&mut root, platforms, &reading);
        let read = found.ok_or_record(options::releases(&mut root, &variables));
        let (mut releases, mut releases_at) = (BTreeMap::new(), BTreeMap::new());
        for (product, (version, at)) in read.unwrap_or_default() {
            releases_at.insert(product.clone(), at);
            releases.insert(product, version);
        }
        let source = options::release_source(&mut root, &variables, &folder);
        let allowed = found.ok_or_record(options::allowed(&mut root, &variables));
        let steps = found.ok_or_record(steps::read(&mut root, &variables, &folder));
        let mut definition = Self {
            name,
            description: description.unwrap_or_default(),
            platforms: parts,
            releases,
            releases_at,
            release_source: found.ok_or_record(source).unwrap_or_default(),
            allowed: allowed.unwrap_or_default(),
            steps: steps.unwrap_or_default(),
            variables: variables.into_values(),
            folder,
            file: file.to_owned(),
            digest: Digest::hash_bytes([]),
        };
        definition.digest = Digest::hash_value(&definition.describe(platforms));
        definition
    }

    /// Returns the tables of a platform, if the definition has a base for it.
    pub fn parts(&self, platform: &str) -> Option<&Parts> {
        let mut all = self.platforms.iter();
        let found = all.find(|(name, _)| *name == platform);
        found.map(|(_, parts)| parts)
    }

    /// Returns the longest time until the build VM of its first platform answers, in seconds.
    pub(crate) fn boot_timeout_s(&self) -> u64 {
        let first = self.platforms.first();
        let of_first = first.and_then(|(_, parts)| platform::boot_timeout_s(&parts.machine));
        of_first.unwrap_or(platform::BOOT_TIMEOUT_S)
    }

    /// Returns all that its digest covers. Secrets count by their name only.
    pub fn describe(&self, platforms: &Platforms) -> serde_json::Value {
        let Self {
            name,
            description,
            variables,
            releases,
            release_source,
            allowed,
            steps,
            ..
        } = self;
        let parts = platforms.iter();
        serde_json::json!(Digested {
            name,
            description,
            variables,
            platforms: parts
                .flat_map(|one| one.digested(self.parts(one.name())))
                .collect(),
            releases,
            release_source,
            allowed,
            steps,
        })
    }
}

/// What the digest of a definition covers.
#[derive(Serialize)]
struct Digested<'a> {
    name: &'a str,
    description: &'a str,
    variables: &'a BTreeMap<String, Value>,
    #[serde(flatten)]
    platforms: serde_json::Map<String, serde_json::Value>,
    releases: &'a BTreeMap<String, String>,
    release_source: &'a ReleaseSource,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    allowed: &'a BTreeMap<String, String>,
    steps: &'a [Step],
}

/// Reads the tables of all platforms. Records their problems.
fn platform_parts(
    root: &mut Table,
    platforms: &Platforms,
    reading: &Reading<'_>,
) -> Vec<(&'static str, Parts)> {
    let found = root.found.clone();
    let names = platforms.names();
    let bases = found.ok_or_record(bases(root, &names));
    let mut bases = bases.unwrap_or_default();
    let mut others = ["machine", "output"].map(|section| {
        let tables = PerPlatform::take_from(root, section, &names);
        found.ok_or_record(tables).unwrap_or_default()
    });
    let mut all = Vec::new();
    for platform in platforms.iter() {
        let name = platform.name();
        let [machine, output] = others.each_mut().map(|tables| tables.take(name));
        let tables = platform::Tables {
            base: bases.take(name),
            machine,
            output,
        };
        let read = found.ok_or_record(platform.read(tables, reading));
        all.extend(read.flatten().map(|parts| (name, parts)));
    }
    all
}

/// Reads `[base.…]` and refuses a definition without any.
fn bases(root: &mut Table, names: &[&'static str]) -> Result<PerPlatform, Problem> {
    let tables = names.iter().map(|name| format!("`[base.{name}]`"));
    let expected = tables.collect::<Vec<_>>().join(" or ");
    let item = root.require("base", &expected)?;
    let at = item.at.clone();
    let noted = item.found.clone();
    let before = noted.count();
    let bases = PerPlatform::from_table(item.table()?, names)?;
    if bases.is_empty() && noted.count() == before {
        return Err(at
            .problem(format!("empty; expected {expected}"))
            .with_hint("Add the base that the image is built from."));
    }
    Ok(bases)
}

fn file_of(folder_or_file: &Path) -> PathBuf {
    if folder_or_file.is_dir() {
        folder_or_file.join(FILE)
    } else {
        folder_or_file.to_owned()
    }
}

/// Returns the name of the folder, or of the file if that is not called `image.toml`.
fn image_name(start: &Location, file: &Path) -> Result<String, Problem> {
    let named = if file.file_name().is_some_and(|name| name == FILE) {
        let folder = file.parent().unwrap_or(Path::new(""));
        // A folder given as `.` has its name only on the disk.
        match folder.file_name() {
            Some(name) => Some(name.to_owned()),
            None => std::path::absolute(folder)
                .ok()
                .and_then(|folder| folder.canonicalize().ok())
                .and_then(|folder| folder.file_name().map(ToOwned::to_owned)),
        }
    } else {
        file.file_stem().map(ToOwned::to_owned)
    };
    let name = named.unwrap_or_default().to_string_lossy().into_owned();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain) {
        return Ok(name);
    }
    Err(start
        .below("name")
        .problem(format!(
            "the folder's name `{name}` cannot name an image; expected lower-case letters, digits and `-`, a letter first"
            ))
            .with_hint("Rename the folder."))
}

const FILE: &str = "image.toml";
const SCHEMA: i64 = 1;
const KEYS: [&str; 10] = [
    "schema",
    "description",
    "variables",
    "base",
    "releases",
    "release_source",
    "lint",
    "machine",
    "output",
    "step",
];
