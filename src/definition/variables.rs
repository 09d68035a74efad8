//! Fills the variables of a definition into its texts: `{{ var.NAME }}`.
//! Takes the `variables` table and the caller's values, returns typed values.
//! A sensitive variable can only be a whole value: texts are rendered without it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value as Json;

use super::document::{Item, Raw, Table};
use super::kind::{Type, is_variable_name};
use super::problem::{Location, Problem, ProblemLog, closest_match, one_of};
use super::text::{self, Part};
use crate::secret::{SHORTEST_SECRET_BYTES, Secret};

/// A value of a definition.
#[derive(Clone)]
pub enum Value {
    /// A text, number, flag or list, as JSON.
    Plain(Json),
    /// A secret, which is only shown by the name of its variable.
    Secret {
        /// Name of the sensitive variable.
        variable: String,
        /// Value of the variable.
        value: Secret,
    },
}

impl Serialize for Value {
    /// Writes secrets as `{"secret": variable}`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(value) => value.serialize(serializer),
            Self::Secret { variable, .. } => {
                serializer.collect_map([("secret", variable.as_str())])
            }
        }
    }
}

/// The variables of a definition, with readers for values that may use them.
pub(crate) struct Variables {
    values: BTreeMap<String, Value>,
    plain: BTreeMap<String, Json>,
    /// Variables without a value, because their declaration has a reported problem.
    broken: BTreeSet<String>,
}

impl Variables {
    /// Reads the declarations and the values `given` for them. Problems are added to `found`.
    pub(crate) fn read(
        table: Option<Table>,
        start: &Location,
        given: &BTreeMap<String, String>,
        found: &ProblemLog,
    ) -> Self {
        let at = table
            .as_ref()
            .map_or_else(|| start.below("variables"), |table| table.at.clone());
        let mut values = BTreeMap::new();
        let mut broken = BTreeSet::new();
        for (name, item) in table.map(Table::items).unwrap_or_default() {
            let value = variable(&name, item, given.get(&name));
            match found.ok_or_record(value) {
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
                "given but not declared; expected {}",
                one_of(known())
            ));
            found.record(problem.with_suggestion(
                name,
                known(),
                format!("Declare it with `[variables.{name}]`."),
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

    /// Returns all values by name.
    pub(crate) fn into_values(self) -> BTreeMap<String, Value> {
        self.values
    }

    /// Reads a text and fills in variables.
    pub(crate) fn text(&self, item: Item) -> Result<String, Problem> {
        let (at, found) = (item.at.clone(), item.found.clone());
        let source = item.text()?;
        let parts = text::parts(&at, &source)?.into_iter();
        let filled = parts.map(|part| match part {
            Part::Literal(literal) => Ok(literal.to_owned()),
            Part::Expression(expression) => match self.evaluate(&at, expression)? {
                Json::String(value) => Ok(value),
                Json::Array(_) => Err(at
                    .problem(format!("`{{{{{expression}}}}}` is a list; expected text"))
                    .with_hint("Write `{{ var.NAME | join(\" \") }}`.")),
                value => Ok(value.to_string()),
            },
        });
        Ok(found.all_or_record(&at, filled)?.concat())
    }

    /// Reads an integer in a range, or a text that consists of one integer variable.
    pub(crate) fn integer(&self, item: Item, least: u32, most: u32) -> Result<u32, Problem> {
        let at = item.at.clone();
        let number = self.whole(item)?.integer()?;
        u32::try_from(number)
            .ok()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| {
                at.problem(format!(
                    "{number} is out of range; expected {least} to {most}"
                ))
                .with_hint(format!("Write a number from {least} to {most}."))
            })
    }

    /// Reads a boolean, or a text that consists of one boolean variable.
    pub(crate) fn flag(&self, item: Item) -> Result<bool, Problem> {
        self.whole(item)?.flag()
    }

    /// Reads a list of texts, or a text that consists of one list variable.
    pub(crate) fn texts(&self, item: Item) -> Result<Vec<(Location, String)>, Problem> {
        let (at, found) = (item.at.clone(), item.found.clone());
        let items = self.whole(item)?.list()?.into_iter();
        found.all_or_record(
            &at,
            items.map(|item| Ok((item.at.clone(), self.text(item)?))),
        )
    }

    /// Reads a value that is no table, and no sensitive variable.
    pub(crate) fn plain(&self, item: Item) -> Result<Json, Problem> {
        let item = self.whole(item)?;
        Ok(match &item.raw {
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
                return Err(item.wrong_type("text, an integer, true or false, or a list of texts"));
            }
        })
    }

    /// Reads a value for a script. Only such a value can be a sensitive variable.
    pub(crate) fn value(&self, item: Item) -> Result<Value, Problem> {
        if let Raw::Text(source) = &item.raw
            && let [Part::Expression(expression)] = text::parts(&item.at, source)?.as_slice()
            && let Some(name) = expression.trim().strip_prefix("var.")
            && let Some(secret @ Value::Secret { .. }) = self.values.get(name)
        {
            return Ok(secret.clone());
        }
        self.plain(item).map(Value::Plain)
    }

    /// Returns the item. If it is a text of one expression, it gets the value and type of that.
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
            // Escaped, so that a template in the variable's value is not rendered.
            Json::String(text) => Raw::Text(text::escaped(&text)),
            Json::Null | Json::Object(_) => Raw::Other("a value that TOML cannot express"),
        };
        Ok(Item { raw, ..item })
    }

    fn evaluate(&self, at: &Location, expression: &str) -> Result<Json, Problem> {
        text::evaluate(at, expression, &self.plain, |name| {
            match self.values.get(name) {
                Some(Value::Plain(_)) => Ok(()),
                Some(Value::Secret { .. }) => Err(at
                    .problem(format!(
                        "the sensitive variable `{name}` is not allowed here; expected a plain one"
                    ))
                    .with_hint(format!(
                        "Use it only as a whole value in `env`, `inputs` or ansible `variables`: `\"{{{{ var.{name} }}}}\"`."
                    ))),
                None if self.broken.contains(name) => Err(at.already_reported()),
                None => {
                    let known = || self.values.keys().chain(&self.broken).map(String::as_str);
                    Err(at
                        .problem(format!(
                            "undefined variable `{name}`; expected {}",
                            one_of(known())
                        ))
                        .with_suggestion(name, known(), format!("Declare it with `[variables.{name}]`.")))
                }
            }
        })
    }

    /// Refuses a script that reads `VB_VAR_…`. These variables are for the caller, steps do not get
    /// them.
    pub(crate) fn refuse_caller_variables(
        &self,
        at: &Location,
        script: &str,
    ) -> Result<(), Problem> {
        let Some((line, name)) = variable_read_by(script) else {
            return Ok(());
        };
        let known = self.values.keys().chain(&self.broken).map(String::as_str);
        let name = closest_match(&name, known).unwrap_or(&name).to_owned();
        let upper = name.to_uppercase();
        Err(at
            .problem(format!(
                "line {line} of the script reads a `VB_VAR_…` variable, which steps do not get; expected an entry of `env`"
            ))
            .with_hint(format!(
                "Add `env = {{ {upper} = \"{{{{ var.{name} }}}}\" }}` to the step and read `${upper}`."
            )))
    }
}

