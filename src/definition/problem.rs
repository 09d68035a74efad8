//! What is wrong in a file that a person wrote, and where.
//!
//! In: a place and words. Out: a [`Problem`] that reads `file:line: key: what` and a hint. Deliberately knows
//! nothing of what the file is for.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::terminal::visible_line;

/// A key in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file, as the caller named it.
    pub file: Arc<Path>,
    /// Its line, from 1.
    pub line: usize,
    /// The key, as in `step[2].timeout_s`; steps are counted from 1. Empty where the file as a whole is meant.
    pub key: String,
}

impl Location {
    /// The beginning of `file`.
    pub fn start_of(file: &Path) -> Self {
        Self {
            file: file.into(),
            line: 1,
            key: String::new(),
        }
    }

    /// The same place, for a key below this one.
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

    /// Something wrong here.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem {
            place: self.clone(),
            message: message.into(),
            hint: None,
            told: false,
        }
    }

    /// What follows here from a problem that was noted already: it ends the reading of a value, and is not told.
    pub(crate) fn described(&self) -> Problem {
        Problem {
            told: true,
            ..self.problem("not read, for a reason that was given before")
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

/// Something wrong in a file. Shows as one line, and a second one with the hint where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {}{}", Plain(message), second_line(hint.as_deref()))]
pub struct Problem {
    /// Where.
    pub place: Location,
    /// What, and what was expected.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether it follows from another one, and is not told itself.
    told: bool,
}

/// All that is wrong in files that a person wrote, by file and line. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Those of `several`, where there is one.
    pub(crate) fn of(several: impl IntoIterator<Item = Problem>) -> Option<Self> {
        let mut problems: Vec<Problem> = Vec::new();
        for problem in several {
            if !problem.told && !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        // Stable: those of one line stay in the order in which they were found.
        problems.sort_by(|a, b| (&a.place.file, a.place.line).cmp(&(&b.place.file, b.place.line)));
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

/// The problems of a file, noted while it is read on. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found(Rc<RefCell<Vec<Problem>>>);

impl Found {
    /// Notes a problem.
    pub(crate) fn note(&self, problem: Problem) {
        if !problem.told {
            self.0.borrow_mut().push(problem);
        }
    }

    /// How many were noted.
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// The value; or nothing, after its problem was noted.
    pub(crate) fn value<T>(&self, read: Result<T, Problem>) -> Option<T> {
        read.map_err(|problem| self.note(problem)).ok()
    }

    /// All values; or, after the problem of each was noted, one at `at` that is not told again.
    pub(crate) fn all<T>(
        &self,
        at: &Location,
        read: impl Iterator<Item = Result<T, Problem>>,
    ) -> Result<Vec<T>, Problem> {
        let values: Vec<Option<T>> = read.map(|read| self.value(read)).collect();
        values
            .into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| at.described())
    }

    /// All that was noted, where something was.
    pub(crate) fn finish(&self) -> Option<Problems> {
        Problems::of(self.0.take())
    }

    /// What was read, where nothing was noted.
    pub(crate) fn end<T>(&self, read: Result<T, Problem>) -> Result<T, Problems> {
        let value = self.value(read);
        match (self.finish(), value) {
            (None, Some(value)) => Ok(value),
            (Some(problems), _) => Err(problems),
            (None, None) => unreachable!("what was not read has a problem"),
        }
    }
}

impl Problem {
    /// The same problem with a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The same problem; the hint is the one of `known` that `given` was perhaps meant to be, or else `otherwise`.
    #[must_use]
    pub fn did_you_mean<'a>(
        self,
        given: &str,
        known: impl IntoIterator<Item = &'a str>,
        otherwise: impl Into<String>,
    ) -> Self {
        let hint = meant(given, known).map_or_else(
            || otherwise.into(),
            |meant| format!("did you mean `{meant}`?"),
        );
        self.hint(hint)
    }
}

/// The one of `known` that `given` was perhaps meant to be: the same but for case and dashes, another word for it, a
/// few slips away, or its beginning.
pub fn meant<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    let plain = given.to_lowercase().replace('-', "_");
    let same = |name: &&&str| name.replace('-', "_") == plain;
    let other_word = |name: &&&str| {
        let words = WORDS.iter().find(|(known, _)| *known == **name);
        words.is_some_and(|(_, words)| words.contains(&plain.as_str()))
    };
    let begins = |name: &&&str| {
        let rest = name.strip_prefix(plain.as_str());
        rest.is_some_and(|rest| plain.len() >= 3 && rest.starts_with('_'))
    };
    let found = known.iter().find(same);
    found
        .or_else(|| known.iter().find(other_word))
        .copied()
        .or_else(|| nearest(&plain, known.iter().copied()))
        .or_else(|| known.iter().find(begins).copied())
}

/// The one of `known` that is at most two slips away from `given`, and more alike than not.
fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = FURTHEST_SLIPS.min(given.chars().count() / 2);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(slips, name)| *slips <= most && *slips < name.len())
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}

/// Names as a list for people: `` `a`, `b` ``.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        String::from("none")
    } else {
        names.join(", ")
    }
}

/// A text on one line: what a file says may not break the line, nor tell the terminal what to do.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible_line(self.0))
    }
}

fn second_line(hint: Option<&str>) -> String {
    hint.map_or_else(String::new, |hint| format!("\nhint: {}", Plain(hint)))
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// What other programs call some of our words, or people do.
const WORDS: [(&str, &[&str]); 26] = [
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
];

/// More slips than this make another word.
const FURTHEST_SLIPS: usize = 2;
