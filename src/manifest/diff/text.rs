//! Prints a difference as plain text, without colour.

use std::fmt;

use super::{AND, ChangeKind, Difference, FieldChange};
use crate::digest::Digest;
use crate::manifest::show::size;

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} -> {}", self.from, self.to)?;
        if self.is_empty() {
            writeln!(f, "no difference")?;
        }
        section(f, "releases", &self.releases)?;
        section(f, "base", &self.base)?;
        section(f, "variables", &self.variables)?;
        section(f, "inputs", &self.inputs)?;
        section(f, "steps", &self.steps)?;
        if self.steps_reordered {
            writeln!(f, "steps come in another order")?;
        }
        section(f, "checks", &self.checks)?;
        section(f, "outputs", &self.outputs)?;
        match &self.packages {
            Some(packages) => packages_section(f, packages)?,
            None => writeln!(f, "packages: not compared, a list is missing")?,
        }
        sizes(f, "file", self.size)?;
        sizes(f, "disk", self.virtual_size)
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, changed: &[FieldChange]) -> fmt::Result {
    if changed.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}")?;
    lines(f, changed)
}

fn packages_section(f: &mut fmt::Formatter<'_>, packages: &[FieldChange]) -> fmt::Result {
    if packages.is_empty() {
        return Ok(());
    }
    let count = |change| {
        let changed = packages.iter().filter(|package| package.change == change);
        changed.count()
    };
    writeln!(
        f,
        "packages: {} added, {} removed, {} up, {} down",
        count(ChangeKind::Added),
        count(ChangeKind::Removed),
        count(ChangeKind::Up),
        count(ChangeKind::Down)
    )?;
    lines(f, packages)
}

fn lines(f: &mut fmt::Formatter<'_>, changed: &[FieldChange]) -> fmt::Result {
    let width = changed.iter().map(|one| one.name.len()).max().unwrap_or(0);
    for one in changed {
        let name = &one.name;
        match (&one.from, &one.to) {
            (Some(from), Some(to)) => {
                let sign = if one.change == ChangeKind::Down {
                    '!'
                } else {
                    '~'
                };
                let word = match one.change {
                    ChangeKind::Down => "  (down)",
                    _ => "",
                };
                let (from, to) = (brief(from), brief(to));
                writeln!(f, "  {sign} {name:width$}  {from} -> {to}{word}")?;
            }
            (from, to) => {
                let sign = if from.is_some() { '-' } else { '+' };
                let value = brief(from.as_ref().or(to.as_ref()).map_or("", String::as_str));
                writeln!(f, "  {sign} {name:width$}  {value}")?;
            }
        }
    }
    Ok(())
}

fn sizes(f: &mut fmt::Formatter<'_>, what: &str, (from, to): (u64, u64)) -> fmt::Result {
    if from == to {
        return Ok(());
    }
    let sign = if to > from { '+' } else { '-' };
    let change = size(from.abs_diff(to));
    let (from, to) = (size(from), size(to));
    writeln!(f, "{what} size {from} -> {to} ({sign}{change})")
}

/// Shortens digests, which are too long for a line.
pub(super) fn brief(value: &str) -> String {
    let short = |value: &str| match value.parse::<Digest>() {
        Ok(digest) => format!("sha256:{}", digest.short()),
        Err(_) => value.to_owned(),
    };
    let values: Vec<String> = value.split(AND).map(short).collect();
    values.join(AND)
}
