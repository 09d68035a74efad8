//! Deserializes a TOML file with serde, and reports every invalid part with its line and key.
//! Takes the text of a file; returns the value of its valid parts, and the position of any key.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

use crate::definition::document::{self, FLAG, INTEGER, Item, LIST, Raw, TABLE, TEXT};
use crate::definition::{Location, Problem, ProblemLog, closest_match, quoted_list};

/// A TOML file whose keys and values have their spans.
pub(super) struct Document<'t> {
    file: &'t Path,
    text: &'t str,
    tree: Spanned<DeTable<'t>>,
    /// Problems of the file.
    pub(super) found: ProblemLog,
    /// Keys that were left out because of a problem.
    refused: RefCell<Vec<String>>,
    /// Keys that an unknown key was probably meant to be.
    misspelt: RefCell<Vec<String>>,
}

/// A key of the tree, or an item of a list.
struct Entry {
    /// The keys to it. An item of a list has those of the list.
    keys: Vec<String>,
    at: Location,
    value: Raw,
    /// The spans of its key, if it has one, and of its value.
    spans: [Option<Range<usize>>; 2],
}

impl<'t> Document<'t> {
    /// Parses `text`, the content of `file`.
    pub(super) fn parse(file: &'t Path, text: &'t str) -> Result<Self, Problem> {
        let tree = document::parse_tree(file, text)?;
        Ok(Self {
            file,
            text,
            tree,
            found: ProblemLog::default(),
            refused: RefCell::default(),
            misspelt: RefCell::default(),
        })
    }

    /// Deserializes the file. Records each invalid part as a problem and leaves it out, so that one
    /// problem does not hide another.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let mut tree = self.tree.get_ref().clone();
        // serde takes a list for a table whose keys all have defaults.
        // No key of the root is a list.
        for entry in self.entries(&tree) {
            if let ([key], Raw::List(_)) = (entry.keys.as_slice(), &entry.value) {
                let problem = entry.at.problem(format!("expected {TABLE}, found {LIST}"));
                let hint = "Write a table: `[name]` or `{ key = value }`.";
                self.found.record(problem.with_hint(hint));
                self.refused.borrow_mut().push(key.clone());
                remove(&mut tree, &entry.keys);
            }
        }
        loop {
            let root = Spanned::new(self.tree.span(), tree.clone());
            let error = match T::deserialize(Deserializer::from(root)) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            // The innermost entry is the last one.
            let entry = self.entries(&tree).into_iter().rfind(|entry| {
                let span = error.span();
                span.is_some() && entry.spans.contains(&span)
            });
            let Some(entry) = entry else {
                let start = Location::start_of(self.file);
                self.found.record(start.problem(error.message()));
                return None;
            };
            self.record(&entry, &error);
            self.refused.borrow_mut().push(entry.keys.join("."));
            remove(&mut tree, &entry.keys);
        }
    }

    /// Returns the location of `key`, as in `platform.zones[2]`. A key that the file does not have
    /// is at the line of its table.
    pub(super) fn at(&self, key: &str) -> Location {
        let entries = self.entries(self.tree.get_ref());
        let entries = entries
            .iter()
            .filter(|entry| is_at_or_in(key, &entry.at.key));
        let nearest = entries.max_by_key(|entry| entry.at.key.len());
        Location {
            line: nearest.map_or(1, |entry| entry.at.line),
            key: key.to_owned(),
            ..Location::start_of(self.file)
        }
    }

    /// Returns whether the value of `key`, or of a table around it, was left out.
    pub(super) fn is_refused(&self, key: &str) -> bool {
        let refused = self.refused.borrow();
        refused.iter().any(|refused| is_at_or_in(key, refused))
    }

    /// Returns the value of a key that must be set. Records a problem if it is missing.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>, expected: &str) -> Option<T> {
        if value.is_none() && !self.is_refused(key) && !self.is_misspelt(key) {
            self.found.record(missing(&self.at(key), expected));
        }
        value
    }

    /// Returns whether an unknown key was probably meant to be `key`.
    fn is_misspelt(&self, key: &str) -> bool {
        self.misspelt.borrow().iter().any(|meant| meant == key)
    }

    fn record(&self, entry: &Entry, error: &Error) {
        let at = &entry.at;
        let message = error.message();
        let problem = if let Some((key, known)) = named(message, "unknown field") {
            let absent = known.iter().copied().filter(|known| {
                let sibling = at.key.rsplit_once('.').map_or_else(
                    || (*known).to_owned(),
                    |(table, _)| format!("{table}.{known}"),
                );
                !self.is_set(&sibling)
            });
            if let Some(meant) = closest_match(key, absent) {
                let table = at.key.strip_suffix(key).unwrap_or_default();
                self.misspelt.borrow_mut().push(format!("{table}{meant}"));
            }
            let all = quoted_list(known.iter().copied());
            at.problem(format!("unknown key; expected one of {all}"))
                .with_suggestion(key, known, "Remove it.")
        } else if let Some((given, known)) = named(message, "unknown variant") {
            let all = quoted_list(known.iter().copied());
            at.problem(format!("`{given}` is not known; expected one of {all}"))
                .with_suggestion(given, known, "For the default, remove it.")
        } else if let Some(field) = quoted(message, "missing field `") {
            let at = at.below(field);
            if self.is_misspelt(&at.key) {
                return;
            }
            missing(&at, "a value")
        } else {
            self.wrong_type(entry, message)
        };
        self.found.record(problem);
    }

    fn wrong_type(&self, entry: &Entry, message: &str) -> Problem {
        let expected = match message.rsplit_once(", expected ") {
            Some((_, "a string")) => TEXT,
            Some((_, "i64")) => INTEGER,
            Some((_, "a boolean")) => FLAG,
            Some((_, "a sequence")) => LIST,
            Some((_, "a map")) => TABLE,
            Some((_, name)) if name.starts_with("struct ") => TABLE,
            Some((_, other)) => other,
            None => TEXT,
        };
        let item = Item {
            at: entry.at.clone(),
            found: self.found.clone(),
            raw: entry.value.clone(),
        };
        item.wrong_type(expected)
    }

    /// Returns whether the file has `key`.
    pub(super) fn is_set(&self, key: &str) -> bool {
        let entries = self.entries(self.tree.get_ref());
        entries.iter().any(|entry| entry.at.key == key)
    }

    /// Returns all entries of the tree. An entry comes after those around it.
    fn entries(&self, tree: &DeTable<'_>) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.add_table(tree, &[], &Location::start_of(self.file), &mut entries);
        entries
    }

    fn add_table(&self, table: &DeTable<'_>, keys: &[String], at: &Location, to: &mut Vec<Entry>) {
        for (key, value) in table {
            let name = key.get_ref().to_string();
            let at = self.location(&key.span(), at.below(&name));
            let keys = [keys, &[name]].concat();
            self.add(Some(key.span()), value, &keys, &at, to);
        }
    }

    fn add(
        &self,
        key: Option<Range<usize>>,
        value: &Spanned<DeValue<'_>>,
        keys: &[String],
        at: &Location,
        to: &mut Vec<Entry>,
    ) {
        to.push(Entry {
            keys: keys.to_owned(),
            at: at.clone(),
            value: document::raw(self.text, value.get_ref()),
            spans: [key, Some(value.span())],
        });
        match value.get_ref() {
            DeValue::Table(table) => self.add_table(table, keys, at, to),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let key = format!("{}[{}]", at.key, index + 1);
                    let at = self.location(&item.span(), Location { key, ..at.clone() });
                    self.add(None, item, keys, &at, to);
                }
            }
            _ => {}
        }
    }

    fn location(&self, span: &Range<usize>, at: Location) -> Location {
        let line = document::line_of(self.text, span.start);
        Location { line, ..at }
    }
}

