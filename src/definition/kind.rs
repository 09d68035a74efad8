//! The types of variables and inputs.
//!
//! In: items of a file, text of a command line. Out: values of a type, or none. Deliberately knows no secrets.

use serde::Serialize;
use serde_json::Value as Json;

use super::document::Item;
use super::problem::{Problem, listed};
use super::text;

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

    /// Reads a default of it from the file. Templates are not filled in there, so one is refused.
    pub(crate) fn read_default(self, item: Item) -> Result<Json, Problem> {
        let at = item.at.clone();
        let value = match self {
            Self::String => Json::from(item.text()?),
            Self::Integer => Json::from(item.integer()?),
            Self::Boolean => Json::from(item.flag()?),
            Self::List => Json::from(item.texts()?),
        };
        let texts: Vec<&str> = match &value {
            Json::Array(items) => items.iter().filter_map(Json::as_str).collect(),
            other => other.as_str().into_iter().collect(),
        };
        match texts.into_iter().find(|text| text::names_a_variable(text)) {
            None => Ok(value),
            Some(text) => Err(at
                .problem(format!(
                    "`{text}` would stay as it is: a default is not a template; expected a plain value"
                ))
                .hint("write the template where the variable is used, as in `\"{{ var.a }}-{{ var.b }}\"`")),
        }
    }

    /// Reads a value of it from text that was given on a command line or in the environment; or says what is wrong with it.
    ///
    /// A list is separated by commas or line ends, or is in brackets as in JSON and TOML.
    pub(super) fn parse(self, text: &str) -> Result<Json, String> {
        match self {
            Self::String => Ok(Json::from(text)),
            Self::Integer => text.parse::<i64>().map(Json::from).map_err(drop),
            Self::Boolean => text.parse::<bool>().map(Json::from).map_err(drop),
            Self::List if text.trim_start().starts_with('[') => return bracketed(text.trim()),
            Self::List => return separated(text),
        }
        .map_err(|()| format!("expected {}", self.expected()))
    }
}

/// A list in brackets: JSON, or TOML, which has single quotes as well.
fn bracketed(text: &str) -> Result<Json, String> {
    let items = serde_json::from_str::<Vec<Json>>(text).ok().or_else(|| {
        let table = format!("list = {text}").parse::<toml::Table>().ok()?;
        let list = serde_json::to_value(table.get("list")?).ok()?;
        list.as_array().cloned()
    });
    let items = items.ok_or(
        "expected a list of texts in quotes, as in `[\"a\", \"b\"]`, or without brackets, as in `a,b`",
    )?;
    match items.iter().position(|item| !item.is_string()) {
        None => Ok(Json::Array(items)),
        Some(odd) => Err(format!(
            "item {} is no text; expected it in quotes",
            odd + 1
        )),
    }
}

/// A list without brackets. What looks like a piece of one with brackets is no item.
fn separated(text: &str) -> Result<Json, String> {
    if text.trim().is_empty() {
        return Ok(Json::Array(Vec::new()));
    }
    let items: Vec<&str> = text.trim().split([',', '\n']).map(str::trim).collect();
    for item in &items {
        if item.is_empty() {
            return Err(String::from("an item is empty; expected as in `a,b`"));
        }
        if item.contains(['"', '\'', '[', ']']) {
            return Err(format!(
                "the item `{item}` has quotes or brackets; expected as in `a,b` or `[\"a\", \"b\"]`"
            ));
        }
    }
    Ok(items.into_iter().collect())
}

/// Whether `name` is a name of a variable or an input: `[a-z][a-z0-9_]*`.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
