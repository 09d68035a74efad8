//! Parses a TOML file into a tree in which every value has its file, line and key.
//! Readers of [`Table`] and [`Item`] report unknown keys and wrong types as a [`Problem`].
//! The meaning of keys is left to the caller.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::problem::{Location, Problem, ProblemLog, closest_match, quoted_list};

/// A value and its location.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) at: Location,
    /// Problems of the file, shared by all its values.
    pub(crate) found: ProblemLog,
    pub(crate) raw: Raw,
}

/// A TOML value. Values inside it carry their lines.
#[derive(Clone, Debug)]
pub(crate) enum Raw {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<(usize, Raw)>),
    Table(BTreeMap<String, (usize, Raw)>),
    /// A type that our files do not use, by its description.
    Other(&'static str),
}

/// A table and its location.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) at: Location,
    /// Problems of the file, shared by all its values.
    pub(crate) found: ProblemLog,
    /// Known keys that an unknown key was probably meant to be.
    misspelt: Vec<String>,
    entries: BTreeMap<String, (usize, Raw)>,
}

impl Item {
    pub(crate) fn text(self) -> Result<String, Problem> {
        match self.raw {
            Raw::Text(text) => Ok(text),
            _ => Err(self.wrong_type(TEXT)),
        }
    }

    pub(crate) fn integer(self) -> Result<i64, Problem> {
        match self.raw {
            Raw::Integer(number) => Ok(number),
            _ => Err(self.wrong_type(INTEGER)),
        }
    }

    pub(crate) fn flag(self) -> Result<bool, Problem> {
        match self.raw {
            Raw::Flag(flag) => Ok(flag),
            _ => Err(self.wrong_type(FLAG)),
        }
    }

    pub(crate) fn list(self) -> Result<Vec<Item>, Problem> {
        let Raw::List(items) = self.raw else {
            return Err(self.wrong_type(LIST));
        };
        let (at, found) = (self.at, self.found);
        let item = |(index, (line, raw))| Item {
            at: Location {
                line,
                key: format!("{}[{}]", at.key, index + 1),
                ..at.clone()
            },
            found: found.clone(),
            raw,
        };
        Ok(items.into_iter().enumerate().map(item).collect())
    }

    pub(crate) fn texts(self) -> Result<Vec<String>, Problem> {
        let (at, found) = (self.at.clone(), self.found.clone());
        let items = self.list()?.into_iter();
        found.all_or_record(&at, items.map(Item::text))
    }

    pub(crate) fn table(self) -> Result<Table, Problem> {
        match self.raw {
            Raw::Table(entries) => Ok(Table {
                at: self.at,
                found: self.found,
                misspelt: Vec::new(),
                entries,
            }),
            _ => Err(self.wrong_type(TABLE)),
        }
    }

    /// Creates the problem that the value has another type than `expected`.
    pub(crate) fn wrong_type(&self, expected: &str) -> Problem {
        let found = self.raw.kind();
        self.at
            .problem(format!("expected {expected}, found {found}"))
            .with_hint(match (expected, &self.raw) {
                (TEXT, Raw::Integer(_) | Raw::Flag(_) | Raw::Other(_)) => {
                    "Put it in double quotes."
                }
                (INTEGER | FLAG, Raw::Text(_)) => "Write it without quotes and units.",
                (LIST, Raw::Text(_)) => "Write `[\"…\"]`, with one text for each entry.",
                (TABLE, _) => "Write a table: `[name]` or `{ key = value }`.",
                _ => "Write a value of this type.",
            })
    }
}

