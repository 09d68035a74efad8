//! Represents a configuration as a tree whose values know their file and line.
//! Keys that a product compares without case are in lower case. Findings use the file's spelling.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::hcl1::Position;

/// A value and its position.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Index of the file.
    pub file: usize,
    /// Position of the key, or of the value if it is an item of a list.
    pub at: Position,
    /// Key in the file's spelling.
    pub spelled: String,
    pub inner: Inner,
}

#[derive(Clone, Debug)]
pub(super) enum Inner {
    Leaf(Value),
    List(Vec<Node>),
    /// Objects under the same key, as blocks of HCL.
    Blocks(Vec<Node>),
    Object(BTreeMap<String, Node>),
}

/// The position of a finding's key.
pub(super) struct Located {
    /// Key in the file's spelling. Missing parts have the rule's spelling.
    pub key: String,
    /// Last part of the key that exists.
    pub spelled: String,
    /// Index of the file and line of the last part that exists, or `None`.
    pub place: Option<(usize, usize)>,
}

impl Node {
    /// Creates an empty tree.
    pub(super) fn empty() -> Self {
        Self {
            file: 0,
            at: Position::START,
            spelled: String::new(),
            inner: Inner::Object(BTreeMap::new()),
        }
    }

    /// Converts an object into a list of one block.
    pub(super) fn into_block(mut self) -> Self {
        if let Inner::Object(_) = self.inner {
            let block = self.clone();
            self.inner = Inner::Blocks(vec![block]);
        }
        self
    }

    /// Returns the objects under this key, if it has objects only.
    pub(super) fn objects(&self) -> Option<Vec<Self>> {
        match &self.inner {
            Inner::Object(_) => Some(vec![self.clone()]),
            Inner::Blocks(all) => Some(all.clone()),
            Inner::List(all) => {
                let objects = all.iter().all(|one| matches!(one.inner, Inner::Object(_)));
                (objects && !all.is_empty()).then(|| all.clone())
            }
            Inner::Leaf(_) => None,
        }
    }

    /// Converts the tree into the value that rules check.
    pub(super) fn to_value(&self) -> Value {
        match &self.inner {
            Inner::Leaf(value) => value.clone(),
            Inner::List(all) | Inner::Blocks(all) => all.iter().map(Self::to_value).collect(),
            Inner::Object(all) => {
                let entries = all.iter().map(|(key, node)| (key.clone(), node.to_value()));
                Value::Object(entries.collect())
            }
        }
    }

    /// Merges a later file: it replaces single values, extends lists and blocks, and merges
    /// objects.
    pub(super) fn merge(&mut self, more: Self) {
        match (&mut self.inner, more.inner) {
            (Inner::Object(all), Inner::Object(later)) => {
                for (key, node) in later {
                    match all.get_mut(&key) {
                        Some(old) => old.merge(node),
                        None => _ = all.insert(key, node),
                    }
                }
            }
            (Inner::List(all) | Inner::Blocks(all), Inner::List(later) | Inner::Blocks(later)) => {
                all.extend(later);
            }
            (Inner::Blocks(all), inner @ Inner::Object(_)) => {
                all.push(Self {
                    inner,
                    spelled: more.spelled.clone(),
                    ..more
                });
            }
            (old @ Inner::Object(_), Inner::Blocks(later)) => {
                let first = Self {
                    file: self.file,
                    at: self.at,
                    spelled: self.spelled.clone(),
                    inner: old.clone(),
                };
                *old = Inner::Blocks([vec![first], later].concat());
            }
            (old, later) => *old = later,
        }
        (self.file, self.at, self.spelled) = (more.file, more.at, more.spelled);
    }

    /// Finds a key of a rule, as in `listener[1].tcp.tls_disable`.
    pub(super) fn locate(&self, key: &str) -> Located {
        let mut found = Located {
            key: String::new(),
            spelled: String::new(),
            place: None,
        };
        let (mut node, mut rest) = (self, key);
        while let Some(Step {
            node: next,
            part,
            rest: remaining,
        }) = node.step(rest)
        {
            let dot = !found.key.is_empty() && !part.is_empty() && !part.starts_with('[');
            found.key += if dot { "." } else { "" };
            found.key += &part;
            found.place = Some((next.file, next.at.line));
            found.spelled.clone_from(&next.spelled);
            (node, rest) = (next, remaining);
        }
        let dot = !found.key.is_empty() && !rest.is_empty() && !rest.starts_with(['.', '[']);
        found.key += if dot { "." } else { "" };
        found.key += rest;
        found
    }

    /// Resolves the next part of a key.
    fn step<'a, 'k>(&'a self, key: &'k str) -> Option<Step<'a, 'k>> {
        match &self.inner {
            Inner::Leaf(_) => None,
            Inner::Object(all) => {
                let key = key.strip_prefix('.').unwrap_or(key);
                let ends = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
                let candidates = all.iter().filter_map(|(name, node)| {
                    let rest = key.strip_prefix(name.as_str())?;
                    ends(rest).then_some((node, rest))
                });
                // Names may have dots, so the longest one is taken.
                let (node, rest) = candidates.min_by_key(|(_, rest)| rest.len())?;
                Some(Step {
                    node,
                    part: node.spelled.clone(),
                    rest,
                })
            }
            Inner::List(all) => {
                let (index, rest) = index(key)?;
                Some(Step {
                    node: all.get(index)?,
                    part: format!("[{index}]"),
                    rest,
                })
            }
            Inner::Blocks(all) => match index(key) {
                Some((index, rest)) => {
                    let part = match all.len() {
                        1 => String::new(),
                        _ => format!("[{index}]"),
                    };
                    Some(Step {
                        node: all.get(index)?,
                        part,
                        rest,
                    })
                }
                None if key.starts_with('.') => Some(Step {
                    node: all.last()?,
                    part: String::new(),
                    rest: key,
                }),
                None => None,
            },
        }
    }
}

/// One resolved part of a key.
struct Step<'a, 'k> {
    node: &'a Node,
    /// Part in the file's spelling.
    part: String,
    rest: &'k str,
}

/// Splits a leading index in brackets from `key`.
fn index(key: &str) -> Option<(usize, &str)> {
    let (index, rest) = key.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}
