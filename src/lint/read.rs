//! One file: HCL or JSON, as a tree. What stands there twice is an error, because readers differ in what they take.

use std::fmt;

use hcl::expr::{Expression, ObjectKey};
use hcl::structure::{Body, Structure};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Product, tree};

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
        true => json(text)?,
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

fn json(text: &str) -> Result<Value, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Once.deserialize(&mut json);
    let value = value.and_then(|value| json.end().map(|()| value));
    value.map_err(|error| error.to_string())
}

/// Any JSON in which no key stands twice.
struct Once;

impl<'de> DeserializeSeed<'de> for Once {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Once)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Once)?;
            if object.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(twice(&key)));
            }
        }
        Ok(Value::Object(object))
    }
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