impl Table {
    /// Parses `text`, the content of `file`.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, Problem> {
        let at = Location::start_of(file);
        let root = parse_tree(file, text)?;
        let Raw::Table(entries) = table(text, root.get_ref()) else {
            unreachable!("a document's root is a table");
        };
        Ok(Self {
            at,
            found: ProblemLog::default(),
            misspelt: Vec::new(),
            entries,
        })
    }

    /// Removes keys other than `known`, and records each as a problem.
    pub(crate) fn reject_unknown(&mut self, known: &[&str]) {
        let unknown = |key: &&String| !known.contains(&key.as_str());
        let unknown: Vec<String> = self.entries.keys().filter(unknown).cloned().collect();
        for key in unknown {
            let Some(item) = self.take(&key) else {
                continue;
            };
            // The user more likely meant a key that is missing than one that is set.
            let absent = known.iter().copied();
            let absent = absent.filter(|known| !self.entries.contains_key(*known));
            self.misspelt
                .extend(closest_match(&key, absent).map(str::to_owned));
            let all = quoted_list(known.iter().copied());
            let problem = item
                .at
                .problem(format!("unknown key; expected one of {all}"))
                .with_suggestion(&key, known.iter().copied(), "Remove it.");
            self.found.record(problem);
        }
    }

    /// Removes and returns the value of `key`, if it is set.
    pub(crate) fn take(&mut self, key: &str) -> Option<Item> {
        let (line, raw) = self.entries.remove(key)?;
        Some(Item {
            at: self.entry_location(key, line),
            found: self.found.clone(),
            raw,
        })
    }

    /// Reads the value of `key` into `to`, if it is set. If the value has a problem, that is
    /// recorded and `to` keeps its value.
    pub(crate) fn read_into<T>(
        &mut self,
        key: &str,
        to: &mut T,
        read: impl FnOnce(Item) -> Result<T, Problem>,
    ) {
        let value = self
            .take(key)
            .and_then(|item| self.found.ok_or_record(read(item)));
        if let Some(value) = value {
            *to = value;
        }
    }

    /// Reads the value of `key`, as [`Self::need`] does. Records a problem and returns `None` if it
    /// is missing or invalid.
    pub(crate) fn required<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(Item) -> Result<T, Problem>,
    ) -> Option<T> {
        let read = self.require(key, expected).and_then(read);
        self.found.ok_or_record(read)
    }

    /// Removes and returns the value of `key`, which must be set. `expected` describes it, as in
    /// `` `schema = 1` ``.
    pub(crate) fn require(&mut self, key: &str, expected: &str) -> Result<Item, Problem> {
        self.take(key).ok_or_else(|| {
            if self.is_misspelt(key) {
                return self.at.below(key).already_reported();
            }
            self.at
                .below(key)
                .problem(format!("missing; expected {expected}"))
                .with_hint(match self.at.key.as_str() {
                    "" if expected.contains("`[") => format!("Add {expected} to the file."),
                    "" => format!("Add `{key}` at the top of the file."),
                    table => format!("Add `{key}` to `{table}`."),
                })
        })
    }

    /// Tells if an unknown key was probably meant to be `key`, which is missing.
    pub(crate) fn is_misspelt(&self, key: &str) -> bool {
        self.misspelt.iter().any(|meant| meant == key)
    }

    /// Removes and returns the table at `key`, if it is set.
    pub(crate) fn take_table(&mut self, key: &str) -> Result<Option<Table>, Problem> {
        self.take(key).map(Item::table).transpose()
    }

    /// Reads the schema version and refuses one that is not `newest`.
    pub(crate) fn schema(&mut self, newest: i64) -> Result<(), Problem> {
        let item = self.require("schema", &format!("`schema = {newest}`"))?;
        let at = item.at.clone();
        match item.integer()? {
            given if given == newest => Ok(()),
            given => Err(at
                .problem(format!(
                    "schema {given} is unknown to this version; expected {newest}"
                ))
                .with_hint(if given > newest {
                    String::from("Update vault-bake: the file was written for a newer version.")
                } else {
                    format!("Write `schema = {newest}`.")
                })),
        }
    }

    /// Iterates over the keys that were not removed.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Returns the values that were not removed, by key.
    pub(crate) fn items(mut self) -> Vec<(String, Item)> {
        let keys: Vec<String> = self.entries.keys().cloned().collect();
        keys.into_iter()
            .filter_map(|key| self.take(&key).map(|item| (key, item)))
            .collect()
    }

    fn entry_location(&self, key: &str, line: usize) -> Location {
        Location {
            line,
            ..self.at.below(key)
        }
    }
}

impl Raw {
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "an integer",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// Parses `text`, the content of `file`, into a tree with spans.
pub(crate) fn parse_tree<'t>(
    file: &Path,
    text: &'t str,
) -> Result<toml::Spanned<DeTable<'t>>, Problem> {
    DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        let start = Location::start_of(file);
        Location { line, ..start }
            .problem(format!("not valid TOML: {}", error.message().trim()))
            .with_hint("Put texts in double quotes, and set each key of a table once.")
    })
}

fn table(text: &str, entries: &DeTable<'_>) -> Raw {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        let line = line_of(text, key.span().start);
        (name.to_string(), (line, raw(text, value.get_ref())))
    };
    Raw::Table(entries.iter().map(entry).collect())
}

/// Converts a value of `text`.
pub(crate) fn raw(text: &str, value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(value) => Raw::Text(value.to_string()),
        DeValue::Integer(value) => i64::from_str_radix(value.as_str(), value.radix())
            .map_or(Raw::Other("a number beyond 64 bits"), Raw::Integer),
        DeValue::Boolean(value) => Raw::Flag(*value),
        DeValue::Array(items) => Raw::List(
            items
                .iter()
                .map(|item| (line_of(text, item.span().start), raw(text, item.get_ref())))
                .collect(),
        ),
        DeValue::Table(entries) => table(text, entries),
        DeValue::Float(_) => Raw::Other("a number with a point"),
        DeValue::Datetime(_) => Raw::Other("a date"),
    }
}

/// Returns the number of the line with the byte at `offset`.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}

// Descriptions of the types that readers expect.
pub(crate) const TEXT: &str = "text in quotes";
pub(crate) const INTEGER: &str = "an integer";
pub(crate) const FLAG: &str = "true or false";
pub(crate) const LIST: &str = "a list";
pub(crate) const TABLE: &str = "a table";
