//! Reads the `[[step]]` tables and the files that they name into [`Step`]s.
//! The plan checks that provisioners exist and accept the inputs.

mod action;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::document::Table;
use super::problem::{Location, Problem};
use super::variables::{Value, Variables};
use crate::digest::Digest;

/// One step of the definition.
#[derive(Serialize)]
pub struct Step {
    /// Unique name, which is also a plain file name. By default the name of the provisioner or
    /// file, or the action with the number of the step.
    pub name: String,
    /// Action of the step.
    pub action: Action,
    /// Time limit in seconds. `None` is the default of the action.
    pub timeout_s: Option<u64>,
    /// Location of the step.
    #[serde(skip)]
    pub at: Location,
    /// Lines of the entries of `inputs`, `env` or `variables`, by entry name.
    #[serde(skip)]
    pub(super) lines: BTreeMap<String, usize>,
}

impl Step {
    /// Returns the location of the entry `name` of `inputs`, on the step's line if it is not set.
    pub(crate) fn input_at(&self, name: &str) -> Location {
        let at = self.at.below("inputs").below(name);
        Location {
            line: self.lines.get(name).copied().unwrap_or(self.at.line),
            ..at
        }
    }
}

/// The action of a step.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Action {
    /// Runs a provisioner.
    Provisioner {
        /// Name of the provisioner.
        provisioner: String,
        /// Inputs that the step sets, by name.
        inputs: BTreeMap<String, Value>,
    },
    /// Runs a script of the user.
    Shell {
        /// Text of the script.
        script: String,
        /// Environment variables, by name.
        env: BTreeMap<String, Value>,
    },
    /// Copies a file of the user into the image.
    File {
        /// Path on the host, as the definition has it.
        source: PathBuf,
        /// Digest of the content.
        sha256: Digest,
        /// Content of the file.
        #[serde(skip)]
        content: Vec<u8>,
        /// Absolute path in the image.
        destination: String,
        /// Mode in the image, as in 0o644.
        mode: u32,
        /// Owner in the image, as in `root:root`.
        owner: String,
    },
    /// Runs a playbook of the user with `ansible-playbook` on the host.
    Ansible {
        /// Path on the host, from the definition's folder.
        playbook: PathBuf,
        /// Digest of the playbook. If it is in a subfolder, digest of all files of that folder.
        sha256: Digest,
        /// Extra variables, by name.
        variables: BTreeMap<String, Value>,
    },
    /// Restarts the build VM and waits for the next boot.
    Reboot,
}

/// Reads the valid steps, and records the problems of the others.
pub(super) fn read(
    root: &mut Table,
    variables: &Variables,
    folder: &Path,
) -> Result<Vec<Step>, Problem> {
    let item = root.require("step", "`[[step]]`")?;
    let at = item.at.clone();
    let items = item.list()?;
    if items.is_empty() {
        return Err(at
            .problem("no steps; expected at least one `[[step]]`")
            .with_hint("Add steps. The last one is `provisioner = \"seal\"`."));
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
                    "`{}` is also the name of the step at line {first}; expected another one",
                    step.name
                ))
                .with_hint("Add `name = \"…\"` to one of them."));
        }
        Ok(step)
    });
    Ok(read.filter_map(|read| found.ok_or_record(read)).collect())
}

fn step(
    number: usize,
    mut table: Table,
    variables: &Variables,
    folder: &Path,
) -> Result<Step, Problem> {
    let (at, found) = (table.at.clone(), table.found.clone());
    let read = found.ok_or_record(action::read(number, &mut table, variables, folder));
    let name = match table.take("name") {
        Some(item) => {
            let at = item.at.clone();
            let name = variables.text(item).and_then(|name| step_name(&at, name));
            found.ok_or_record(name)
        }
        None => read
            .as_ref()
            .and_then(|read| found.ok_or_record(step_name(&at.below("name"), read.name.clone()))),
    };
    let mut timeout_s = None;
    table.read_into("timeout_s", &mut timeout_s, |item| {
        let seconds = variables.integer(item, 1, LONGEST_TIMEOUT_S)?;
        Ok(Some(u64::from(seconds)))
    });
    let (read, name) = read.zip(name).ok_or_else(|| at.already_reported())?;
    Ok(Step {
        name,
        action: read.action,
        timeout_s,
        at,
        lines: read.lines,
    })
}

/// Checks the name of a step, which is also the name of its folder in the build VM.
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
        .with_hint("Set `name = \"…\"`."))
}

/// Values for a script and their lines, by name.
pub(super) struct Entries {
    pub(super) values: BTreeMap<String, Value>,
    pub(super) lines: BTreeMap<String, usize>,
}

/// Reads a table of values for a script. `check` accepts or refuses each name.
pub(super) fn entries(
    table: &mut Table,
    key: &str,
    variables: &Variables,
    check: impl Fn(&Location, &str) -> Result<(), Problem>,
) -> Result<Entries, Problem> {
    let mut lines = BTreeMap::new();
    let items = table.take_table(key)?.map(Table::items).unwrap_or_default();
    let read = items.into_iter().map(|(name, item)| {
        check(&item.at, &name)?;
        lines.insert(name.clone(), item.at.line);
        let at = item.at.clone();
        let value = variables.value(item)?;
        if matches!(&value, Value::Plain(value) if value.as_str().is_some_and(|text| text.contains('\0')))
        {
            return Err(at
                .problem("contains a NUL character; expected text")
                .with_hint("Encode the value, for example with base64."));
        }
        Ok((name, value))
    });
    let values = table
        .found
        .all_or_record(&table.at, read)?
        .into_iter()
        .collect();
    Ok(Entries { values, lines })
}

const LONGEST_TIMEOUT_S: u32 = 24 * 3600;
const LONGEST_NAME: usize = 64;
