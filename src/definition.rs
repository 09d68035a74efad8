//! What is wanted: `images/<name>/image.toml`, parsed into a type that cannot be wrong.
//!
//! In: the folder of an image and values for its variables. Out: a [`Definition`] with the variables filled in and
//! the files that it names read, or a [`DefinitionError`] that names file, line and key. Deliberately touches no
//! network, runs nothing, and decides nothing about provisioners.

mod problem;
pub(crate) mod document;
mod text;
mod kind;
mod variables;
mod base;
mod options;
mod azure;
pub(crate) mod files;
pub(crate) mod script;
mod action;
mod steps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::digest::Digest;
use document::Table;
use options::PerBuilder;
use variables::Variables;

pub use azure::{
    Address, AzureBase, AzureMachine, AzureOutput, AzureSpec, GalleryOutput, LONGEST_IMAGE_NAME,
    Security, TAG_PREFIX,
};
pub use base::{Firmware, QemuBase};
pub use kind::Type;
pub(crate) use kind::is_name;
pub use options::{
    Compression, MachineSpec, Network, OutputSpec, PRODUCTS, ReleaseSource, fingerprint,
};
pub(crate) use problem::{Found, listed};
pub use problem::{Location, Problem, Problems, meant};
pub use steps::{Action, Step};
pub use variables::Value;

/// A definition with its variables filled in.
#[derive(Serialize)]
pub struct Definition {
    /// The image's name: the folder's.
    pub name: String,
    /// In a sentence.
    pub description: String,
    /// Where paths of the definition start: the folder of `image.toml`.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The file itself, as the caller named it.
    #[serde(skip)]
    pub file: PathBuf,
    /// Values of the variables, by name.
    pub variables: BTreeMap<String, Value>,
    /// The base for the QEMU builder.
    pub qemu: Option<QemuBase>,
    /// All for the Azure builder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureSpec>,
    /// Releases: product to version.
    pub releases: BTreeMap<String, String>,
    /// Where releases come from.
    pub release_source: ReleaseSource,
    /// Rules of the linter that its configuration may break, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allowed: BTreeMap<String, String>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// How the QEMU builder runs its machines.
    pub machine: MachineSpec,
    /// What the QEMU builder's captured file is like.
    pub output: OutputSpec,
    /// Over everything after variables are filled in; secrets stand by name only.
    #[serde(skip)]
    pub digest: Digest,
}

/// What could be read of a definition.
pub struct Draft {
    /// The definition, without what could not be read: not to be baked where there are problems.
    pub definition: Definition,
    /// All that is wrong in it.
    pub problems: Option<Problems>,
}

/// Who bakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuilderKind {
    /// QEMU, on this computer.
    Qemu,
    /// Azure.
    Azure,
}

/// A definition that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// Its file could not be read.
    #[error("{}: {error}; expected an image's folder or its image.toml", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// Something in it is wrong: all that is.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

impl DefinitionError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

impl From<Problem> for DefinitionError {
    fn from(problem: Problem) -> Self {
        Self::Invalid(problem.into())
    }
}

impl Definition {
    /// Reads the definition in `folder_or_file`, with the values `given` for its variables.
    pub fn load(
        folder_or_file: &Path,
        given: &BTreeMap<String, String>,
    ) -> Result<Self, DefinitionError> {
        let Draft {
            definition,
            problems,
        } = Self::draft(folder_or_file, given)?;
        match problems {
            Some(problems) => Err(problems.into()),
            None => Ok(definition),
        }
    }

    /// Reads what can be read of the definition in `folder_or_file`, for a caller that has more to say of it. An error is a
    /// file that cannot be read, is no TOML, or is of another schema.
    pub fn draft(
        folder_or_file: &Path,
        given: &BTreeMap<String, String>,
    ) -> Result<Draft, DefinitionError> {
        let file = file_of(folder_or_file);
        let text = std::fs::read_to_string(&file).map_err(|error| DefinitionError::Read {
            path: file.clone(),
            error,
        })?;
        Ok(Self::parse_draft(&file, &text, given)?)
    }

