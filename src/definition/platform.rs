//! What definitions, locks and plans know of platforms: a [`Platform`] reads its own tables, locks
//! its own base, and plans its own machine. To all others these are JSON.

use std::path::Path;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::Definition;
use super::document::{Item, Raw, Table};
use super::problem::{Location, Problem};
use super::variables::Variables;
use crate::event::Events;
use crate::release::Architecture;
use crate::wait::Interrupt;

/// A platform on which images are built.
pub trait Platform: Send + Sync {
    /// Returns its name: of its tables, of `--builder`, and in records. For example `qemu`.
    fn name(&self) -> &'static str;

    /// Reads its tables. Returns `None` if the definition has no base for it.
    fn read(&self, tables: Tables, reading: &Reading<'_>) -> Result<Option<Parts>, Problem>;

    /// Looks up the exact base that `parts` name, as `image.lock` has it.
    fn lock<'a>(
        &'a self,
        parts: &'a Parts,
        context: LockContext<'a>,
    ) -> BoxFuture<'a, Result<toml::Table, BaseError>>;

    /// Plans a build from the locked base.
    fn plan(
        &self,
        definition: &Definition,
        parts: &Parts,
        locked: &toml::Table,
    ) -> Result<Target, Unplannable>;

    /// Checks its base in `text`, a lock file, so that an error has its place in the file.
    fn check_locked(&self, text: &str) -> Result<(), toml::de::Error> {
        let _ = text;
        Ok(())
    }

    /// Returns the parts on which a lock depends. If they change, the lock is stale.
    fn locked_parts(&self, parts: &Parts) -> Vec<Json> {
        vec![parts.base.clone()]
    }

    /// Returns its part of what the digest of a definition covers, by key.
    fn digested(&self, parts: Option<&Parts>) -> Map<String, Json> {
        let parts = parts.map(|parts| serde_json::json!(parts));
        let entry = parts.map(|parts| (self.name().to_owned(), parts));
        entry.into_iter().collect()
    }
}

/// The platforms of a program, in the order in which they are shown.
pub struct Platforms(Vec<Box<dyn Platform>>);

impl Platforms {
    /// Makes a list. Each has a name of its own.
    pub fn new(all: Vec<Box<dyn Platform>>) -> Self {
        Self(all)
    }

    /// Iterates over the platforms.
    pub fn iter(&self) -> impl Iterator<Item = &(dyn Platform + 'static)> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Returns the names.
    pub fn names(&self) -> Vec<&'static str> {
        self.iter().map(Platform::name).collect()
    }

    /// Finds a platform.
    pub fn find(&self, name: &str) -> Option<&dyn Platform> {
        self.iter().find(|platform| platform.name() == name)
    }
}

/// The tables `[base.NAME]`, `[machine.NAME]` and `[output.NAME]` of a platform.
#[derive(Default)]
pub struct Tables {
    pub(crate) base: Option<Table>,
    pub(crate) machine: Option<Table>,
    pub(crate) output: Option<Table>,
}

/// The definition around the tables of a platform.
pub struct Reading<'a> {
    /// Name of the image.
    pub image: &'a str,
    /// Folder of the definition, which relative paths start from.
    pub folder: &'a Path,
    /// First line of the file.
    pub(crate) start: &'a Location,
    pub(crate) variables: &'a Variables,
}

impl Tables {
    /// Tells if the definition has no table for the platform.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.machine.is_none() && self.output.is_none()
    }

    /// Reads `[base.NAME]` into a type, with variables filled in.
    pub fn base<T: DeserializeOwned>(
        &mut self,
        reading: &Reading<'_>,
    ) -> Result<Option<T>, Problem> {
        parse(self.base.take(), reading)
    }

    /// Reads `[machine.NAME]` into a type, with variables filled in.
    pub fn machine<T: DeserializeOwned>(
        &mut self,
        reading: &Reading<'_>,
    ) -> Result<Option<T>, Problem> {
        parse(self.machine.take(), reading)
    }

    /// Reads `[output.NAME]` into a type, with variables filled in.
    pub fn output<T: DeserializeOwned>(
        &mut self,
        reading: &Reading<'_>,
    ) -> Result<Option<T>, Problem> {
        parse(self.output.take(), reading)
    }
}

