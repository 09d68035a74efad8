//! Variables: declared with a type in the file, given by the caller, filled into the file's texts.
//!
//! In: the `variables` table, what was given, texts with `{{ var.NAME }}`. Out: values. A sensitive one stands for a
//! whole value only: it is not in what texts are rendered with, so it cannot become part of one. Deliberately
//! renders nothing but `{{ … }}`: `${#list}` of a shell script stays what it is.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;

use super::document::{Item, Raw, Table};
use super::kind::{Type, is_name};
use super::problem::{Place, Problem, listed};
use super::text::{self, Part};
use crate::secret::{SHORTEST_SECRET_BYTES, Secret};

/// A value of the definition.
#[derive(Clone)]
pub enum Value {
    /// Plain text, number, flag or list, as JSON.
    Plain(Json),
    /// Never shown.
    Secret {
        /// The sensitive variable that it comes from.
        variable: String,
        /// The value.
        value: Secret,
    },
}

impl Serialize for Value {
    /// Secret values are written as `{"secret": variable}`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(value) => value.serialize(serializer),
            Self::Secret { variable, .. } => {
                serializer.collect_map([("secret", variable.as_str())])
            }
        }
    }
}

/// The variables of a definition with their values, and the reader of all values that may use them.
pub(super) struct Variables {
    values: BTreeMap<String, Value>,
    plain: BTreeMap<String, Json>,
}

impl Variables {
    /// Reads the declarations and takes what was given for them.
    pub(super) fn read(
        table: Option<Table>,
        start: &Place,
        given: &BTreeMap<String, String>,
    ) -> Result<Self, Problem> {
        let at = table
            .as_ref()
            .map_or_else(|| start.below("variables"), |table| table.at.clone());
        let mut values = BTreeMap::new();
        for (name, item) in table.map(Table::items).unwrap_or_default() {
            if !is_name(&name) {
                return Err(item
                    .at
                    .problem("not a variable's name; expected lower-case letters, digits and `_`, a letter first")
                    .hint("templates name it as `{{ var.NAME }}`"));
            }
            let value = declared(&name, item.table()?, given.get(&name))?;
            values.insert(name, value);
        }
        if let Some(name) = given.keys().find(|name| !values.contains_key(*name)) {
            let known = || values.keys().map(String::as_str);
            return Err(at
                .below(name)
                .problem(format!(
                    "given but not declared; expected one of {}",
                    listed(known())
                ))
                .did_you_mean(
                    name,
                    known(),
                    format!("declare it with `[variables.{name}]`"),
                ));
        }
        let plain = values
            .iter()
            .filter_map(|(name, value)| match value {
                Value::Plain(value) => Some((name.clone(), value.clone())),
                Value::Secret { .. } => None,
            })
            .collect();
        Ok(Self { values, plain })
    }

    /// All of them, by name.
    pub(super) fn into_values(self) -> BTreeMap<String, Value> {
        self.values
    }

    /// Text, with variables filled in.
    pub(super) fn text(&self, item: Item) -> Result<String, Problem> {
        let at = item.at.clone();
        let source = item.text()?;
        let mut filled = String::with_capacity(source.len());
        for part in text::parts(&at, &source)? {
            match part {
                Part::Literal(literal) => filled.push_str(literal),
                Part::Expression(expression) => match self.evaluate(&at, expression)? {
                    Json::String(value) => filled.push_str(&value),
                    Json::Array(_) => {
                        return Err(at
                            .problem(format!("`{{{{{expression}}}}}` is a list; expected text"))
                            .hint("write `{{ var.NAME | join(\" \") }}`"));
                    }
                    value => filled.push_str(&value.to_string()),
                },
            }
        }
        Ok(filled)
    }

