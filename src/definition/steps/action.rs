//! Reads the action of a `[[step]]` table: the key that selects it, and the keys that belong to it.
//! Returns the [`Action`] and the step's default name. Files that the step names are read here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Action, Entries, entries};
use crate::definition::document::{Item, Raw, Table};
use crate::definition::files::no_file;
use crate::definition::problem::{Location, Problem, quoted_list};
use crate::definition::variables::{Value, Variables};
use crate::definition::{files, script};
use crate::digest::Digest;

/// An action, the step's default name, and the lines of the action's entries.
pub(super) struct Read {
    pub(super) action: Action,
    pub(super) name: String,
    pub(super) lines: BTreeMap<String, usize>,
}

/// Reads the action of the step with this number, from 1.
pub(super) fn read(
    number: usize,
    table: &mut Table,
    variables: &Variables,
    folder: &Path,
) -> Result<Read, Problem> {
    let kind = kind(table)?;
    let known: Vec<&str> = [kind, "name", "timeout_s"]
        .into_iter()
        .chain(keys_of(kind).iter().copied())
        .collect();
    table.reject_unknown(&known);
    let item = table.require(kind, "the action of the step")?;
    match kind {
        "provisioner" => provisioner(item, table, variables),
        "shell" | "inline" => shell(kind, number, item, table, variables, folder),
        "file" => file(item, table, variables, folder),
        "ansible" => ansible(item, table, variables, folder),
        _ => reboot(number, item, variables),
    }
}

/// Returns the one key of `table` that selects the action.
fn kind(table: &Table) -> Result<&'static str, Problem> {
    let given: Vec<&'static str> = KINDS
        .into_iter()
        .filter(|kind| table.keys().any(|key| key == *kind))
        .collect();
    match given.as_slice() {
        [kind] => Ok(kind),
        [] => {
            let problem = table.at.problem(format!(
                "does nothing; expected exactly one of {}",
                quoted_list(KINDS)
            ));
            // The likely reason is a typing error in that key.
            let unknown = table.keys().find(|key| !ALL_OTHER_KEYS.contains(key));
            Err(problem.with_suggestion(
                unknown.unwrap_or_default(),
                KINDS,
                "Add an action, as in `provisioner = \"base\"`.",
            ))
        }
        several => Err(table
            .at
            .problem(format!(
                "does {} things, {}; expected exactly one of {}",
                several.len(),
                quoted_list(several.iter().copied()),
                quoted_list(KINDS)
            ))
            .with_hint("Write one `[[step]]` for each.")),
    }
}

fn keys_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "provisioner" => &["inputs"],
        "shell" | "inline" => &["env"],
        "file" => &["destination", "mode", "owner"],
        "ansible" => &["variables"],
        _ => &[],
    }
}

fn provisioner(item: Item, table: &mut Table, variables: &Variables) -> Result<Read, Problem> {
    let provisioner = variables.text(item)?;
    let Entries {
        values: inputs,
        lines,
    } = entries(table, "inputs", variables, |_, _| Ok(()))?;
    Ok(Read {
        name: provisioner.clone(),
        action: Action::Provisioner {
            provisioner,
            inputs,
        },
        lines,
    })
}

fn shell(
    kind: &str,
    number: usize,
    item: Item,
    table: &mut Table,
    variables: &Variables,
    folder: &Path,
) -> Result<Read, Problem> {
    let (at, found) = (item.at.clone(), item.found.clone());
    let script = if kind == "inline" {
        inline(item, variables).map(|script| (format!("inline-{number}"), script))
    } else {
        file_script(item, variables, folder)
    };
    let script = script.and_then(|(name, script)| {
        if script.trim().is_empty() {
            return Err(at
                .problem("an empty script; expected POSIX sh")
                .with_hint("Remove the step."));
        }
        variables.refuse_caller_variables(&at, &script)?;
        Ok((name, script))
    });
    let script = found.ok_or_record(script);
    let Entries { values: env, lines } = entries(table, "env", variables, environment_name)?;
    if let Some((name, _)) = env
        .iter()
        .find(|(_, value)| matches!(value, Value::Plain(value) if value.is_array()))
    {
        return Err(entry_location(table, "env", name, &lines)
            .problem("a list; expected text, an integer, or true or false")
            .with_hint("Write `{{ var.NAME | join(\" \") }}`."));
    }
    let (name, script) = script.ok_or_else(|| at.already_reported())?;
    Ok(Read {
        action: Action::Shell { script, env },
        name,
        lines,
    })
}

/// Reads the script of an `inline` step: one text, or a list of lines.
fn inline(item: Item, variables: &Variables) -> Result<String, Problem> {
    let at = item.at.clone();
    let text = match &item.raw {
        Raw::List(_) => {
            let lines = variables.texts(item)?.into_iter();
            lines.map(|(_, line)| line + "\n").collect()
        }
        _ => variables.text(item)?,
    };
    match script::windows_line(text.as_bytes()) {
        None => Ok(text),
        Some(line) => Err(script::refused(
            &at,
            &format!("line {line} of the script ends with a carriage return"),
        )
        .with_hint(
            "Save the file with LF line ends. To print a carriage return, use `printf '\\r'`.",
        )),
    }
}

/// Reads the name and text of a script in a file.
fn file_script(
    item: Item,
    variables: &Variables,
    folder: &Path,
) -> Result<(String, String), Problem> {
    let at = item.at.clone();
    let path = PathBuf::from(variables.text(item)?);
    let bytes = content(&at, folder, &path)?;
    script::unix_lines(&folder.join(&path), &bytes)?;
    let script = String::from_utf8(bytes).map_err(|_| {
        at.problem(format!("{} is not text; expected a script", path.display()))
            .with_hint("Install a program with a `file` step, and run it from a script.")
    })?;
    Ok((file_name(&path), script))
}

