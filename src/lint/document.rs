//! A configuration as a tree that knows where everything comes from.
//!
//! Keys that a product compares without case are lower-case here; how the file spells them is kept for findings.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::hcl1::Position;

/// A value, and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Which of the files.
    pub file: usize,
    /// Its key there, or itself if it is an element of a list.
    pub at: Position,
    /// Its key as the file spells it.
    pub spelled: String,
    pub inner: Inner,
}

#[derive(Clone, Debug)]
pub(super) enum Inner {
    Leaf(Value),
    List(Vec<Node>),
    /// Objects under the same key, as HCL's blocks are.
    Blocks(Vec<Node>),
    Object(BTreeMap<String, Node>),
}

/// Where a key of a finding is.
pub(super) struct Located {
    /// As the files spell it; what is missing, as the rule does.
    pub key: String,
    /// The last part of the key that is there.
    pub spelled: String,
    /// The file and the line of the deepest part of the key that is there; `None` if no part of it is.
    pub place: Option<(usize, usize)>,
}

impl Node {
    /// A tree without anything in it.
    pub(super) fn empty() -> Self {
        Self {
            file: 0,
            at: Position::START,
            spelled: String::new(),
            inner: Inner::Object(BTreeMap::new()),
        }
    }

    /// Makes a list of blocks with this one object in it.
    pub(super) fn into_block(mut self) -> Self {
        if let Inner::Object(_) = self.inner {
            let one = self.clone();
            self.inner = Inner::Blocks(vec![one]);
        }
        self
    }

    /// The objects under this key, if there is nothing else under it.
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

    /// What rules look at.
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

    /// Adds a later file: of single values the later one counts, lists and blocks are joined, objects are merged.
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
        while let Some((next, shown, left)) = node.step(rest) {
            let dot = !found.key.is_empty() && !shown.is_empty() && !shown.starts_with('[');
            found.key += if dot { "." } else { "" };
            found.key += &shown;
            found.place = Some((next.file, next.at.line));
            found.spelled.clone_from(&next.spelled);
            (node, rest) = (next, left);
        }
        let dot = !found.key.is_empty() && !rest.is_empty() && !rest.starts_with(['.', '[']);
        found.key += if dot { "." } else { "" };
        found.key += rest;
        found
    }

    /// The next part of a key: the node there, how it is shown, and what follows.
    fn step<'a, 'k>(&'a self, key: &'k str) -> Option<(&'a Self, String, &'k str)> {
        match &self.inner {
            Inner::Leaf(_) => None,
            Inner::Object(all) => {
                let key = key.strip_prefix('.').unwrap_or(key);
                let ends = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
                let here = all.iter().filter_map(|(name, node)| {
                    let rest = key.strip_prefix(name.as_str())?;
                    ends(rest).then_some((node, rest))
                });
                // Names may have dots in them.
                let (node, rest) = here.min_by_key(|(_, rest)| rest.len())?;
                Some((node, node.spelled.clone(), rest))
            }
            Inner::List(all) => {
                let (index, rest) = index(key)?;
                Some((all.get(index)?, format!("[{index}]"), rest))
            }
            Inner::Blocks(all) => match index(key) {
                Some((index, rest)) => {
                    let shown = match all.len() {
                        1 => String::new(),
                        _ => format!("[{index}]"),
                    };
                    Some((all.get(index)?, shown, rest))
                }
                None if key.starts_with('.') => Some((all.last()?, String::new(), key)),
                None => None,
            },
        }
    }
}

/// The number in brackets with which `key` starts, and what follows.
fn index(key: &str) -> Option<(usize, &str)> {
    let (index, rest) = key.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}
