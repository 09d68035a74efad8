//! What the expressions of a template are evaluated with.
//!
//! In: the template and the parameters that it is given. Out: the value of `parameters('x')` and `variables('x')`; whatever
//! else Azure alone can tell. A deployment within a template has values of its own, or those of the template around it.

use serde_json::{Map, Value};

/// Expressions that name one another are followed so far.
pub(super) const DEEPEST: usize = 8;

/// Within one value, so many expressions are followed.
const MOST: usize = 1000;

/// An expression that no scope has a value for.
const UNKNOWN: &str = "[unknown()]";

/// What names mean in a template.
#[derive(Clone, Default)]
pub(super) struct Scope {
    /// Whether texts may be expressions.
    expressions: bool,
    given: Value,
    /// Its `parameters` and `variables`.
    template: Value,
    /// Another scope that may be the one which counts: only what both say is known.
    other: Option<Box<Scope>>,
}

impl Scope {
    /// That of a template which is deployed by itself.
    pub(super) fn of(template: &Value, given: &Value) -> Self {
        Self {
            expressions: true,
            given: given.clone(),
            template: template.clone(),
            other: None,
        }
    }

    /// That of the template of a deployment, whose `properties` are given with what is not known of them.
    pub(super) fn within(&self, properties: &Value, template: &Value, unknown: &Value) -> Self {
        let given = overlay(get(properties, "parameters"), get(unknown, "parameters"));
        let template = overlay(template, get(unknown, "template"));
        let inner = Self::of(&template, &self.deep(&given));
        if !self.expressions {
            return inner;
        }
        let wanted = get(get(properties, "expressionEvaluationOptions"), "scope");
        let wanted = wanted.as_str().unwrap_or("outer").to_ascii_lowercase();
        let names = ["parameters", "variables"].map(|key| get(&template, key));
        let own = |names: &Value| match names {
            Value::Object(names) => !names.is_empty(),
            names => !names.is_null(),
        };
        match wanted.as_str() {
            "inner" => inner,
            "outer" if !names.into_iter().any(own) => self.clone(),
            _ => Self {
                other: Some(Box::new(self.clone())),
                ..inner
            },
        }
    }

    /// Whether a value is evaluated here.
    pub(super) fn is_expression(&self, value: &Value) -> bool {
        let text = value.as_str().unwrap_or_default().trim_end();
        self.expressions && text.starts_with('[') && !text.starts_with("[[") && text.ends_with(']')
    }

    /// The value that an expression has; none where Azure alone can tell. Other values are themselves.
    pub(super) fn resolved(&self, value: &Value) -> Option<Value> {
        let own = self.follow(value, DEEPEST)?;
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

    /// A parameter that is given has no other value, be it one that is kept in a vault.
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
        let asked = get(get(&self.template, "parameters"), name);
        Some(get(asked, "defaultValue"))
    }

    /// A value whose expressions are all evaluated, as far as that can be.
    fn deep(&self, value: &Value) -> Value {
        let mut most = MOST;
        self.deeply(value, DEEPEST, &mut most)
    }

    fn deeply(&self, value: &Value, deepest: usize, most: &mut usize) -> Value {
        if self.is_expression(value) {
            let left = deepest > 0 && *most > 0;
            *most = most.saturating_sub(1);
            let found = left.then(|| self.resolved(value)).flatten();
            return match found {
                Some(found) => self.deeply(&found, deepest - 1, most),
                None => UNKNOWN.into(),
            };
        }
        match value {
            Value::Array(items) => {
                let items = items.iter().map(|item| self.deeply(item, deepest, most));
                Value::Array(items.collect())
            }
            Value::Object(entries) => {
                let entries = entries.iter();
                let each = entries.map(|(key, one)| (key.clone(), self.deeply(one, deepest, most)));
                Value::Object(each.collect())
            }
            value => value.clone(),
        }
    }
}

/// Values, and expressions without a value where something is not known.
pub(in crate::terraform) fn overlay(value: &Value, unknown: &Value) -> Value {
    match (value, unknown) {
        (_, Value::Bool(true)) => UNKNOWN.into(),
        (Value::Object(_) | Value::Null, Value::Object(later)) if !later.is_empty() => {
            let mut all: Map<String, Value> = value.as_object().cloned().unwrap_or_default();
            for (key, later) in later {
                let known = value.get(key).unwrap_or(&Value::Null);
                let one = overlay(known, later);
                // Terraform marks what is known as well, as false or as an empty object.
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

/// A parameter file has them one level down.
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

/// `x` of `function('x')`. Names of functions have no case.
fn argument<'a>(expression: &'a str, function: &str) -> Option<&'a str> {
    let (named, rest) = expression.split_at_checked(function.len())?;
    let rest = named.eq_ignore_ascii_case(function).then_some(rest)?;
    let inner = rest.trim_start().strip_prefix('(')?.strip_suffix(')')?;
    let name = inner.trim().strip_prefix('\'')?.strip_suffix('\'')?;
    (!name.contains('\'')).then_some(name)
}

/// The value of a key, whatever its case.
pub(super) fn get<'a>(value: &'a Value, key: &str) -> &'a Value {
    let entries = value.as_object().into_iter().flatten();
    let mut entries = entries.filter(|(name, _)| name.eq_ignore_ascii_case(key));
    entries.next().map_or(&Value::Null, |(_, value)| value)
}