fn file(
    item: Item,
    table: &mut Table,
    variables: &Variables,
    folder: &Path,
) -> Result<Read, Problem> {
    let (at, found) = (item.at.clone(), item.found.clone());
    let source = variables.text(item).and_then(|source| {
        let source = PathBuf::from(source);
        if folder.join(&source).is_dir() {
            return Err(at
                .problem(format!(
                    "{} is a folder; a file step takes one file",
                    folder.join(&source).display()
                ))
                .with_hint("Write one `[[step]]` for each file, or install an archive and unpack it in a script."));
        }
        Ok((content(&at, folder, &source)?, source))
    });
    let source = found.ok_or_record(source);
    let destination = table.required("destination", "the absolute path in the image", |item| {
        let at = item.at.clone();
        files::destination(&at, variables.text(item)?)
    });
    let mut mode = 0o644;
    table.read_into("mode", &mut mode, |item| {
        let at = item.at.clone();
        files::mode(&at, &variables.text(item)?)
    });
    let mut owner = String::from("root:root");
    table.read_into("owner", &mut owner, |item| {
        let at = item.at.clone();
        files::owner(&at, variables.text(item)?)
    });
    let ((content, source), destination) = source
        .zip(destination)
        .ok_or_else(|| at.already_reported())?;
    Ok(Read {
        name: file_name(&source),
        action: Action::File {
            source,
            sha256: Digest::hash_bytes(&content),
            content,
            destination,
            mode,
            owner,
        },
        lines: BTreeMap::new(),
    })
}

fn ansible(
    item: Item,
    table: &mut Table,
    variables: &Variables,
    folder: &Path,
) -> Result<Read, Problem> {
    let at = item.at.clone();
    let playbook = PathBuf::from(variables.text(item)?);
    let path = folder.join(&playbook);
    let bytes = content(&at, folder, &playbook)?;
    // The folder of a playbook has its roles and files, unless it is the definition's folder.
    let playbook_folder = path.parent().filter(|parent| *parent != folder);
    let sha256 = match playbook_folder {
        Some(parent) => files::digest_of_folder(parent).map_err(|(path, error)| {
            at.problem(format!("cannot read {}: {error}", path.display()))
                .with_hint(
                    "Make all files in the playbook's folder readable: they are part of the step.",
                )
        })?,
        None => Digest::hash_bytes(&bytes),
    };
    let Entries {
        values: extra,
        lines,
    } = entries(table, "variables", variables, ansible_name)?;
    Ok(Read {
        name: file_name(&playbook),
        action: Action::Ansible {
            playbook,
            sha256,
            variables: extra,
        },
        lines,
    })
}

fn reboot(number: usize, item: Item, variables: &Variables) -> Result<Read, Problem> {
    let at = item.at.clone();
    match variables.value(item)? {
        Value::Plain(serde_json::Value::Bool(true)) => Ok(Read {
            action: Action::Reboot,
            name: format!("reboot-{number}"),
            lines: BTreeMap::new(),
        }),
        _ => Err(at
            .problem("expected `reboot = true`")
            .with_hint("To skip the restart, remove the step.")),
    }
}

/// Reads a file that the definition names.
fn content(at: &Location, folder: &Path, path: &Path) -> Result<Vec<u8>, Problem> {
    let whole = folder.join(path);
    let meta = std::fs::metadata(&whole)
        .ok()
        .filter(std::fs::Metadata::is_file)
        .ok_or_else(|| no_file(at, folder, path))?;
    if meta.len() > files::LARGEST_BYTES {
        return Err(at
            .problem(format!(
                "{} has {} bytes; expected at most {}",
                whole.display(),
                meta.len(),
                files::LARGEST_BYTES
            ))
            .with_hint("Download and verify the file in a script."));
    }
    std::fs::read(&whole).map_err(|error| {
        at.problem(format!("cannot read {}: {error}", whole.display()))
            .with_hint("Name a readable file, relative to the definition's folder.")
    })
}

fn environment_name(at: &Location, name: &str) -> Result<(), Problem> {
    if name.starts_with("VB_") {
        return Err(at
            .problem(
                "names that begin with `VB_` are reserved for vault-bake; expected another one",
            )
            .with_hint(
                "Rename it. docs/definition.md lists the variables that every script gets.",
            ));
    }
    identifier(at, name, "an environment variable")
}

fn ansible_name(at: &Location, name: &str) -> Result<(), Problem> {
    identifier(at, name, "an ansible variable")
}

fn identifier(at: &Location, name: &str, what: &str) -> Result<(), Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(plain) {
        return Ok(());
    }
    Err(at
        .problem(format!(
            "cannot name {what}; expected letters, digits and `_`"
        ))
        .with_hint("Use a name such as `HTTP_PROXY`."))
}

fn entry_location(
    table: &Table,
    key: &str,
    name: &str,
    lines: &BTreeMap<String, usize>,
) -> Location {
    Location {
        line: lines.get(name).copied().unwrap_or(table.at.line),
        ..table.at.below(key).below(name)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

const KINDS: [&str; 6] = [
    "provisioner",
    "shell",
    "inline",
    "file",
    "ansible",
    "reboot",
];
const ALL_OTHER_KEYS: [&str; 8] = [
    "name",
    "timeout_s",
    "inputs",
    "env",
    "destination",
    "mode",
    "owner",
    "variables",
];