    /// An integer in a range, or a text that is nothing but an integer variable.
    pub(super) fn integer(&self, item: Item, least: u32, most: u32) -> Result<u32, Problem> {
        let at = item.at.clone();
        let number = self.whole(item)?.integer()?;
        u32::try_from(number)
            .ok()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| {
                at.problem(format!(
                    "{number} is out of range; expected {least} to {most}"
                ))
                .hint(format!("write a number from {least} to {most}"))
            })
    }

    /// `true` or `false`, or a text that is nothing but such a variable.
    pub(super) fn flag(&self, item: Item) -> Result<bool, Problem> {
        self.whole(item)?.flag()
    }

    /// Texts, or a text that is nothing but a list variable.
    pub(super) fn texts(&self, item: Item) -> Result<Vec<(Place, String)>, Problem> {
        self.whole(item)?
            .list()?
            .into_iter()
            .map(|item| Ok((item.at.clone(), self.text(item)?)))
            .collect()
    }

    /// A value for a script: the only kind of place in which a sensitive variable may stand.
    pub(super) fn value(&self, item: Item) -> Result<Value, Problem> {
        if let Raw::Text(source) = &item.raw
            && let [Part::Expression(expression)] = text::parts(&item.at, source)?.as_slice()
            && let Some(name) = expression.trim().strip_prefix("var.")
            && let Some(secret @ Value::Secret { .. }) = self.values.get(name)
        {
            return Ok(secret.clone());
        }
        let item = self.whole(item)?;
        Ok(Value::Plain(match &item.raw {
            Raw::Text(_) => Json::from(self.text(item)?),
            Raw::Integer(number) => Json::from(*number),
            Raw::Flag(flag) => Json::from(*flag),
            Raw::List(_) => {
                let texts = self.texts(item)?;
                texts
                    .into_iter()
                    .map(|(_, text)| Json::from(text))
                    .collect()
            }
            Raw::Table(_) | Raw::Other(_) => {
                return Err(item.unlike("text, an integer, true or false, or a list of texts"));
            }
        }))
    }

    /// The item; where it is a text that is nothing but one expression, with that expression's value and type.
    fn whole(&self, item: Item) -> Result<Item, Problem> {
        let Raw::Text(source) = &item.raw else {
            return Ok(item);
        };
        let parts = text::parts(&item.at, source)?;
        let [Part::Expression(expression)] = parts.as_slice() else {
            return Ok(item);
        };
        let line = item.at.line;
        let raw = match self.evaluate(&item.at, expression)? {
            Json::Bool(flag) => Raw::Flag(flag),
            Json::Array(items) => Raw::List(
                items
                    .into_iter()
                    .map(|item| match item {
                        Json::String(text) => (line, Raw::Text(text)),
                        other => (line, Raw::Text(other.to_string())),
                    })
                    .collect(),
            ),
            Json::Number(number) => number
                .as_i64()
                .map_or(Raw::Other("a number with a point"), Raw::Integer),
            // What a variable holds is not looked through for templates again.
            Json::String(text) => Raw::Text(text::escaped(&text)),
            Json::Null | Json::Object(_) => Raw::Other("nothing that can be written"),
        };
        Ok(Item { raw, ..item })
    }

    fn evaluate(&self, at: &Place, expression: &str) -> Result<Json, Problem> {
        text::evaluate(at, expression, &self.plain, |name| {
            match self.values.get(name) {
                Some(Value::Plain(_)) => Ok(()),
                Some(Value::Secret { .. }) => Err(at
                    .problem(format!(
                        "the sensitive variable `{name}` may not stand here; expected a plain one"
                    ))
                    .hint(format!(
                        "it may only be the whole value of an entry of `env`, `inputs` or ansible `variables`: `\"{{{{ var.{name} }}}}\"`"
                    ))),
                None => {
                    let known = || self.values.keys().map(String::as_str);
                    Err(at
                        .problem(format!(
                            "undefined variable `{name}`; expected one of {}",
                            listed(known())
                        ))
                        .did_you_mean(name, known(), format!("declare it with `[variables.{name}]`")))
                }
            }
        })
    }
}

/// The value of one declared variable.
fn declared(name: &str, mut table: Table, given: Option<&String>) -> Result<Value, Problem> {
    table.only(&["type", "default", "description", "sensitive"])?;
    let at = table.at.clone();
    let kind = Type::read(table.need("type", "string, integer, boolean or list")?)?;
    if let Some(item) = table.take("description") {
        item.text()?;
    }
    let sensitive = table.take("sensitive").map(Item::flag).transpose()?;
    let default = table.take("default");
    if sensitive == Some(true) {
        return secret(name, &at, kind, default, given);
    }
    let default = default.map(|item| kind.read_value(item)).transpose()?;
    match (given, default) {
        (Some(text), _) => kind.parse(text).map(Value::Plain).ok_or_else(|| {
            at.problem(format!("`{text}` was given; expected {}", kind.expected()))
                .hint(format!("give another value: `--var {name}=…`"))
        }),
        (None, Some(value)) => Ok(Value::Plain(value)),
        (None, None) => Err(at
            .problem("has no value; expected a default or a given value")
            .hint(format!("give it: `--var {name}=…`"))),
    }
}

fn secret(
    name: &str,
    at: &Place,
    kind: Type,
    default: Option<Item>,
    given: Option<&String>,
) -> Result<Value, Problem> {
    let how = format!(
        "give it: `VB_VAR_{}=…` in the environment",
        name.to_uppercase()
    );
    if kind != Type::String {
        return Err(at
            .below("type")
            .problem("a sensitive variable is a string; expected `type = \"string\"`")
            .hint("take numbers and lists apart in the script that uses them"));
    }
    if let Some(item) = default {
        return Err(item
            .at
            .problem("a sensitive variable has no default; expected none in the file")
            .hint(how));
    }
    let Some(text) = given else {
        return Err(at
            .problem("sensitive and not given; expected a value from outside the file")
            .hint(how));
    };
    if text.len() < SHORTEST_SECRET_BYTES {
        return Err(at
            .problem(format!(
                "the value that was given is too short to be kept secret; expected at least {SHORTEST_SECRET_BYTES} bytes"
            ))
            .hint("output is scrubbed of secrets, and so short a text is everywhere"));
    }
    Ok(Value::Secret {
        variable: name.to_owned(),
        value: Secret::new(text),
    })
}
