//! in-toto Statements: a claim (the predicate) about things named by digest (the subjects).
//!
//! Format: <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>, version 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SignError;
use crate::canonical::{self, shape};
use crate::digest::{Digest, canonical_json};

/// The payload type of every statement in an envelope.
pub const STATEMENT_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The version of the format that is written and read.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// A claim about things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<P = Value> {
    /// What it is about.
    pub subjects: Vec<Subject>,
    /// What kind of claim.
    pub predicate_type: String,
    /// The claim.
    pub predicate: P,
}

/// A thing that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What it is called; only the digest counts.
    pub name: String,
    /// Of its bytes.
    pub digest: Digest,
}

/// Fields stand in the order of their names, so that the plain writer writes the canonical form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<P> {
    #[serde(rename = "_type")]
    format: String,
    predicate: P,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    subject: Vec<RawSubject>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSubject {
    /// Algorithm to hex digits; ours is always and only `sha256`.
    digest: BTreeMap<String, String>,
    name: String,
}

fn wrong(why: String) -> SignError {
    SignError::Shape {
        what: "statement",
        why,
    }
}

impl<P> Raw<P> {
    fn checked(self) -> Result<Statement<P>, SignError> {
        if self.format != STATEMENT_TYPE {
            return Err(wrong(format!(
                "its type is `{}`, expected `{STATEMENT_TYPE}`",
                self.format
            )));
        }
        let mut subjects = Vec::new();
        for RawSubject { name, digest } in self.subject {
            let hex = match digest.iter().next() {
                Some((algorithm, hex)) if algorithm == "sha256" && digest.len() == 1 => hex,
                _ => return Err(wrong(format!("subject `{name}` has no digest but sha256"))),
            };
            let digest = format!("sha256:{hex}").parse::<Digest>();
            let digest = digest.map_err(|error| wrong(error.to_string()))?;
            subjects.push(Subject { name, digest });
        }
        if subjects.is_empty() {
            return Err(wrong("it is about nothing".to_owned()));
        }
        Ok(Statement {
            subjects,
            predicate_type: self.predicate_type,
            predicate: self.predicate,
        })
    }
}

impl<P: Serialize> Statement<P> {
    /// The canonical JSON, the only form that is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let subject = |subject: &Subject| RawSubject {
            digest: BTreeMap::from([("sha256".to_owned(), subject.digest.hex())]),
            name: subject.name.clone(),
        };
        canonical_json(&Raw {
            format: STATEMENT_TYPE.to_owned(),
            predicate: &self.predicate,
            predicate_type: self.predicate_type.clone(),
            subject: self.subjects.iter().map(subject).collect(),
        })
    }

    /// Reads stored bytes with a claim that is a `P` and nothing else; `None` where they are not, or are no statement.
    pub(crate) fn read<'a>(bytes: &'a [u8], most_bytes: usize) -> Option<Self>
    where
        P: Deserialize<'a>,
    {
        canonical::read::<Raw<P>>(bytes, most_bytes)?.checked().ok()
    }
}

impl Statement {
    /// Reads stored bytes, at most `most_bytes` of them.
    pub fn parse(bytes: &[u8], most_bytes: usize) -> Result<Self, SignError> {
        let value = canonical::parse(bytes, most_bytes)?;
        // With objects in their places there is no other way to write it: the bytes are canonical, and no field is unknown.
        shape::check(&value, &["", "subject.*"]).map_err(|error| wrong(error.to_string()))?;
        if value.get("predicate").is_none() {
            return Err(wrong("missing field `predicate`".to_owned()));
        }
        let raw: Raw<Value> =
            serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        raw.checked()
    }
}