    /// The names of the variables that a definition declares, so that a caller can look for their values. `None` where it
    /// cannot be read: [`Self::load`] says why.
    pub fn variable_names(folder_or_file: &Path) -> Option<Vec<String>> {
        let text = std::fs::read_to_string(file_of(folder_or_file)).ok()?;
        let table: toml::Table = text.parse().ok()?;
        let variables = table.get("variables").and_then(toml::Value::as_table);
        let names = variables.map(|variables| variables.keys().cloned().collect());
        Some(names.unwrap_or_default())
    }

    /// Reads a definition from its `text`, as [`Self::load`] does from the disk. `file` names the image and its folder, where the
    /// files lie that it names; it is not looked at itself.
    pub fn parse(
        file: &Path,
        text: &str,
        given: &BTreeMap<String, String>,
    ) -> Result<Self, Problems> {
        let Draft {
            definition,
            problems,
        } = Self::parse_draft(file, text, given)?;
        problems.map_or(Ok(definition), Err)
    }

    fn parse_draft(
        file: &Path,
        text: &str,
        given: &BTreeMap<String, String>,
    ) -> Result<Draft, Problem> {
        let mut root = Table::parse(file, text)?;
        root.schema(SCHEMA)?;
        let found = root.found.clone();
        let definition = Self::read(file, root, given);
        Ok(Draft {
            definition,
            problems: found.finish(),
        })
    }

    /// Reads `root`, the content of `file`. Problems are noted on the way, so that one does not hide another; what they
    /// concern is left out.
    fn read(file: &Path, mut root: Table, given: &BTreeMap<String, String>) -> Self {
        root.only(&KEYS);
        let found = root.found.clone();
        let start = Location::start_of(file);
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let name = found.value(image_name(&start, file)).unwrap_or_default();
        let declared = found.value(root.take_table("variables")).flatten();
        let variables = Variables::read(declared, &start, given, &found);
        let description = "what the image is, in a sentence";
        let description = root.required("description", description, |item| variables.text(item));
        let bases = found.value(bases(&mut root)).unwrap_or_default();
        let machines = found.value(PerBuilder::take(&mut root, "machine"));
        let outputs = found.value(PerBuilder::take(&mut root, "output"));
        let (machines, outputs) = (machines.unwrap_or_default(), outputs.unwrap_or_default());
        let qemu = bases
            .qemu
            .and_then(|base| found.value(base::read(base, &variables, &folder)));
        let of_azure = [bases.azure, machines.azure, outputs.azure];
        let azure = found
            .value(azure::read(&start, of_azure, &variables))
            .flatten();
        if let Some(azure) = &azure {
            found.value(azure::image_name(&start, &name, azure));
        }
        let releases = found.value(options::releases(&mut root, &variables));
        let source = options::release_source(&mut root, &variables, &folder);
        let allowed = found.value(options::allowed(&mut root, &variables));
        let steps = found.value(steps::read(&mut root, &variables, &folder));
        let mut definition = Self {
            name,
            description: description.unwrap_or_default(),
            qemu,
            azure,
            releases: releases.unwrap_or_default(),
            release_source: found.value(source).unwrap_or_default(),
            allowed: allowed.unwrap_or_default(),
            steps: steps.unwrap_or_default(),
            machine: options::machine(machines.qemu, &variables),
            output: options::output(outputs.qemu, &variables),
            variables: variables.into_values(),
            folder,
            file: file.to_owned(),
            digest: Digest::of([]),
        };
        definition.digest = Digest::of_value(&definition);
        definition
    }
}

/// The bases, of which there is at least one.
fn bases(root: &mut Table) -> Result<PerBuilder, Problem> {
    let item = root.need("base", "`[base.qemu]` or `[base.azure]`")?;
    let at = item.at.clone();
    let noted = item.found.clone();
    let before = noted.count();
    let bases = PerBuilder::of(item.table()?)?;
    if bases.qemu.is_none() && bases.azure.is_none() && noted.count() == before {
        return Err(at
            .problem("empty; expected `[base.qemu]` or `[base.azure]`")
            .hint("an image is baked from something"));
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

/// The image's name: of the folder, or of the file where it is not called `image.toml`.
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
        .hint("rename the folder"))
}

/// What the file is called.
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