/// Returns whether `key` is `outer`, or in its table or list.
fn is_at_or_in(key: &str, outer: &str) -> bool {
    let rest = key.strip_prefix(outer);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn missing(at: &Location, expected: &str) -> Problem {
    let problem = at.problem(format!("missing; expected {expected}"));
    match at.key.rsplit_once('.') {
        None if expected.starts_with("`[") => problem.with_hint(format!("Add {expected}.")),
        Some((table, key)) => problem.with_hint(format!("Add `{key}` to `{table}`.")),
        None => problem.with_hint(format!("Add `{}` at the top of the file.", at.key)),
    }
}

/// Returns the name in a message `KIND `NAME`, expected …`, and the names that are expected.
fn named<'m>(message: &'m str, kind: &str) -> Option<(&'m str, Vec<&'m str>)> {
    let rest = message.strip_prefix(kind)?;
    // A name of the file may contain any character; those of the program are plain.
    let (name, expected) = rest.rsplit_once(", expected ")?;
    let name = name.strip_prefix(" `")?.strip_suffix('`')?;
    Some((name, expected.split('`').skip(1).step_by(2).collect()))
}

fn quoted<'m>(message: &'m str, start: &str) -> Option<&'m str> {
    message.strip_prefix(start)?.strip_suffix('`')
}

/// Removes the value at `keys`.
fn remove(table: &mut DeTable<'_>, keys: &[String]) {
    let [key, rest @ ..] = keys else { return };
    match table.get_mut(key.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) if !rest.is_empty() => remove(inner, rest),
        _ => drop(table.remove(key.as_str())),
    }
}
