//! A difference in markdown, for pull requests and tickets.
//!
//! Names and values come out of images and definitions, and whoever reads the result may be somebody who decides. So
//! every one of them stands in code, and can neither end its cell nor be a mention, a link or markup.

use std::fmt::Write as _;

use super::text::brief;
use super::{ChangeKind, Difference, FieldChange};
use crate::manifest::show::size;

/// Above so many rows a table is folded.
const ROWS_IN_SIGHT: usize = 20;

/// No more names than this in a sentence; the tables have all.
const NAMES_IN_LINE: usize = 10;

/// No more characters of a value than this; JSON has all of it.
const CELL_CHARS: usize = 120;

impl Difference {
    /// The difference in GitHub's markdown: a heading, a line that sums up, and a table each for what is different.
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

    /// One line. What may be a reason to say no comes first.
    fn summary(&self) -> String {
        let mut parts = Vec::new();
        let downgrades: Vec<&FieldChange> = self.downgrades().collect();
        if !downgrades.is_empty() {
            parts.push(bold(downgrades.len(), "downgrade", &downgrades));
        }
        let failed: Vec<&FieldChange> = self.checks.iter().filter(|check| fails(check)).collect();
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

fn fails(check: &FieldChange) -> bool {
    let to = check.to.as_deref().unwrap_or_default();
    to.split(super::AND).any(|state| state == super::NOT_OK)
}

/// `**2 downgrades: a, b**`.
fn bold(count: usize, noun: &str, changed: &[&FieldChange]) -> String {
    let plural = if count == 1 { "" } else { "s" };
    let names = changed
        .iter()
        .take(NAMES_IN_LINE)
        .map(|one| code(&one.name));
    let names: Vec<String> = names.collect();
    let more = if count > NAMES_IN_LINE { ", …" } else { "" };
    format!("**{count} {noun}{plural}:** {}{more}", names.join(", "))
}

/// `packages: 1 added, 2 up`; nothing where there is nothing.
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
    let folded = changed.len() > ROWS_IN_SIGHT;
    let count = changed.len();
    let heading = match folded {
        true => format!("\n<details><summary>{title}: {count}</summary>\n"),
        false => format!("\n**{title}**\n"),
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

/// `text` as code, on one line. In a code span only a backtick or a pipe could do harm, and in which way a backslash
/// before a pipe counts is something that renderers do not agree on; such text stands in an element instead, with
/// character references for all that could be markup. Mentions and links are made of neither.
fn code(text: &str) -> String {
    let mut shown = String::new();
    let mut chars = text.chars();
    for c in chars.by_ref().take(CELL_CHARS) {
        // What cannot be seen is spelt out, marks that turn the direction of text included.
        if c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric() {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    if chars.next().is_some() {
        shown.push('…');
    }
    let plain = !shown.contains(['`', '|', '\\']) && shown.trim() == shown && !shown.is_empty();
    if plain {
        return format!("`{shown}`");
    }
    let referenced = shown.chars().map(|c| {
        if c.is_alphanumeric() || c == '…' {
            c.to_string()
        } else {
            format!("&#{};", u32::from(c))
        }
    });
    format!("<code>{}</code>", referenced.collect::<String>())
}
