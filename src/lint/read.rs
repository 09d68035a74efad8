//! One file: HCL or JSON, as a tree. What stands there twice is an error, because readers differ in what they take.

use hcl::expr::{Expression, ObjectKey};
use hcl::structure::{Body, Structure};
use serde_json::{Map, Value};

use super::{Product, tree};
use crate::canonical;

/// Where Consul has an object, and files may have a block or a list of them.
const SECTIONS: &[&str] = &[
    "acl",
    "addresses",
    "auto_config",
    "auto_encrypt",
    "autopilot",
    "connect",
    "ca_config",
    "defaults",
    "grpc",
    "http_config",
    "https",
    "internal_rpc",
    "limits",
    "peering",
    "performance",
    "ports",
    "telemetry",
    "tls",
    "tokens",
    "ui_config",
    "unix_sockets",
];

pub(super) fn parse(product: Product, file: &str, text: &str) -> Result<Value, String> {
    let mut value = match file.ends_with(".json") {
        true => canonical::parse_unambiguous(text.as_bytes()).map_err(|error| error.to_string())?,
        false => hcl(text)?,
    };
    if !value.is_object() {
        return Err("expected an object with the configuration's keys".to_owned());
    }
    if product == Product::Consul {
        tree::unfold(&mut value, SECTIONS);
    }
    Ok(value)
}

fn twice(key: &str) -> String {
    format!("`{key}` stands there twice; readers differ in which one they take")
}

fn hcl(text: &str) -> Result<Value, String> {
    body(&hcl::parse(text).map_err(|error| error.to_string())?)
}

/// Blocks become lists of objects, because there may be several; labels become objects around them.
fn body(body: &Body) -> Result<Value, String> {
    let mut all = Map::new();
    for structure in body {
        match structure {
            Structure::Attribute(attribute) => {
                let key = attribute.key.to_string();
                let value = expression(&attribute.expr).map_err(|why| format!("`{key}`: {why}"))?;
                if all.insert(key.clone(), value).is_some() {
                    return Err(twice(&key));
                }
            }
            Structure::Block(block) => {
                let inner = self::body(&block.body)?;
                let labels = block.labels.iter().rev();
                let value = labels.fold(inner, |inner, label| {
                    let label = label.as_str().to_owned();
                    Value::Object(Map::from_iter([(label, inner)]))
                });
                let key = block.identifier.to_string();
                let list = all.entry(&key).or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut().ok_or_else(|| twice(&key))?.push(value);
            }
        }
    }
    Ok(Value::Object(all))
}

fn expression(expression: &Expression) -> Result<Value, String> {
    Ok(match expression {
        Expression::Null => Value::Null,
        Expression::Bool(flag) => (*flag).into(),
        Expression::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, fraction) => fraction.into(),
        },
        Expression::String(text) => text.as_str().into(),
        Expression::Array(all) => {
            let all: Result<Vec<Value>, String> = all.iter().map(self::expression).collect();
            Value::Array(all?)
        }
        Expression::Object(all) => {
            let mut object = Map::new();
            for (key, value) in all {
                let key = match key {
                    ObjectKey::Identifier(key) => key.to_string(),
                    ObjectKey::Expression(key) => match self::expression(key)? {
                        Value::String(key) => key,
                        other => return Err(format!("{other} is no key")),
                    },
                    other => return Err(format!("{other:?} is no key")),
                };
                let value = self::expression(value)?;
                if object.insert(key.clone(), value).is_some() {
                    return Err(twice(&key));
                }
            }
            Value::Object(object)
        }
        // Neither product has expressions: what looks like one stands for itself.
        Expression::TemplateExpr(template) => template.to_string().into(),
        other => return Err(format!("{other:?} is no plain value")),
    })
}
