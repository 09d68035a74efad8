//! Steps: the ordered `[[step]]` tables.
//!
//! In: the tables, and the files that they name. Out: [`Step`]s that carry all they need. Deliberately does not look
//! at provisioners: whether one exists, and what its inputs may be, is for the plan.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::action;
use super::document::Table;
use super::problem::{Location, Problem};
use super::variables::{Value, Variables};
use crate::digest::Digest;

/// One step of the definition.
#[derive(Serialize)]
pub struct Step {
    /// Unique, and a plain file name. Default: the provisioner's, the file's, or the action's and the step's number.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// At the most, in seconds; `None` leaves it to the plan.
    pub timeout_s: Option<u64>,
    /// Where it stands.
    #[serde(skip)]
    pub at: Location,
    /// The lines of its entries of `inputs`, `env` or `variables`.
    #[serde(skip)]
    pub(super) lines: BTreeMap<String, usize>,
}

impl Step {
    /// Where the entry `name` of its `inputs` stands; the step itself where it has no such entry.
    pub fn input_at(&self, name: &str) -> Location {
        let at = self.at.below("inputs").below(name);
        Location {
            line: self.lines.get(name).copied().unwrap_or(self.at.line),
            ..at
        }
    }
}

/// What a step does.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Action {
    /// A shipped or user's provisioner with its inputs.
    Provisioner {
        /// Its name.
        provisioner: String,
        /// Inputs given.
        inputs: BTreeMap<String, Value>,
    },
    /// A script of the user's.
    Shell {
        /// Its text.
        script: String,
        /// Environment.
        env: BTreeMap<String, Value>,
    },
    /// A file of the user's to put into the image.
    File {
        /// On this machine, as written.
        source: PathBuf,
        /// Of its content.
        sha256: Digest,
        /// Its content.
        #[serde(skip)]
        content: Vec<u8>,
        /// In the image.
        destination: String,
        /// As in 0o644.
        mode: u32,
        /// As in `root:root`.
        owner: String,
    },
    /// A playbook of the user's, run by `ansible-playbook` on this machine.
    Ansible {
        /// On this machine, as written: it starts at the definition's folder.
        playbook: PathBuf,
        /// Of the playbook, and of all files beside and below it where it has a folder of its own.
        sha256: Digest,
        /// Extra variables.
        variables: BTreeMap<String, Value>,
    },
    /// Restart the machine and wait until it runs a new boot.
    Reboot,
}

/// Reads the steps; those that cannot be read are left out, and their problems noted.
pub(super) fn read(
    root: &mut Table,
    variables: &Variables,
    folder: &Path,
) -> Result<Vec<Step>, Problem> {
    let item = root.need("step", "`[[step]]`")?;
    let at = item.at.clone();
    let items = item.list()?;
    if items.is_empty() {
        return Err(at
            .problem("no steps; expected at least one `[[step]]`")
            .hint("the last one is `provisioner = \"seal\"`"));
    }
    let mut names: HashMap<String, usize> = HashMap::new();
    let found = root.found.clone();
    let read = items.into_iter().enumerate().map(|(index, item)| {
        let step = step(index + 1, item.table()?, variables, folder)?;
        if let Some(first) = names.insert(step.name.clone(), step.at.line) {
            return Err(step
                .at
                .below("name")
                .problem(format!(
                    "`{}` is the name of the step at line {first} too; expected another one",
                    step.name
                ))
                .hint("give one of them `name = \"…\"`"));
        }
        Ok(step)
    });
    Ok(read.filter_map(|read| found.value(read)).collect())
}

fn step(
    number: usize,
    mut table: Table,
    variables: &Variables,
    folder: &Path,
) -> Result<Step, Problem> {
    let (at, found) = (table.at.clone(), table.found.clone());
    let read = found.value(action::read(number, &mut table, variables, folder));
    let name = match table.take("name") {
        Some(item) => {
            let at = item.at.clone();
            let name = variables.text(item).and_then(|name| step_name(&at, name));
            found.value(name)
        }
        None => read
            .as_ref()
            .and_then(|read| found.value(step_name(&at.below("name"), read.name.clone()))),
    };
    let mut timeout_s = None;
    table.set("timeout_s", &mut timeout_s, |item| {
        let seconds = variables.integer(item, 1, LONGEST_TIMEOUT_S)?;
        Ok(Some(u64::from(seconds)))
    });
    let (read, name) = read.zip(name).ok_or_else(|| at.described())?;
    Ok(Step {
        name,
        action: read.action,
        timeout_s,
        at,
        lines: read.lines,
    })
}

/// A step's files lie in a folder of its name.
fn step_name(at: &Location, name: String) -> Result<String, Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(plain)
    {
        return Ok(name);
    }
    Err(at
        .problem(format!(
            "`{name}` cannot name a step; expected at most {LONGEST_NAME} letters, digits, `.`, `_` or `-`"
        ))
        .hint("give it `name = \"…\"`"))
}

/// Values for a script, and the lines at which they stand, by name.
pub(super) struct Entries {
    pub(super) values: BTreeMap<String, Value>,
    pub(super) lines: BTreeMap<String, usize>,
}

/// Reads a table of values for a script. `judge` looks at each name.
pub(super) fn entries(
    table: &mut Table,
    key: &str,
    variables: &Variables,
    judge: impl Fn(&Location, &str) -> Result<(), Problem>,
) -> Result<Entries, Problem> {
    let mut lines = BTreeMap::new();
    let items = table.take_table(key)?.map(Table::items).unwrap_or_default();
    let read = items.into_iter().map(|(name, item)| {
        judge(&item.at, &name)?;
        lines.insert(name.clone(), item.at.line);
        let at = item.at.clone();
        let value = variables.value(item)?;
        if matches!(&value, Value::Plain(value) if value.as_str().is_some_and(|text| text.contains('\0')))
        {
            return Err(at
                .problem("contains a NUL character; expected text")
                .hint("scripts cannot hold one: write it in another form, such as base64"));
        }
        Ok((name, value))
    });
    let values = table.found.all(&table.at, read)?.into_iter().collect();
    Ok(Entries { values, lines })
}

const LONGEST_TIMEOUT_S: u32 = 24 * 3600;
const LONGEST_NAME: usize = 64;
