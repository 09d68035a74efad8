//! A finding of the linter, and its form as text.

use std::fmt;

use serde::Serialize;

use super::profile::UNPARSED;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Unsafe: `lint` exits with 6, and `build` stops.
    Unsafe,
    /// Informative: it changes no exit code.
    Note,
}

/// A key that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Id of the rule.
    pub rule: &'static str,
    /// Severity of the rule.
    pub severity: Severity,
    /// File with the key. For a missing key, a file that could have it.
    pub file: String,
    /// Line number, from 1. For a missing key, the line of the block that lacks it, if there is
    /// one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Key in the file's spelling, as in `ports.http`.
    pub key: String,
    /// Value of the key.
    pub found: String,
    /// Reason why the value is unsafe.
    pub reason: &'static str,
    /// Address of the documentation.
    pub source: &'static str,
    /// Setting to write instead.
    pub fix: &'static str,
}

impl Finding {
    /// Tells if the finding is a note about a file that is not checked.
    pub fn is_unchecked(&self) -> bool {
        self.rule.ends_with(UNPARSED)
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
        let place = if self.is_unchecked() {
            format!("{file}{line} {found}")
        } else {
            format!("{file}{line}: {key}: {found}")
        };
        write!(
            f,
            "{note}{place}\n  {rule}: {reason}\n  instead: {fix}\n  source:  {source}"
        )
    }
}
