//! Applies environment variables that replace keys of a product's files, or set missing ones.

use serde_json::Value;

use super::document::{Inner, Node};
use crate::hcl1::Position;

/// The value that takes precedence if a file also sets the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precedence {
    /// That of the variable.
    Variable,
    /// That of the file.
    File,
}

/// What the text of a variable means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The value of the key.
    Value,
    /// Whether the value of the key is `https`. If not, the variable sets nothing.
    TlsFlag,
}

/// A variable that sets a key. If several variables set one key, the first is used.
#[derive(Debug)]
pub(crate) struct Override {
    /// The name of the variable.
    pub(crate) variable: &'static str,
    /// The blocks that it applies to; none is the top of the file.
    pub(crate) blocks: &'static [&'static str],
    /// The key in these blocks.
    pub(crate) key: &'static str,
    pub(crate) precedence: Precedence,
    pub(crate) meaning: Meaning,
}

/// Writes the values of `variables` into a document of `files` files. Files of variables are
/// numbered after those, and a value is spelled as its variable.
pub(super) fn apply(
    overrides: &[Override],
    document: &mut Node,
    variables: &[(String, Value)],
    files: usize,
) {
    for (at, one) in overrides.iter().enumerate() {
        let Some((number, value)) = last_value(variables, one.variable) else {
            continue;
        };
        let is_set_earlier = overrides[..at].iter().any(|other| {
            let is_same = (other.blocks, other.key) == (one.blocks, one.key);
            is_same && last_value(variables, other.variable).is_some()
        });
        let value = match (one.meaning, value) {
            (Meaning::Value, value) => value,
            (Meaning::TlsFlag, "1" | "t" | "T" | "true" | "TRUE" | "True") => "https",
            (Meaning::TlsFlag, _) => continue,
        };
        if is_set_earlier {
            continue;
        }
        let leaf = Node {
            file: files + number,
            at: Position::START,
            spelled: one.variable.to_owned(),
            inner: Inner::Leaf(value.into()),
        };
        if one.blocks.is_empty() {
            insert_at(document, &[one.key], &leaf, one.precedence);
        }
        for block in one.blocks {
            let path: Vec<&str> = block.split('.').chain([one.key]).collect();
            insert_at(document, &path, &leaf, one.precedence);
        }
    }
}

/// Returns the value of a variable and the index of its last file. An empty value counts as unset.
fn last_value<'a>(variables: &'a [(String, Value)], name: &str) -> Option<(usize, &'a str)> {
    let all = variables.iter().enumerate();
    let (number, value) = all
        .filter_map(|(number, (_, one))| Some((number, one.get(name)?.as_str()?)))
        .next_back()?;
    (!value.is_empty()).then_some((number, value))
}

/// Sets a key in each existing body at `path`.
fn insert_at(node: &mut Node, path: &[&str], leaf: &Node, precedence: Precedence) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    match &mut node.inner {
        Inner::Object(all) if rest.is_empty() => {
            if precedence == Precedence::Variable || !all.contains_key(*key) {
                all.insert((*key).to_owned(), leaf.clone());
            }
        }
        Inner::Object(all) => {
            if let Some(inner) = all.get_mut(*key) {
                insert_at(inner, rest, leaf, precedence);
            }
        }
        Inner::List(all) | Inner::Blocks(all) => {
            for one in all {
                insert_at(one, path, leaf, precedence);
            }
        }
        Inner::Leaf(_) => {}
    }
}
