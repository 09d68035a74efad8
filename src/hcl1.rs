//! Parses HCL 1, the configuration language of Vault and Consul.
//! Takes the text of a file, returns its items in order, each with its position.
//! The meaning of items with the same name is left to the caller: it depends on the product.

mod json;
mod parse;
mod scan;

use std::fmt;

pub use json::JsonDialect;

/// Largest nesting depth of objects and lists.
pub(crate) const MAX_DEPTH: usize = 64;

/// A position in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line number, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// Position of the first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };

    /// Returns the position after `text`.
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
    /// Position of the error.
    pub at: Position,
    /// Description of the error: the expected and the found token.
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
    /// Name in the file's spelling, without quotes.
    pub name: String,
    /// Position of the first character.
    pub at: Position,
}

/// One entry of an object: `key = value`, or a block `key "label" { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Key, followed by the labels of a block.
    pub keys: Vec<Key>,
    /// Whether the key is followed by `=` or `:`.
    pub assigned: bool,
    /// Value of the key, or body of the block.
    pub value: Value,
}

/// A value with its position.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// Position of the first character.
    pub at: Position,
    /// The value itself.
    pub value: Value,
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, in JSON only.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer, in HCL also with hexadecimal or octal digits.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A quoted text or a heredoc.
    Text(String),
    /// A list, `[…]`.
    List(Vec<Element>),
    /// An object, `{…}`, or the body of a block.
    Object(Vec<Item>),
}

/// Tells if parsers of HCL 1 read `text` as JSON: its first character that is no blank is `{`. They
/// ignore the name of the file.
pub fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Parses native HCL.
pub fn parse_hcl(text: &str) -> Result<Vec<Item>, SyntaxError> {
    // HCL 1 reads CRLF as LF, also within texts.
    parse::parse(&text.replace("\r\n", "\n"))
}

/// Parses a JSON object.
pub fn parse_json(text: &str, dialect: JsonDialect) -> Result<Vec<Item>, SyntaxError> {
    json::parse(text, dialect)
}
