//! Types of variables and inputs.
//! Takes items of a file or texts of a command line, returns values of the type as JSON.

use serde::Serialize;
use serde_json::Value as Json;

use super::document::Item;
use super::problem::{Problem, quoted_list};
use super::text;

/// The type of a variable or an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// A text.
    String,
    /// An integer of 64 bits.
    Integer,
    /// `true` or `false`.
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
                        quoted_list(known)
                    ))
                    .with_suggestion(
                        &name,
                        known,
                        "Write one of these types. A list has strings.",
                    ));
            }
        })
    }

    /// Describes a value of the type.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::String => "text in quotes",
            Self::Integer => "an integer",
            Self::Boolean => "true or false",
            Self::List => "a list of texts",
        }
    }

    /// Tells if `value` has the type.
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

    /// Reads a default value from the file. Refuses templates, which are not rendered there.
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
                    "`{text}` would not be rendered: a default is not a template; expected a plain value"
                ))
                .with_hint("Write the template where the variable is used, as in `\"{{ var.a }}-{{ var.b }}\"`.")),
        }
    }

    /// Parses a text of a command line or the environment. An error is the description of the
    /// defect.
    ///
    /// Items of a list are separated by commas or line ends, or the list is in brackets, as in JSON
    /// and TOML.
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

/// Parses a list in brackets: JSON, or TOML, which also has single quotes.
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
        Some(index) => Err(format!(
            "item {} is no text; expected it in quotes",
            index + 1
        )),
    }
}

/// Parses a list without brackets. Refuses items with quotes or brackets.
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

/// Tells if `name` can name a variable or an input: `[a-z][a-z0-9_]*`.
pub(crate) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
