//! Texts with `{{ … }}` in them: taken apart, and what is between the braces evaluated.
//!
//! In: a text, names and their values. Out: its parts, or an expression's value as JSON. Deliberately has no
//! statements and no comments, so that `{%` and `{#` of scripts are ordinary text.

use std::collections::BTreeMap;

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value as Json;

use super::problem::{Location, Problem};

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// As it is.
    Literal(&'a str),
    /// What stands between `{{` and `}}`.
    Expression(&'a str),
}

/// Takes `text` apart.
pub(super) fn parts<'a>(at: &Location, text: &'a str) -> Result<Vec<Part<'a>>, Problem> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        let after = &rest[open + 2..];
        let close = closing(after).ok_or_else(|| {
            at.problem("`{{` without `}}`; expected `{{ var.NAME }}`")
                .hint("write `{{ '{{' }}` where two braces are meant")
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

/// `text` such that taking it apart and evaluating it gives `text` again.
pub(super) fn escaped(text: &str) -> String {
    text.replace("{{", "{{ '{{' }}")
}

/// Whether `text` has a template in it that names a variable.
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

/// The value of `expression`. `judge` is asked about every variable that it names, before anything is evaluated.
pub(super) fn evaluate(
    at: &Location,
    expression: &str,
    variables: &BTreeMap<String, Json>,
    judge: impl Fn(&str) -> Result<(), Problem>,
) -> Result<Json, Problem> {
    let invalid = |error: &minijinja::Error| {
        let detail = error
            .detail()
            .map_or_else(String::new, |detail| format!(": {detail}"));
        at.problem(format!("`{{{{{expression}}}}}`: {}{detail}", error.kind()))
            .hint("expected `{{ var.NAME }}`, perhaps with a filter as in `{{ var.NAME | upper }}`")
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
            judge(name.split('.').next().unwrap_or(name))?;
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
            .hint("variables are named as `var.NAME`; texts know no other names")),
    }
}

/// Where `}}` begins, outside of quotes.
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
