//! What is found, and how it is shown.

use std::fmt;

use serde::Serialize;

use super::Product;

/// What a finding means for what is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Not safe: `lint` exits with 6, and `build` stops.
    Unsafe,
    /// Worth knowing; changes no exit code.
    Note,
}

/// A place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's id.
    pub rule: &'static str,
    /// Whether it stops a build.
    pub severity: Severity,
    /// The file that says so; for what is missing, one of those that should.
    pub file: String,
    /// Its line, counted from 1. For what is missing it is the line of the block that lacks it, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Where in it, as in `ports.http`, spelled as the file does.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// Why that is not safe.
    pub reason: &'static str,
    /// Who says so.
    pub source: &'static str,
    /// What to write instead.
    pub fix: &'static str,
}

impl Finding {
    /// Whether it says of a file that no rule has looked at it.
    pub fn is_unchecked(&self) -> bool {
        Product::ALL.iter().any(|one| one.unreadable() == self.rule)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            severity,
            file,
            line,
            key,
            found,
            reason,
            source,
            fix,
        } = self;
        let key = if key.is_empty() { "all" } else { key };
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        let note = match severity {
            Severity::Unsafe => "",
            Severity::Note => "note: ",
        };
        let place = match self.is_unchecked() {
            true => format!("{file}{line} {found}"),
            false => format!("{file}{line}: {key}: {found}"),
        };
        write!(
            f,
            "{note}{place}\n  {rule}: {reason}\n  instead: {fix}\n  source:  {source}"
        )
    }
}