fn parse<T: DeserializeOwned>(
    table: Option<Table>,
    reading: &Reading<'_>,
) -> Result<Option<T>, Problem> {
    let Some(table) = table else { return Ok(None) };
    let at = table.at.clone();
    let json = json_of_table(table, reading.variables)?;
    let parsed = serde_json::from_value(json);
    parsed
        .map(Some)
        .map_err(|error| at.problem(error.to_string()))
}

fn json_of_table(table: Table, variables: &Variables) -> Result<Json, Problem> {
    let items = table.items().into_iter();
    let entries = items.map(|(key, item)| Ok::<_, Problem>((key, json_of(item, variables)?)));
    entries.collect::<Result<Map<_, _>, _>>().map(Json::Object)
}

fn json_of(item: Item, variables: &Variables) -> Result<Json, Problem> {
    match item.raw {
        Raw::Table(_) => json_of_table(item.table()?, variables),
        Raw::List(_) => {
            let items = item.list()?.into_iter();
            items.map(|item| json_of(item, variables)).collect()
        }
        _ => variables.plain(item),
    }
}

/// The tables of a platform with variables and defaults filled in, each as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parts {
    /// The base.
    pub base: Json,
    /// The build VM. It has the key `boot_timeout_s`.
    pub machine: Json,
    /// The artifacts.
    pub output: Json,
}

/// The firmware of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// BIOS (SeaBIOS).
    Bios,
    /// UEFI (OVMF).
    Uefi,
}

/// A build as far as it depends on its platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The base. Paths start at the working directory.
    pub base: PlannedBase,
    /// The architecture of its programs.
    pub architecture: Architecture,
    /// The build VM.
    pub machine: PlannedMachine,
    /// The VM of the boot test.
    pub test_machine: PlannedMachine,
    /// The artifacts.
    pub output: PlannedOutput,
    /// Whether steps may get files from the network.
    pub downloads: bool,
    /// Further parts in which two builds of the same lock file may differ, in words.
    pub not_pinned: Vec<String>,
    /// The lines that show it in a printed plan, each without a line break.
    pub lines: TargetLines,
}

/// The lines of a target in a printed plan. Those after the first of each are further details.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetLines {
    /// The base.
    pub base: Vec<String>,
    /// The build VM.
    pub machine: String,
    /// Each artifact.
    pub output: Vec<String>,
}

/// Returns the text of a value that is written as one word, such as `trusted-launch`.
pub(crate) fn word(value: &impl Serialize) -> String {
    let text = serde_json::json!(value);
    text.as_str().unwrap_or_default().to_owned()
}

/// The base of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedBase {
    /// Base as the definition has it.
    pub wanted: Json,
    /// Base as the lock file has it.
    pub locked: Json,
}

/// The machine of a plan or a boot test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlannedMachine(pub Json);

/// The artifacts of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PlannedOutput(pub Json);

impl PlannedMachine {
    /// Returns the longest time until the VM answers on SSH, in seconds.
    pub fn boot_timeout_s(&self) -> u64 {
        boot_timeout_s(&self.0).unwrap_or(BOOT_TIMEOUT_S)
    }
}

/// Returns the longest time until a VM of a platform answers on SSH, in seconds.
pub(crate) fn boot_timeout_s(machine: &Json) -> Option<u64> {
    machine["boot_timeout_s"].as_u64()
}

/// The longest time until a VM answers on SSH, in seconds, if its platform names none.
pub(crate) const BOOT_TIMEOUT_S: u64 = 300;

/// The context of a lookup.
#[derive(Clone, Copy)]
pub struct LockContext<'a> {
    /// The time, which decides if an index has expired.
    pub now: Timestamp,
    /// Receives notes and warnings.
    pub events: &'a Events,
    /// Ends it early.
    pub interrupt: &'a Interrupt,
}

/// A base that cannot be locked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BaseError {
    /// The kind of failure.
    pub kind: BaseErrorKind,
    /// The base and the reason.
    pub message: String,
    /// The way out, as an imperative.
    pub hint: Option<String>,
}

/// The kind of a failure to lock a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseErrorKind {
    /// It was not found, or does not fit.
    Failed,
    /// It is not signed by whom it should be.
    Integrity,
    /// The user interrupted the lookup.
    Interrupted,
}

/// A base that cannot be planned.
#[derive(Debug)]
pub enum Unplannable {
    /// A value of the definition that a build needs.
    Problem(Problem),
    /// The lock does not fit: the part that does not, as in `its base is not that of image.toml`.
    Lock(&'static str),
}