/// Returns the line, from 1, and the name of the first `VB_VAR_NAME` that a script reads but does
/// not set.
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
            let is_part_of_name = before.ends_with(word) || end == 0;
            // `$NAME` and `${NAME}` of shells, and a name in quotes, as in other languages.
            let reads = before.ends_with('$')
                || before.ends_with("${")
                || before.ends_with("${#")
                || before.ends_with(['"', '\'']) && rest[end..].starts_with(['"', '\'']);
            let set = format!("{VARIABLE}{}=", &rest[..end]);
            if reads && !is_part_of_name && !script.contains(&set) {
                return Some((index + 1, rest[..end].to_owned()));
            }
        }
    }
    None
}

/// Prefix of environment variables that set a variable of a definition.
const VARIABLE: &str = "VB_VAR_";

/// Returns the value of one variable of the table.
fn variable(name: &str, item: Item, given: Option<&String>) -> Result<Value, Problem> {
    if !is_variable_name(name) {
        return Err(item
            .at
            .problem("not a variable's name; expected lower-case letters, digits and `_`, a letter first")
            .with_hint("Rename it, so that templates can use `{{ var.NAME }}`."));
    }
    declared(name, item.table()?, given)
}

fn declared(name: &str, mut table: Table, given: Option<&String>) -> Result<Value, Problem> {
    table.reject_unknown(&["type", "default", "description", "sensitive"]);
    let (at, found) = (table.at.clone(), table.found.clone());
    let kind = table.required("type", "string, integer, boolean or list", Type::read);
    let described = table.take("description").map(Item::text).transpose();
    found.ok_or_record(described);
    let mut sensitive = false;
    table.read_into("sensitive", &mut sensitive, Item::flag);
    let default = table.take("default");
    let kind = kind.ok_or_else(|| at.already_reported())?;
    if sensitive {
        return secret(name, &at, kind, default, given);
    }
    let default = default.map(|item| kind.read_default(item)).transpose()?;
    match (given, default) {
        (Some(text), _) => kind.parse(text).map(Value::Plain).map_err(|reason| {
            at.problem(format!("`{text}` was given; {reason}"))
                .with_hint(format!("Give another value: `--var {name}=…`."))
        }),
        (None, Some(value)) => Ok(Value::Plain(value)),
        // The key that makes the variable optional, or a secret, is misspelt.
        (None, None) if table.is_misspelt("default") || table.is_misspelt("sensitive") => {
            Err(at.already_reported())
        }
        (None, None) => Err(at
            .problem("has no value; expected a default or a given value")
            .with_hint(format!("Give a value: `--var {name}=…`."))),
    }
}

fn secret(
    name: &str,
    at: &Location,
    kind: Type,
    default: Option<Item>,
    given: Option<&String>,
) -> Result<Value, Problem> {
    let hint = format!("Set `{VARIABLE}{name}=…` in the environment.");
    if kind != Type::String {
        return Err(at
            .below("type")
            .problem("a sensitive variable is a string; expected `type = \"string\"`")
            .with_hint("Use a string, and parse numbers and lists in the script."));
    }
    if let Some(item) = default {
        return Err(item
            .at
            .problem("a sensitive variable has no default; expected none in the file")
            .with_hint(hint));
    }
    let Some(text) = given else {
        return Err(at
            .problem("sensitive and not given; expected a value from outside the file")
            .with_hint(hint));
    };
    if text.len() < SHORTEST_SECRET_BYTES {
        return Err(at
            .problem(format!(
                "the given value is too short to be scrubbed from output; expected at least {SHORTEST_SECRET_BYTES} bytes"
            ))
            .with_hint("Use a longer secret."));
    }
    Ok(Value::Secret {
        variable: name.to_owned(),
        value: Secret::new(text),
    })
}
