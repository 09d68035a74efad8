//! Splits texts at `{{ … }}` and evaluates the expressions between the braces.
//! Takes a text and the values of variables, returns the parts or a value as JSON.
//! Statements and comments of templates are not supported: `{%` and `{#` of scripts are plain text.

use std::collections::BTreeMap;

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value as Json;

use super::problem::{Location, Problem};

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Text without templates.
    Literal(&'a str),
    /// The expression between `{{` and `}}`.
    Expression(&'a str),
}

/// Splits `text` into literals and expressions.
pub(super) fn parts<'a>(at: &Location, text: &'a str) -> Result<Vec<Part<'a>>, Problem> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        let after = &rest[open + 2..];
        let close = closing(after).ok_or_else(|| {
            at.problem("`{{` without `}}`; expected `{{ var.NAME }}`")
                .with_hint("To get two braces, write `{{ '{{' }}`.")
        })?;
        if open > 0 {
            parts.push(Part::Literal(&rest[..open]));
        }
        parts.push(Part::Expression(&after[..close]));
        rest = &after[close + 2..];
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    Ok(parts)
}

/// Escapes `text`, so that rendering it returns `text`.
pub(super) fn escaped(text: &str) -> String {
    text.replace("{{", "{{ '{{' }}")
}

/// Tells if a template in `text` names a variable.
pub(super) fn names_a_variable(text: &str) -> bool {
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        rest = &rest[open + 2..];
        let inside = &rest[..closing(rest).unwrap_or(0)];
        let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.');
        if inside.split(word).any(|word| word.starts_with("var.")) {
            return true;
        }
    }
    false
}

/// Evaluates `expression`, after `check` has accepted every variable that it names.
pub(super) fn evaluate(
    at: &Location,
    expression: &str,
    variables: &BTreeMap<String, Json>,
    check: impl Fn(&str) -> Result<(), Problem>,
) -> Result<Json, Problem> {
    let invalid = |error: &minijinja::Error| {
        let detail = error
            .detail()
            .map_or_else(String::new, |detail| format!(": {detail}"));
        at.problem(format!("`{{{{{expression}}}}}`: {}{detail}", error.kind()))
            .with_hint("Write `{{ var.NAME }}`, or with a filter: `{{ var.NAME | upper }}`.")
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let compiled = environment
        .compile_expression(expression)
        .map_err(|error| invalid(&error))?;
    let mut named: Vec<String> = compiled.undeclared_variables(true).into_iter().collect();
    named.sort();
    for name in &named {
        if let Some(name) = name.strip_prefix("var.") {
            check(name.split('.').next().unwrap_or(name))?;
        }
    }
    let value = compiled
        .eval(Serde(BTreeMap::from([("var", variables)])))
        .map_err(|error| invalid(&error))?;
    match serde_json::to_value(&value) {
        Ok(value @ (Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_)))
            if !named.iter().any(|name| name == "var") =>
        {
            Ok(value)
        }
        _ => Err(at
            .problem(format!(
                "`{{{{{expression}}}}}` has no value; expected `{{{{ var.NAME }}}}`"
            ))
            .with_hint("Write variables as `var.NAME`. There are no other names.")),
    }
}

/// Returns the offset of the first `}}` outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            (None, b'}') if text.as_bytes().get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
    }
    None
}
