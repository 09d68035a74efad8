//! The types of variables and inputs.
//!
//! In: items of a file, text of a command line. Out: values of a type, or none. Deliberately knows no secrets.

use serde::Serialize;
use serde_json::Value as Json;

use super::document::Item;
use super::problem::{Problem, listed};

/// What a variable or an input may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// A list of texts.
    List,
}

impl Type {
    /// Reads a `type` key.
    pub(crate) fn read(item: Item) -> Result<Self, Problem> {
        let at = item.at.clone();
        let name = item.text()?;
        Ok(match name.as_str() {
            "string" => Self::String,
            "integer" => Self::Integer,
            "boolean" => Self::Boolean,
            "list" => Self::List,
            _ => {
                let known = ["string", "integer", "boolean", "list"];
                return Err(at
                    .problem(format!(
                        "`{name}` is no type; expected one of {}",
                        listed(known)
                    ))
                    .did_you_mean(&name, known, "a list is a list of strings"));
            }
        })
    }

    /// What a value of it is, in words.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::String => "text in quotes",
            Self::Integer => "an integer",
            Self::Boolean => "true or false",
            Self::List => "a list of texts",
        }
    }

    /// Whether `value` is one of it.
    pub(crate) fn fits(self, value: &Json) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.is_i64(),
            Self::Boolean => value.is_boolean(),
            Self::List => value
                .as_array()
                .is_some_and(|items| items.iter().all(Json::is_string)),
        }
    }

    /// Reads a value of it from the file.
    pub(crate) fn read_value(self, item: Item) -> Result<Json, Problem> {
        Ok(match self {
            Self::String => Json::from(item.text()?),
            Self::Integer => Json::from(item.integer()?),
            Self::Boolean => Json::from(item.flag()?),
            Self::List => Json::from(item.texts()?),
        })
    }

    /// Reads a value of it from text that was given on a command line. A list is comma-separated.
    pub(super) fn parse(self, text: &str) -> Option<Json> {
        match self {
            Self::String => Some(Json::from(text)),
            Self::Integer => text.parse::<i64>().ok().map(Json::from),
            Self::Boolean => text.parse::<bool>().ok().map(Json::from),
            Self::List if text.is_empty() => Some(Json::Array(Vec::new())),
            Self::List => Some(
                text.split(',')
                    .map(|item| Json::from(item.trim()))
                    .collect(),
            ),
        }
    }
}

/// Whether `name` is a name of a variable or an input: `[a-z][a-z0-9_]*`.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
