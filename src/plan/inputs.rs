//! A step's inputs, matched with what its provisioner takes.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::EnvValue;
use crate::definition::{Problem, Step, Value, listed, meant};
use crate::provisioner::{Input, Provisioner};

/// Every input of a provisioner, decided.
pub(super) struct Inputs {
    /// As environment variables.
    pub(super) env: BTreeMap<String, EnvValue>,
    /// Those that templates may use.
    pub(super) plain: BTreeMap<String, Json>,
}

/// Decides the inputs of `step`: given ones, checked, and defaults; or says all that is wrong with them.
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
        misspelt.extend(meant(name, known()));
        let problem = step.input_at(name).problem(format!(
            "unknown input of `{}`; expected one of {}",
            provisioner.name,
            listed(known())
        ));
        problems.push(problem.did_you_mean(name, known(), "remove it"));
    }
    let mut inputs = Inputs {
        env: BTreeMap::new(),
        plain: BTreeMap::new(),
    };
    for (name, input) in &provisioner.inputs {
        let value = match given.get(name) {
            Some(value) => checked(step, name, input, value),
            None if input.default.is_none() && misspelt.contains(&name.as_str()) => continue,
            None => default(step, name, input, provisioner).map(Value::Plain),
        };
        match value {
            Ok(value) => inputs.take(name, input, &value),
            Err(problem) => problems.push(problem),
        }
    }
    match problems.is_empty() {
        true => Ok(inputs),
        false => Err(problems),
    }
}

impl Inputs {
    fn take(&mut self, name: &str, input: &Input, value: &Value) {
        if let (false, Value::Plain(value)) = (input.sensitive, value) {
            self.plain.insert(name.to_owned(), value.clone());
        }
        let variable = format!("VB_INPUT_{}", name.to_uppercase());
        self.env.insert(variable, EnvValue::of(value));
    }
}

fn checked(step: &Step, name: &str, input: &Input, value: &Value) -> Result<Value, Problem> {
    let at = || step.input_at(name);
    match value {
        Value::Secret { .. } if input.sensitive => Ok(value.clone()),
        Value::Secret { variable, .. } => Err(at()
            .problem(format!(
                "the sensitive variable `{variable}` for an input that is not; expected a plain value"
            ))
            .hint("the provisioner would write it into a file of the image")),
        Value::Plain(plain) if input.sensitive => Err(at()
            .problem(format!(
                "expected a sensitive variable, found {} in the file",
                if plain.is_string() { "text" } else { "a plain value" }
            ))
            .hint(format!(
                "declare one with `sensitive = true` and write `{name} = \"{{{{ var.NAME }}}}\"`"
            ))),
        Value::Plain(plain) if input.kind.fits(plain) => {
            let pattern = input.pattern.as_ref();
            match pattern.and_then(|pattern| pattern.malformed(plain)) {
                None => Ok(value.clone()),
                Some(odd) => Err(at()
                    .problem(format!("`{odd}` is not of the form that is expected here"))
                    .hint(input.description.clone())),
            }
        }
        Value::Plain(plain) => Err(at()
            .problem(format!("expected {}, found `{plain}`", input.kind.expected()))
            .hint(input.description.clone())),
    }
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
            .hint(input.description.clone())
    })
}

impl EnvValue {
    /// A value as scripts see it: lists one item a line, flags as `true` and `false`.
    pub(super) fn of(value: &Value) -> Self {
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
