//! Reads HCL 1, the configuration language of Vault and Consul, with the place of everything in it.
//!
//! In: the text of a file. Out: its items in their order, or what was expected where.
//! What two items of the same name mean differs between products and is left to the caller.

mod json;
mod literal;
mod parse;
mod scan;

use std::fmt;

pub use json::JsonDialect;

/// How deep objects and lists may nest.
pub const MAX_DEPTH: usize = 64;

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The place that follows after `text`.
    pub(crate) fn after(self, text: &str) -> Self {
        match text.rsplit_once('\n') {
            Some((before, last)) => Self {
                line: self.line + before.matches('\n').count() + 1,
                column: last.chars().count() + 1,
            },
            None => Self {
                line: self.line,
                column: self.column + text.chars().count(),
            },
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Text that is not HCL 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {why}")]
pub struct SyntaxError {
    /// The place.
    pub at: Position,
    /// What was expected there, and what is there.
    pub why: String,
}

impl SyntaxError {
    fn new(at: Position, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { at, why }
    }
}

/// A key or a label, quoted or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// As the file spells it, without quotes.
    pub name: String,
    /// Its first character.
    pub at: Position,
}

/// One entry of an object: `key = value`, or a block `key "label" { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The key, and after it the labels of a block.
    pub keys: Vec<Key>,
    /// Whether there is a `=` or a `:`.
    pub assigned: bool,
    /// What it is set to.
    pub value: Value,
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// Its first character.
    pub at: Position,
    /// The value.
    pub value: Value,
}

/// What a key can be set to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// JSON alone has it.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number; in HCL also in hexadecimal or octal digits.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A quoted text or a heredoc.
    Text(String),
    /// `[…]`.
    List(Vec<Element>),
    /// `{…}`, or the body of a block.
    Object(Vec<Item>),
}

/// Whether the file is JSON to the readers of HCL 1: the first character that is no blank decides, not the file's name.
pub fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Reads HCL proper.
pub fn parse_hcl(text: &str) -> Result<Vec<Item>, SyntaxError> {
    // Line ends of Windows are the same as others, also within texts.
    parse::parse(&text.replace("\r\n", "\n"))
}

/// Reads a JSON object.
pub fn parse_json(text: &str, dialect: JsonDialect) -> Result<Vec<Item>, SyntaxError> {
    json::parse(text, dialect)
}
