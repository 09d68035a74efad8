//! Matches the inputs of a step with the inputs of its provisioner.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::EnvValue;
use crate::definition::{Problem, Step, Value, closest_match, one_of};
use crate::provisioner::{Input, Provisioner};

/// The resolved inputs of a provisioner.
pub(super) struct Inputs {
    /// All inputs as environment variables.
    pub(super) env: BTreeMap<String, EnvValue>,
    /// Inputs that templates may use: all that are not sensitive.
    pub(super) plain: BTreeMap<String, Json>,
}

/// Checks the inputs that `step` sets, and adds the defaults of the others.
pub(super) fn decide(
    step: &Step,
    given: &BTreeMap<String, Value>,
    provisioner: &Provisioner,
) -> Result<Inputs, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut misspelt = Vec::new();
    let known = || provisioner.inputs.keys().map(String::as_str);
    for name in given
        .keys()
        .filter(|name| !known().any(|known| known == *name))
    {
        misspelt.extend(closest_match(name, known()));
        let problem = step.input_at(name).problem(format!(
            "unknown input of `{}`; expected {}",
            provisioner.name,
            one_of(known())
        ));
        problems.push(problem.with_suggestion(name, known(), "Remove it."));
    }
    let mut inputs = Inputs {
        env: BTreeMap::new(),
        plain: BTreeMap::new(),
    };
    for (name, input) in &provisioner.inputs {
        let value = match given.get(name) {
            Some(value) => checked_value(step, name, input, value),
            None if input.default.is_none() && misspelt.contains(&name.as_str()) => continue,
            None => default(step, name, input, provisioner).map(Value::Plain),
        };
        match value {
            Ok(value) => inputs.insert(name, input, &value),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(inputs)
    } else {
        Err(problems)
    }
}

impl Inputs {
    fn insert(&mut self, name: &str, input: &Input, value: &Value) {
        if let (false, Value::Plain(value)) = (input.sensitive, value) {
            self.plain.insert(name.to_owned(), value.clone());
        }
        let variable = format!("VB_INPUT_{}", name.to_uppercase());
        self.env.insert(variable, EnvValue::from_value(value));
    }
}

fn checked_value(step: &Step, name: &str, input: &Input, value: &Value) -> Result<Value, Problem> {
    let at = || step.input_at(name);
    match value {
        Value::Secret { .. } if input.sensitive => Ok(value.clone()),
        Value::Secret { variable, .. } => Err(at()
            .problem(format!(
                "the sensitive variable `{variable}` for an input that is not sensitive; expected a plain value"
                ))
                .with_hint("Use a plain value: the provisioner may write this input into the image.")),
        Value::Plain(plain) if input.sensitive => Err(at()
            .problem(format!(
                "expected a sensitive variable, found {} in the file",
                if plain.is_string() { "text" } else { "a plain value" }
            ))
            .with_hint(format!(
                "Declare a variable with `sensitive = true` and write `{name} = \"{{{{ var.NAME }}}}\"`."
            ))),
        Value::Plain(plain) if input.kind.fits(plain) => {
            let pattern = input.pattern.as_ref();
            match pattern.and_then(|pattern| pattern.malformed(plain)) {
                None => Ok(value.clone()),
                Some(text) => Err(at()
                .problem(format!("`{text}` does not match the input's pattern"))
                .with_hint(describe(name, input))),
            }
        }
        Value::Plain(plain) => Err(at()
            .problem(format!("expected {}, found `{plain}`", input.kind.expected()))
            .with_hint(describe(name, input))),
    }
}

/// Returns the hint to set an input, with the provisioner's description of it.
fn describe(name: &str, input: &Input) -> String {
    format!("Set `{name}`: {}.", input.description.trim_end_matches('.'))
}

fn default(
    step: &Step,
    name: &str,
    input: &Input,
    provisioner: &Provisioner,
) -> Result<Json, Problem> {
    input.default.clone().ok_or_else(|| {
        step.input_at(name)
            .problem(format!(
                "missing; `{}` expects {}",
                provisioner.name,
                input.kind.expected()
            ))
            .with_hint(describe(name, input))
    })
}

impl EnvValue {
    /// Formats a value for scripts: one line for each item of a list, flags as `true` and `false`.
    pub(super) fn from_value(value: &Value) -> Self {
        match value {
            Value::Secret { variable, value } => Self::Secret {
                variable: variable.clone(),
                value: value.clone(),
            },
            Value::Plain(value) => Self::Plain(plain(value)),
        }
    }
}

fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    }
}
