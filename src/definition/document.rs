//! A TOML file as a tree in which every value knows its file, line and key.
//!
//! In: the text of a file. Out: [`Table`]s and [`Item`]s whose readers refuse what is unknown or of another type
//! with a [`Problem`]. Deliberately knows nothing of what the keys mean.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::problem::{Found, Location, Problem, listed, meant};

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Where it is.
    pub(crate) at: Location,
    /// The problems of its file.
    pub(crate) found: Found,
    /// What it is.
    pub(crate) raw: Raw,
}

/// A TOML value; each one below it with its line.
#[derive(Clone, Debug)]
pub(crate) enum Raw {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<(usize, Raw)>),
    Table(BTreeMap<String, (usize, Raw)>),
    /// What no file of ours uses: its TOML type.
    Other(&'static str),
}

/// A table and its place.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Where it is.
    pub(crate) at: Location,
    /// The problems of its file.
    pub(crate) found: Found,
    /// Known keys that an unknown one was probably meant to be.
    misspelt: Vec<String>,
    entries: BTreeMap<String, (usize, Raw)>,
}

impl Item {
    pub(crate) fn text(self) -> Result<String, Problem> {
        match self.raw {
            Raw::Text(text) => Ok(text),
            _ => Err(self.unlike(TEXT)),
        }
    }

    pub(crate) fn integer(self) -> Result<i64, Problem> {
        match self.raw {
            Raw::Integer(number) => Ok(number),
            _ => Err(self.unlike(INTEGER)),
        }
    }

    pub(crate) fn flag(self) -> Result<bool, Problem> {
        match self.raw {
            Raw::Flag(flag) => Ok(flag),
            _ => Err(self.unlike(FLAG)),
        }
    }

