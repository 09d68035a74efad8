//! Writes a difference as GitHub markdown, for pull requests and tickets.
//! Names and values come from images and definitions, so they may be hostile. They are written as
//! code, which cannot end a table cell, mention users, or contain links or markup.

use std::fmt::Write as _;

use super::text::brief;
use super::{ChangeKind, Difference, FieldChange};
use crate::manifest::show::size;

/// The largest number of rows in a table that is not folded.
const MAX_UNFOLDED_ROWS: usize = 20;

/// The largest number of names in a sentence. The tables have all.
const MAX_NAMES: usize = 10;

/// The largest number of characters of a value. JSON has all.
const MAX_CELL_CHARS: usize = 120;

impl Difference {
    /// Returns the difference as markdown: a heading, a summary, and a table for each kind of
    /// change.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "### {} → {}\n\n{}\n",
            code(&self.from),
            code(&self.to),
            self.summary()
        );
        let no_packages = Vec::new();
        let tables = [
            ("Releases", &self.releases),
            ("Base", &self.base),
            ("Packages", self.packages.as_ref().unwrap_or(&no_packages)),
            ("Inputs", &self.inputs),
            ("Steps", &self.steps),
            ("Checks", &self.checks),
            ("Variables", &self.variables),
            ("Outputs", &self.outputs),
        ];
        for (title, changed) in tables {
            table(&mut text, title, changed);
        }
        text
    }

    /// Returns the summary, with possible objections first.
    fn summary(&self) -> String {
        let mut parts = Vec::new();
        let downgrades: Vec<&FieldChange> = self.downgrades().collect();
        if !downgrades.is_empty() {
            parts.push(bold(downgrades.len(), "downgrade", &downgrades));
        }
        let failed: Vec<&FieldChange> = self
            .checks
            .iter()
            .filter(|check| is_failed(check))
            .collect();
        if !failed.is_empty() {
            parts.push(bold(failed.len(), "failed check", &failed));
        }
        if self.is_empty() {
            parts.push("no difference".to_owned());
        }
        let counted = [("releases", &self.releases), ("base", &self.base)];
        parts.extend(
            counted
                .into_iter()
                .filter_map(|(what, list)| counts(what, list)),
        );
        match &self.packages {
            Some(packages) => parts.extend(counts("packages", packages)),
            None => parts.push("packages not compared, a list is missing".to_owned()),
        }
        let counted = [
            ("inputs", &self.inputs),
            ("steps", &self.steps),
            ("checks", &self.checks),
            ("variables", &self.variables),
            ("outputs", &self.outputs),
        ];
        parts.extend(
            counted
                .into_iter()
                .filter_map(|(what, list)| counts(what, list)),
        );
        if self.steps_reordered {
            parts.push("steps in another order".to_owned());
        }
        for (what, (from, to)) in [("file", self.size), ("disk", self.virtual_size)] {
            if from != to {
                parts.push(format!("{what} {} → {}", size(from), size(to)));
            }
        }
        parts.join("; ")
    }
}

fn is_failed(check: &FieldChange) -> bool {
    let to = check.to.as_deref().unwrap_or_default();
    to.split(super::AND).any(|state| state == super::NOT_OK)
}

/// `**2 downgrades: a, b**`.
fn bold(count: usize, noun: &str, changed: &[&FieldChange]) -> String {
    let plural = if count == 1 { "" } else { "s" };
    let names = changed.iter().take(MAX_NAMES).map(|one| code(&one.name));
    let names: Vec<String> = names.collect();
    let more = if count > MAX_NAMES { ", …" } else { "" };
    format!("**{count} {noun}{plural}:** {}{more}", names.join(", "))
}

/// Returns `packages: 1 added, 2 up`, or `None` without changes.
fn counts(what: &str, changed: &[FieldChange]) -> Option<String> {
    let count = |change| changed.iter().filter(|one| one.change == change).count();
    let counted: Vec<String> = [
        ChangeKind::Down,
        ChangeKind::Up,
        ChangeKind::Added,
        ChangeKind::Removed,
        ChangeKind::Other,
    ]
    .into_iter()
    .map(|change| (count(change), word(change)))
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    (!counted.is_empty()).then(|| format!("{what}: {}", counted.join(", ")))
}

fn word(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Up => "up",
        ChangeKind::Down => "down",
        ChangeKind::Other => "changed",
    }
}

fn table(text: &mut String, title: &str, changed: &[FieldChange]) {
    if changed.is_empty() {
        return;
    }
    let folded = changed.len() > MAX_UNFOLDED_ROWS;
    let count = changed.len();
    let heading = if folded {
        format!("\n<details><summary>{title}: {count}</summary>\n")
    } else {
        format!("\n**{title}**\n")
    };
    text.push_str(&heading);
    *text += "\n| | Name | From | To |\n|---|---|---|---|\n";
    for one in changed {
        let word = match one.change {
            ChangeKind::Down => "**down**",
            change => word(change),
        };
        let value = |value: &Option<String>| {
            value
                .as_deref()
                .map(brief)
                .map_or(String::new(), |text| code(&text))
        };
        let (name, from, to) = (code(&one.name), value(&one.from), value(&one.to));
        let _ = writeln!(text, "| {word} | {name} | {from} | {to} |");
    }
    if folded {
        *text += "\n</details>\n";
    }
}

/// Returns `text` as code, on one line. A code span is unsafe only with a backtick or a pipe, and
/// renderers disagree on a backslash before a pipe. Such text is written as an element with
/// character references. Neither form allows mentions or links.
fn code(text: &str) -> String {
    let mut visible = String::new();
    let mut chars = text.chars();
    for c in chars.by_ref().take(MAX_CELL_CHARS) {
        // Invisible characters are escaped, including marks for the text direction.
        if c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric() {
            visible.push(c);
        } else {
            visible.extend(c.escape_default());
        }
    }
    if chars.next().is_some() {
        visible.push('…');
    }
    let plain =
        !visible.contains(['`', '|', '\\']) && visible.trim() == visible && !visible.is_empty();
    if plain {
        return format!("`{visible}`");
    }
    let referenced = visible.chars().map(|c| {
        if c.is_alphanumeric() || c == '…' {
            c.to_string()
        } else {
            format!("&#{};", u32::from(c))
        }
    });
    format!("<code>{}</code>", referenced.collect::<String>())
}
