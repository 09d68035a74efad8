//! What is wrong in a file that a person wrote, and where.
//!
//! In: a place and words. Out: a [`Problem`] that reads `file:line: key: what` and a hint. Deliberately knows
//! nothing of what the file is for.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

/// A key in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as the caller named it.
    pub file: Arc<Path>,
    /// Its line, from 1.
    pub line: usize,
    /// The key, as in `step[2].timeout_s`; steps are counted from 1. Empty where the file as a whole is meant.
    pub key: String,
}

impl Place {
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
        }
    }
}

impl fmt::Display for Place {
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
    pub place: Place,
    /// What, and what was expected.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
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
        let hint = nearest(given, known).map_or_else(
            || otherwise.into(),
            |nearest| format!("did you mean `{nearest}`?"),
        );
        self.hint(hint)
    }
}

/// The one of `known` that is at most two slips away from `given`.
fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(slips, name)| *slips <= FURTHEST_SLIPS && *slips < name.len())
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
        self.0.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(f, "{}", c.escape_default()),
            c => f.write_char(c),
        })
    }
}

fn second_line(hint: Option<&str>) -> String {
    hint.map_or_else(String::new, |hint| format!("\nhint: {}", Plain(hint)))
}

/// More slips than this make another word.
const FURTHEST_SLIPS: usize = 2;
