//! Problems in files that users write: `file:line: key: message`, with a separate hint.
//! Takes locations and texts, returns a [`Problem`] or a sorted list of them.
//! Which content is valid is left to the caller.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::terminal::visible_line;

/// The position of a key in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Path of the file, as the caller named it.
    pub file: Arc<Path>,
    /// Line number, from 1.
    pub line: usize,
    /// Key, as in `step[2].timeout_s`. Steps are counted from 1. Empty for the file as a whole.
    pub key: String,
}

impl Location {
    /// Returns the first line of `file`.
    pub(crate) fn start_of(file: &Path) -> Self {
        Self {
            file: file.into(),
            line: 1,
            key: String::new(),
        }
    }

    /// Returns the location of `key` below this one, on the same line.
    #[must_use]
    pub fn below(&self, key: &str) -> Self {
        let key = if self.key.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.key)
        };
        Self {
            key,
            ..self.clone()
        }
    }

    /// Creates a problem at this location.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem {
            location: self.clone(),
            message: message.into(),
            hint: None,
            reported: false,
        }
    }

    /// Creates a problem that follows from a reported one. It ends a read and is never shown.
    pub(crate) fn already_reported(&self) -> Problem {
        Problem {
            reported: true,
            ..self.problem("not read because of an earlier problem")
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)?;
        if self.key.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", Plain(&self.key))
        }
    }
}

/// A defect of a file. Displays as one line, without the hint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {}", Plain(message))]
pub struct Problem {
    /// Location of the defect.
    pub location: Location,
    /// The defect, and what was expected.
    pub message: String,
    /// The way out, as an imperative. It is shown apart from the message.
    pub hint: Option<String>,
    /// Whether the problem follows from another one, and is therefore not shown.
    reported: bool,
}

/// All problems of a user's files, by file and line. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Iterates over the problems in the order of files and lines.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Returns the hint of the first problem, if it has one.
    pub fn hint(&self) -> Option<String> {
        self.0.first().and_then(|problem| problem.hint.clone())
    }

    /// Sorts problems and removes duplicates. Returns `None` if none is left.
    pub(crate) fn from_unsorted(unsorted: impl IntoIterator<Item = Problem>) -> Option<Self> {
        let mut problems: Vec<Problem> = Vec::new();
        for problem in unsorted {
            if !problem.reported && !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        // The sort is stable: problems of one line keep the order in which they were found.
        problems.sort_by(|a, b| {
            (&a.location.file, a.location.line).cmp(&(&b.location.file, b.location.line))
        });
        (!problems.is_empty()).then_some(Self(problems))
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// Collects the problems of a file, so that reading can continue. Clones share one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProblemLog(Rc<RefCell<Vec<Problem>>>);

impl ProblemLog {
    /// Adds a problem to the list, unless it follows from a reported one.
    pub(crate) fn record(&self, problem: Problem) {
        if !problem.reported {
            self.0.borrow_mut().push(problem);
        }
    }

    /// Returns the number of problems so far.
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Returns the value, or records its problem and returns `None`.
    pub(crate) fn ok_or_record<T>(&self, read: Result<T, Problem>) -> Option<T> {
        read.map_err(|problem| self.record(problem)).ok()
    }

    /// Returns all values. Otherwise records each problem and returns one at `at` that is not
    /// shown.
    pub(crate) fn all_or_record<T>(
        &self,
        at: &Location,
        read: impl Iterator<Item = Result<T, Problem>>,
    ) -> Result<Vec<T>, Problem> {
        let values: Vec<Option<T>> = read.map(|read| self.ok_or_record(read)).collect();
        values
            .into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| at.already_reported())
    }

    /// Returns the collected problems, if there are any.
    pub(crate) fn problems(&self) -> Option<Problems> {
        Problems::from_unsorted(self.0.take())
    }

    /// Returns the value if no problem was collected.
    pub(crate) fn result_of<T>(&self, read: Result<T, Problem>) -> Result<T, Problems> {
        let value = self.ok_or_record(read);
        match (self.problems(), value) {
            (None, Some(value)) => Ok(value),
            (Some(problems), _) => Err(problems),
            (None, None) => unreachable!("a missing value has a problem"),
        }
    }
}

impl Problem {
    /// Sets the hint, as one line without control characters.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(visible_line(&hint.into()).to_string()),
            ..self
        }
    }

    /// Sets the hint to the closest match of `given` in `known`, or to `otherwise` without a match.
    #[must_use]
    pub(crate) fn with_suggestion<'a>(
        self,
        given: &str,
        known: impl IntoIterator<Item = &'a str>,
        otherwise: impl Into<String>,
    ) -> Self {
        let hint = closest_match(given, known)
            .map_or_else(|| otherwise.into(), |meant| format!("Write `{meant}`."));
        self.with_hint(hint)
    }
}

