//! Parses one file into a tree as its product does. Content that the product refuses, or of which
//! it ignores a part, is an error.

use std::collections::BTreeMap;

use super::Profile;
use super::document::{Inner, Node};
use super::names::Scope;
use crate::hcl1::{
    Element, Item, JsonDialect, Key, Position, SyntaxError, Value, is_json, parse_hcl, parse_json,
};

/// Parses a file. `number` is its index.
pub(super) fn parse(
    profile: &'static Profile,
    number: usize,
    file: &str,
    text: &str,
) -> Result<Node, SyntaxError> {
    let dialect = Dialect::detect(profile, file, text);
    let items = match dialect {
        // Consul accepts an empty file.
        Dialect::Json if text.is_empty() => Ok(Vec::new()),
        Dialect::Json => parse_json(text, JsonDialect::Strict),
        Dialect::Hcl1Json => parse_json(text, JsonDialect::Hcl1),
        Dialect::Hcl1 => parse_hcl(text),
    };
    let items = items.map_err(|error| SyntaxError {
        why: format!(
            "cannot read this as {}: {}",
            dialect.name(profile),
            error.why
        ),
        ..error
    })?;
    let reader = Reader {
        profile,
        file: number,
        dialect,
    };
    Ok(Node {
        inner: Inner::Object(reader.object(&items, &Scope::root(&profile.names))?),
        file: number,
        ..Node::empty()
    })
}

/// The format in which a product reads a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Hcl1,
    /// JSON in the dialect of HCL 1.
    Hcl1Json,
    Json,
}

impl Dialect {
    /// Detects the format by the file's name, if the product does that, then by the first
    /// character.
    fn detect(profile: &Profile, file: &str, text: &str) -> Self {
        if profile.detects_json_by_name && file.ends_with(".json") {
            Self::Json
        } else if is_json(text) {
            Self::Hcl1Json
        } else {
            Self::Hcl1
        }
    }

    fn name(self, profile: &Profile) -> String {
        let product = profile.title;
        match self {
            Self::Hcl1 => format!("HCL 1, as {product} reads it"),
            Self::Hcl1Json => {
                format!("JSON, as {product} reads a file whose first character is `{{`")
            }
            Self::Json => format!("JSON, as {product} reads a file whose name ends in .json"),
        }
    }
}

struct Reader {
    profile: &'static Profile,
    file: usize,
    dialect: Dialect,
}

type Read<T> = Result<T, SyntaxError>;

impl Reader {
    fn object(&self, items: &[Item], scope: &Scope) -> Read<BTreeMap<String, Node>> {
        let mut all = BTreeMap::new();
        for item in items {
            let Some((key, labels)) = item.keys.split_first() else {
                continue;
            };
            let inside = labels.iter().fold(scope.below(&key.name), |scope, label| {
                scope.below(&label.name)
            });
            let inner = self.inner(&item.value, &inside)?;
            let mut node = self.node(item.keys.last().unwrap_or(key), inner);
            // Each label becomes an object around the body.
            for at in (0..labels.len()).rev() {
                let above = item.keys[..=at]
                    .iter()
                    .fold(scope.clone(), |scope, key| scope.below(&key.name));
                let inner = BTreeMap::from([(above.name(&labels[at].name), node)]);
                node = self.node(&item.keys[at], Inner::Object(inner));
            }
            if self.dialect == Dialect::Hcl1 && !item.assigned {
                node = node.into_block();
            }
            let name = scope.name(&key.name);
            match all.get_mut(&name) {
                None => _ = all.insert(name, node),
                Some(old) => self.join(old, &node, key)?,
            }
        }
        for (name, node) in &mut all {
            if scope.is_section(name) {
                self.unfold(name, node)?;
            }
        }
        Ok(all)
    }

    fn node(&self, key: &Key, inner: Inner) -> Node {
        Node {
            file: self.file,
            at: key.at,
            spelled: key.name.clone(),
            inner,
        }
    }

    fn inner(&self, value: &Value, scope: &Scope) -> Read<Inner> {
        Ok(Inner::Leaf(match value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(flag) => (*flag).into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Text(text) => text.as_str().into(),
            Value::Object(items) => return Ok(Inner::Object(self.object(items, scope)?)),
            Value::List(elements) => {
                let nodes = elements.iter().map(|element| self.element(element, scope));
                return Ok(Inner::List(nodes.collect::<Read<Vec<Node>>>()?));
            }
        }))
    }

    fn element(&self, element: &Element, scope: &Scope) -> Read<Node> {
        Ok(Node {
            file: self.file,
            at: element.at,
            spelled: String::new(),
            inner: self.inner(&element.value, scope)?,
        })
    }

    /// Joins two values of the same key. Objects become blocks; other values must not be set twice.
    fn join(&self, old: &mut Node, new: &Node, key: &Key) -> Read<()> {
        let is_hcl = self.dialect != Dialect::Json;
        match (old.objects(), new.objects()) {
            (Some(mut objects), Some(more)) if is_hcl => {
                objects.extend(more);
                old.inner = Inner::Blocks(objects);
                Ok(())
            }
            _ => Err(self.set_twice(key, old)),
        }
    }

    fn set_twice(&self, key: &Key, first: &Node) -> SyntaxError {
        let (name, first, line) = (&key.name, &first.spelled, first.at.line);
        let same = name == first;
        let repeated = &self.profile.repeated;
        let effect = match self.dialect {
            _ if !same => repeated.other_spelling,
            Dialect::Hcl1 => repeated.in_hcl,
            Dialect::Hcl1Json | Dialect::Json => repeated.in_json,
        };
        let again = if same {
            format!("`{name}` is set again, first on line {line}")
        } else {
            format!("`{name}` is set after `{first}` on line {line}")
        };
        SyntaxError {
            at: key.at,
            why: format!("{again}: {effect}; expected only one"),
        }
    }

    /// Replaces the only block of a section by its object.
    fn unfold(&self, name: &str, node: &mut Node) -> Read<()> {
        let is_list = matches!(node.inner, Inner::List(_) | Inner::Blocks(_));
        let Some(mut objects) = node.objects().filter(|_| is_list) else {
            return Ok(());
        };
        if let Some(second) = objects.get(1) {
            return Err(self.second_block(name, node.at, second.at));
        }
        if let Some(only) = objects.pop() {
            node.inner = only.inner;
        }
        Ok(())
    }

    fn second_block(&self, name: &str, first: Position, second: Position) -> SyntaxError {
        let product = self.profile.title;
        let why = format!(
            "`{name}` is set again, first on line {}: {product} accepts one block and refuses the file; expected one block",
            first.line
        );
        SyntaxError { at: second, why }
    }
}
