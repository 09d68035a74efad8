//! Evaluates expressions in ARM templates.
//! Supports `parameters('x')` and `variables('x')`. All other expressions are unknown.
//! A nested deployment has values of its own, or those of the outer template.

use serde_json::{Map, Value};

/// The largest depth of nested expressions.
pub(super) const MAX_DEPTH: usize = 8;

/// The largest number of expressions that are followed in one value.
const MAX_EXPRESSIONS: usize = 1000;

/// An expression without a value.
const UNKNOWN: &str = "[unknown()]";

/// The parameters and variables of a template.
#[derive(Clone, Default)]
pub(super) struct Scope {
    /// Whether texts may be expressions.
    expressions: bool,
    given: Value,
    /// The template, with its `parameters` and `variables`.
    template: Value,
    /// Another scope that may apply instead. A value is known only if both agree.
    other: Option<Box<Scope>>,
}

impl Scope {
    /// Returns the scope of a template that is deployed by itself.
    pub(super) fn of_template(template: &Value, given: &Value) -> Self {
        Self {
            expressions: true,
            given: given.clone(),
            template: template.clone(),
            other: None,
        }
    }

    /// Returns the scope of the template in the `properties` of a deployment, with their unknown
    /// parts.
    pub(super) fn within(&self, properties: &Value, template: &Value, unknown: &Value) -> Self {
        let given = overlay(get(properties, "parameters"), get(unknown, "parameters"));
        let template = overlay(template, get(unknown, "template"));
        let inner = Self::of_template(&template, &self.evaluate_all(&given));
        if !self.expressions {
            return inner;
        }
        let requested = get(get(properties, "expressionEvaluationOptions"), "scope");
        let requested = requested.as_str().unwrap_or("outer").to_ascii_lowercase();
        let names = ["parameters", "variables"].map(|key| get(&template, key));
        let own = |names: &Value| match names {
            Value::Object(names) => !names.is_empty(),
            names => !names.is_null(),
        };
        match requested.as_str() {
            "inner" => inner,
            "outer" if !names.into_iter().any(own) => self.clone(),
            _ => Self {
                other: Some(Box::new(self.clone())),
                ..inner
            },
        }
    }

    /// Whether a value is an expression.
    pub(super) fn is_expression(&self, value: &Value) -> bool {
        let text = value.as_str().unwrap_or_default().trim_end();
        self.expressions && text.starts_with('[') && !text.starts_with("[[") && text.ends_with(']')
    }

    /// Returns the value of an expression, or `None` if only Azure can evaluate it. Other values
    /// are returned unchanged.
    pub(super) fn resolved(&self, value: &Value) -> Option<Value> {
        let own = self.follow(value, MAX_DEPTH)?;
        match &self.other {
            Some(other) => (other.resolved(value)? == own).then_some(own),
            None => Some(own),
        }
    }

    fn follow(&self, value: &Value, deepest: usize) -> Option<Value> {
        if !self.is_expression(value) {
            return Some(value.clone());
        }
        let expression = value.as_str()?.trim_end();
        let expression = expression.strip_prefix('[')?.strip_suffix(']')?.trim();
        let found = match argument(expression, "parameters") {
            Some(name) => self.parameter(name)?,
            None => get(
                get(&self.template, "variables"),
                argument(expression, "variables")?,
            ),
        };
        match (found, deepest) {
            (Value::Null, _) | (_, 0) => None,
            (found, _) => self.follow(found, deepest - 1),
        }
    }

    /// Returns the value of a parameter: the given one, even if it is a Key Vault reference, or
    /// else its default.
    fn parameter(&self, name: &str) -> Option<&Value> {
        let given = parameters_of(&self.given);
        match given {
            Value::Null => {}
            Value::Object(entries) => {
                let mut names = entries.keys();
                if names.any(|one| one.eq_ignore_ascii_case(name)) {
                    return Some(get(get(given, name), "value"));
                }
            }
            _ => return None,
        }
        let declared = get(get(&self.template, "parameters"), name);
        Some(get(declared, "defaultValue"))
    }

    /// Evaluates all expressions in a value, as far as possible.
    fn evaluate_all(&self, value: &Value) -> Value {
        let mut budget = MAX_EXPRESSIONS;
        self.evaluate_nested(value, MAX_DEPTH, &mut budget)
    }

    fn evaluate_nested(&self, value: &Value, depth: usize, budget: &mut usize) -> Value {
        if self.is_expression(value) {
            let left = depth > 0 && *budget > 0;
            *budget = budget.saturating_sub(1);
            let found = left.then(|| self.resolved(value)).flatten();
            return match found {
                Some(found) => self.evaluate_nested(&found, depth - 1, budget),
                None => UNKNOWN.into(),
            };
        }
        match value {
            Value::Array(items) => {
                let items = items
                    .iter()
                    .map(|item| self.evaluate_nested(item, depth, budget));
                Value::Array(items.collect())
            }
            Value::Object(entries) => {
                let entries = entries.iter();
                let each = entries
                    .map(|(key, one)| (key.clone(), self.evaluate_nested(one, depth, budget)));
                Value::Object(each.collect())
            }
            value => value.clone(),
        }
    }
}

/// Merges values with their unknown parts, which become expressions without a value.
pub(in crate::terraform) fn overlay(value: &Value, unknown: &Value) -> Value {
    match (value, unknown) {
        (_, Value::Bool(true)) => UNKNOWN.into(),
        (Value::Object(_) | Value::Null, Value::Object(later)) if !later.is_empty() => {
            let mut all: Map<String, Value> = value.as_object().cloned().unwrap_or_default();
            for (key, later) in later {
                let known = value.get(key).unwrap_or(&Value::Null);
                let one = overlay(known, later);
                // Terraform also marks known values, by `false` or by an empty object.
                if !one.is_null() || all.contains_key(key) {
                    all.insert(key.clone(), one);
                }
            }
            Value::Object(all)
        }
        (Value::Array(items), Value::Array(later)) => {
            let later = |at: usize| later.get(at).unwrap_or(&Value::Null);
            let items = items.iter().enumerate();
            items.map(|(at, item)| overlay(item, later(at))).collect()
        }
        (value, _) => value.clone(),
    }
}

/// Returns the parameters themselves: a parameter file nests them one level deeper.
fn parameters_of(value: &Value) -> &Value {
    match get(value, "parameters") {
        inner @ Value::Object(entries)
            if !entries.contains_key("value") && !entries.contains_key("reference") =>
        {
            inner
        }
        _ => value,
    }
}

/// Returns `x` of `function('x')`. Names of functions are case-insensitive.
fn argument<'a>(expression: &'a str, function: &str) -> Option<&'a str> {
    let (named, rest) = expression.split_at_checked(function.len())?;
    let rest = named.eq_ignore_ascii_case(function).then_some(rest)?;
    let inner = rest.trim_start().strip_prefix('(')?.strip_suffix(')')?;
    let name = inner.trim().strip_prefix('\'')?.strip_suffix('\'')?;
    (!name.contains('\'')).then_some(name)
}

/// Returns the value of a key, which is case-insensitive.
pub(super) fn get<'a>(value: &'a Value, key: &str) -> &'a Value {
    let entries = value.as_object().into_iter().flatten();
    let mut entries = entries.filter(|(name, _)| name.eq_ignore_ascii_case(key));
    entries.next().map_or(&Value::Null, |(_, value)| value)
}