    pub(crate) fn list(self) -> Result<Vec<Item>, Problem> {
        let Raw::List(items) = self.raw else {
            return Err(self.unlike(LIST));
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
        found.all(&at, items.map(Item::text))
    }

    pub(crate) fn table(self) -> Result<Table, Problem> {
        match self.raw {
            Raw::Table(entries) => Ok(Table {
                at: self.at,
                found: self.found,
                misspelt: Vec::new(),
                entries,
            }),
            _ => Err(self.unlike(TABLE)),
        }
    }

    /// The problem that this is of another type than it should be.
    pub(crate) fn unlike(&self, expected: &str) -> Problem {
        let found = self.raw.kind();
        self.at
            .problem(format!("expected {expected}, found {found}"))
            .hint(match (expected, &self.raw) {
                (TEXT, Raw::Integer(_) | Raw::Flag(_) | Raw::Other(_)) => "put it in double quotes",
                (INTEGER | FLAG, Raw::Text(_)) => "write it alone, without quotes and units",
                (LIST, Raw::Text(_)) => "write `[\"…\"]`, with one text an entry",
                (TABLE, _) => "a table has keys of its own: `[name]` or `{ key = value }`",
                _ => "write it in that form",
            })
    }
}

impl Table {
    /// Reads `text`, the content of `file`.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, Problem> {
        let at = Location::start_of(file);
        let root = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            Location { line, ..at.clone() }
                .problem(format!("not valid TOML: {}", error.message().trim()))
                .hint("text stands in double quotes, and a key stands once in its table")
        })?;
        let Raw::Table(entries) = table(text, root.get_ref()) else {
            unreachable!("a document's root is a table");
        };
        Ok(Self {
            at,
            found: Found::default(),
            misspelt: Vec::new(),
            entries,
        })
    }

    /// Notes keys other than `known` as problems, and leaves them out of what follows.
    pub(crate) fn only(&mut self, known: &[&str]) {
        let unknown = |key: &&String| !known.contains(&key.as_str());
        let unknown: Vec<String> = self.entries.keys().filter(unknown).cloned().collect();
        for key in unknown {
            let Some(item) = self.take(&key) else {
                continue;
            };
            // A key that is there already, or that is missing: the latter is more likely meant.
            let absent = known.iter().copied();
            let absent = absent.filter(|known| !self.entries.contains_key(*known));
            self.misspelt.extend(meant(&key, absent).map(str::to_owned));
            let all = listed(known.iter().copied());
            let problem = item
                .at
                .problem(format!("unknown key; expected one of {all}"))
                .did_you_mean(&key, known.iter().copied(), "remove it");
            self.found.note(problem);
        }
    }

    /// Takes the value of `key`, where it has one.
    pub(crate) fn take(&mut self, key: &str) -> Option<Item> {
        let (line, raw) = self.entries.remove(key)?;
        Some(Item {
            at: self.place(key, line),
            found: self.found.clone(),
            raw,
        })
    }

    /// Reads the value of `key` into `to`, where it has one. A problem with it is noted, and `to` stays what it was.
    pub(crate) fn set<T>(
        &mut self,
        key: &str,
        to: &mut T,
        read: impl FnOnce(Item) -> Result<T, Problem>,
    ) {
        let value = self.take(key).and_then(|item| self.found.value(read(item)));
        if let Some(value) = value {
            *to = value;
        }
    }

    /// Reads the value of `key`, which must have one, as [`Self::need`] does. `None` after a problem was noted.
    pub(crate) fn required<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(Item) -> Result<T, Problem>,
    ) -> Option<T> {
        let read = self.need(key, expected).and_then(read);
        self.found.value(read)
    }

    /// Takes the value of `key`; `expected` says what it should be, as in `` `schema = 1` ``.
    pub(crate) fn need(&mut self, key: &str, expected: &str) -> Result<Item, Problem> {
        self.take(key).ok_or_else(|| {
            if self.is_misspelt(key) {
                return self.at.below(key).described();
            }
            self.at
                .below(key)
                .problem(format!("missing; expected {expected}"))
                .hint(match self.at.key.as_str() {
                    "" if expected.contains("`[") => format!("add {expected} to the file"),
                    "" => format!("add `{key}` at the top of the file"),
                    table => format!("add `{key}` to `{table}`"),
                })
        })
    }

    /// Whether `key` is missing, and an unknown one was probably meant to be it.
    pub(crate) fn is_misspelt(&self, key: &str) -> bool {
        self.misspelt.iter().any(|meant| meant == key)
    }

    /// Takes the table at `key`, where there is one.
    pub(crate) fn take_table(&mut self, key: &str) -> Result<Option<Table>, Problem> {
        self.take(key).map(Item::table).transpose()
    }

    /// Reads the schema version, before anything else is looked at.
    pub(crate) fn schema(&mut self, newest: i64) -> Result<(), Problem> {
        let item = self.need("schema", &format!("`schema = {newest}`"))?;
        let at = item.at.clone();
        match item.integer()? {
            given if given == newest => Ok(()),
            given => Err(at
                .problem(format!(
                    "schema {given} is unknown to this version; expected {newest}"
                ))
                .hint(if given > newest {
                    String::from("it was written for a newer vault-bake: update the program")
                } else {
                    format!("write `schema = {newest}`")
                })),
        }
    }

    /// The keys that are left.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// All that is left, by key.
    pub(crate) fn items(mut self) -> Vec<(String, Item)> {
        let keys: Vec<String> = self.entries.keys().cloned().collect();
        keys.into_iter()
            .filter_map(|key| self.take(&key).map(|item| (key, item)))
            .collect()
    }

    fn place(&self, key: &str, line: usize) -> Location {
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

fn table(text: &str, entries: &DeTable<'_>) -> Raw {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        let line = line_of(text, key.span().start);
        (name.to_string(), (line, raw(text, value.get_ref())))
    };
    Raw::Table(entries.iter().map(entry).collect())
}

fn raw(text: &str, value: &DeValue<'_>) -> Raw {
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

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}

// What the readers expect, in words.
const TEXT: &str = "text in quotes";
const INTEGER: &str = "an integer";
const FLAG: &str = "true or false";
const LIST: &str = "a list";
const TABLE: &str = "a table";