/// Returns the closest match of `given` in `known`.
///
/// Tries in this order: equality without case and dashes, a synonym, up to two typing errors,
/// and a common beginning.
pub fn closest_match<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    let plain = given.to_lowercase().replace('-', "_");
    let same = |name: &&&str| name.replace('-', "_") == plain;
    let is_synonym = |name: &&&str| {
        let words = SYNONYMS.iter().find(|(known, _)| *known == **name);
        words.is_some_and(|(_, words)| words.contains(&plain.as_str()))
    };
    let is_beginning = |name: &&&str| {
        let rest = name.strip_prefix(plain.as_str());
        rest.is_some_and(|rest| plain.len() >= 3 && rest.starts_with('_'))
    };
    let found = known.iter().find(same);
    found
        .or_else(|| known.iter().find(is_synonym))
        .copied()
        .or_else(|| nearest(&plain, known.iter().copied()))
        .or_else(|| known.iter().find(is_beginning).copied())
}

/// Returns the name of `known` with the fewest typing errors, at most two and half of `given`.
fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = MAX_TYPOS.min(given.chars().count() / 2);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(typos, name)| *typos <= limit && *typos < name.len())
        .min_by_key(|(typos, _)| *typos)
        .map(|(_, name)| name)
}

/// Formats names as a list: `` `a`, `b` ``.
pub(crate) fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        String::from("none")
    } else {
        names.join(", ")
    }
}

/// Returns what is expected of a name: ``one of `a`, `b` ``, or `none`.
pub(crate) fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter().peekable();
    match names.peek() {
        Some(_) => format!("one of {}", quoted_list(names)),
        None => "none".to_owned(),
    }
}

/// Returns the hint for a file that cannot be read.
pub(crate) fn read_hint(error: &std::io::Error, hint: &str) -> String {
    match error.kind() {
        std::io::ErrorKind::InvalidData => "Save the file as UTF-8.".to_owned(),
        _ => hint.to_owned(),
    }
}

/// Shows a text on one line: content of a file must not send line breaks or control sequences.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible_line(self.0))
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Words that other programs, or users, use instead of our keys.
const SYNONYMS: [(&str, &[&str]); 36] = [
    ("string", &["str", "text"]),
    ("integer", &["int", "number", "num"]),
    ("boolean", &["bool", "flag"]),
    (
        "list",
        &[
            "array",
            "strings",
            "list(string)",
            "set(string)",
            "set",
            "tuple",
        ],
    ),
    ("destination", &["to", "dest", "dst", "target", "path"]),
    ("file", &["source", "src", "from", "copy", "upload"]),
    ("shell", &["script", "sh", "bash", "run", "scripts"]),
    ("inline", &["command", "commands", "cmd", "run"]),
    ("provisioner", &["provision", "uses", "use", "module"]),
    ("ansible", &["playbook", "playbook_file"]),
    ("reboot", &["restart"]),
    ("env", &["environment", "environment_vars", "envs"]),
    (
        "inputs",
        &["input", "with", "vars", "variables", "parameters", "args"],
    ),
    ("variables", &["vars", "extra_vars", "variable", "var"]),
    ("timeout_s", &["timeout", "time_limit", "execute_timeout"]),
    (
        "boot_timeout_s",
        &["timeout", "ssh_timeout", "boot_timeout"],
    ),
    (
        "memory_mib",
        &[
            "memory",
            "mem",
            "ram",
            "memory_mb",
            "memory_gib",
            "memory_gb",
        ],
    ),
    ("cpus", &["cpu", "cores", "vcpus", "processors", "smp"]),
    (
        "disk_gib",
        &["disk", "disk_size", "disk_mib", "disk_gb", "size"],
    ),
    ("mode", &["permissions", "perm", "perms", "chmod"]),
    ("owner", &["user", "group", "chown"]),
    ("step", &["steps", "build", "provisioners"]),
    ("releases", &["release", "products", "versions"]),
    ("location", &["region"]),
    ("vm_size", &["size", "instance_type", "sku"]),
    ("sensitive", &["secret", "private"]),
    ("certificate", &["cert", "crt", "ca", "ca_cert"]),
    ("pins", &["pin_file", "file"]),
    ("nodes", &["count", "servers", "replicas", "size"]),
    ("front", &["frontend", "load_balancer", "lb", "proxy"]),
    ("valid_h", &["ttl", "validity"]),
    ("subnet", &["network", "cidr"]),
    ("containers", &["nspawn", "systemd_nspawn", "docker"]),
    ("machines", &["qemu", "vm", "vms", "kvm"]),
    ("shares", &["shamir"]),
    ("azurekeyvault", &["azure_key_vault", "keyvault"]),
];

/// Largest number of typing errors in a name that is still recognized.
const MAX_TYPOS: usize = 2;
