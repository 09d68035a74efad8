//! Variables: declared with a type in the file, given by the caller, filled into the file's texts.
//!
//! In: the `variables` table, what was given, texts with `{{ var.NAME }}`. Out: values. A sensitive one stands for a
//! whole value only: it is not in what texts are rendered with, so it cannot become part of one. Deliberately
//! renders nothing but `{{ … }}`: `${#list}` of a shell script stays what it is.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value as Json;

use super::document::{Item, Raw, Table};
use super::kind::{Type, is_name};
use super::problem::{Found, Location, Problem, listed, meant};
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
    /// Those that have no value, for a reason that was given.
    broken: BTreeSet<String>,
}

impl Variables {
    /// Reads the declarations and takes what was given for them. Problems are noted in `found`.
    pub(super) fn read(
        table: Option<Table>,
        start: &Location,
        given: &BTreeMap<String, String>,
        found: &Found,
    ) -> Self {
        let at = table
            .as_ref()
            .map_or_else(|| start.below("variables"), |table| table.at.clone());
        let mut values = BTreeMap::new();
        let mut broken = BTreeSet::new();
        for (name, item) in table.map(Table::items).unwrap_or_default() {
            let value = variable(&name, item, given.get(&name));
            match found.value(value) {
                Some(value) => {
                    values.insert(name, value);
                }
                None => {
                    broken.insert(name);
                }
            }
        }
        for name in given.keys() {
            if values.contains_key(name) || broken.contains(name) {
                continue;
            }
            let known = || values.keys().chain(&broken).map(String::as_str);
            let problem = at.below(name).problem(format!(
                "given but not declared; expected one of {}",
                listed(known())
            ));
            found.note(problem.did_you_mean(
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
        Self {
            values,
            plain,
            broken,
        }
    }

    /// All of them, by name.
    pub(super) fn into_values(self) -> BTreeMap<String, Value> {
        self.values
    }

    /// Text, with variables filled in.
    pub(super) fn text(&self, item: Item) -> Result<String, Problem> {
        let (at, found) = (item.at.clone(), item.found.clone());
        let source = item.text()?;
        let parts = text::parts(&at, &source)?.into_iter();
        let filled = parts.map(|part| match part {
            Part::Literal(literal) => Ok(literal.to_owned()),
            Part::Expression(expression) => match self.evaluate(&at, expression)? {
                Json::String(value) => Ok(value),
                Json::Array(_) => Err(at
                    .problem(format!("`{{{{{expression}}}}}` is a list; expected text"))
                    .hint("write `{{ var.NAME | join(\" \") }}`")),
                value => Ok(value.to_string()),
            },
        });
        Ok(found.all(&at, filled)?.concat())
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
    pub(super) fn texts(&self, item: Item) -> Result<Vec<(Location, String)>, Problem> {
        let (at, found) = (item.at.clone(), item.found.clone());
        let items = self.whole(item)?.list()?.into_iter();
        found.all(
            &at,
            items.map(|item| Ok((item.at.clone(), self.text(item)?))),
        )
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

    fn evaluate(&self, at: &Location, expression: &str) -> Result<Json, Problem> {
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
                None if self.broken.contains(name) => Err(at.described()),
                None => {
                    let known = || self.values.keys().chain(&self.broken).map(String::as_str);
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

    /// Refuses a script that reads `VB_VAR_…`: these are for the caller's environment, and no step has them.
    pub(super) fn reaches(&self, at: &Location, script: &str) -> Result<(), Problem> {
        let Some((line, name)) = variable_read_by(script) else {
            return Ok(());
        };
        let known = self.values.keys().chain(&self.broken).map(String::as_str);
        let name = meant(&name, known).unwrap_or(&name).to_owned();
        let upper = name.to_uppercase();
        Err(at
            .problem(format!(
                "line {line} of the script reads a `VB_VAR_…` variable, and no step is given one; expected an entry of `env`"
            ))
            .hint(format!(
                "add `env = {{ {upper} = \"{{{{ var.{name} }}}}\" }}` to the step and read `${upper}`"
            )))
    }
}

/// The name of the first `VB_VAR_NAME` that a script reads and does not set itself, with its line, from 1.
pub(crate) fn variable_read_by(script: &str) -> Option<(usize, String)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (index, line) in script.lines().enumerate() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        for (start, _) in line.match_indices(VARIABLE) {
            let rest = &line[start + VARIABLE.len()..];
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            let before = &line[..start];
            let own = before.ends_with(word) || end == 0;
            // `$NAME` and `${NAME}` of shells; a name in quotes, as other languages ask for one.
            let reads = before.ends_with('$')
                || before.ends_with("${")
                || before.ends_with("${#")
                || before.ends_with(['"', '\'']) && rest[end..].starts_with(['"', '\'']);
            let set = format!("{VARIABLE}{}=", &rest[..end]);
            if reads && !own && !script.contains(&set) {
                return Some((index + 1, rest[..end].to_owned()));
            }
        }
    }
    None
}

/// How the environment names a variable of a definition.
const VARIABLE: &str = "VB_VAR_";

/// The value of one variable that the file declares.
fn variable(name: &str, item: Item, given: Option<&String>) -> Result<Value, Problem> {
    if !is_name(name) {
        return Err(item
            .at
            .problem("not a variable's name; expected lower-case letters, digits and `_`, a letter first")
            .hint("templates name it as `{{ var.NAME }}`"));
    }
    declared(name, item.table()?, given)
}

fn declared(name: &str, mut table: Table, given: Option<&String>) -> Result<Value, Problem> {
    table.only(&["type", "default", "description", "sensitive"]);
    let (at, found) = (table.at.clone(), table.found.clone());
    let kind = table.required("type", "string, integer, boolean or list", Type::read);
    let described = table.take("description").map(Item::text).transpose();
    found.value(described);
    let mut sensitive = false;
    table.set("sensitive", &mut sensitive, Item::flag);
    let default = table.take("default");
    let kind = kind.ok_or_else(|| at.described())?;
    if sensitive {
        return secret(name, &at, kind, default, given);
    }
    let default = default.map(|item| kind.read_default(item)).transpose()?;
    match (given, default) {
        (Some(text), _) => kind.parse(text).map(Value::Plain).map_err(|why| {
            at.problem(format!("`{text}` was given; {why}"))
                .hint(format!("give another value: `--var {name}=…`"))
        }),
        (None, Some(value)) => Ok(Value::Plain(value)),
        // What was meant to make it optional, or a secret, is misspelt.
        (None, None) if table.is_misspelt("default") || table.is_misspelt("sensitive") => {
            Err(at.described())
        }
        (None, None) => Err(at
            .problem("has no value; expected a default or a given value")
            .hint(format!("give it: `--var {name}=…`"))),
    }
}

fn secret(
    name: &str,
    at: &Location,
    kind: Type,
    default: Option<Item>,
    given: Option<&String>,
) -> Result<Value, Problem> {
    let how = format!("give it: `{VARIABLE}{name}=…` in the environment");
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
