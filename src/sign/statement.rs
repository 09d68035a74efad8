//! in-toto Statements: a claim (the predicate) about files, named by digest (the subjects).
//! Format: <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>, version 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SignError;
use crate::canonical::{self, shape};
use crate::digest::{Digest, canonical_json};

/// The payload type of every statement in an envelope.
pub const STATEMENT_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The supported version of the format.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// A claim about files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<P = Value> {
    /// The files.
    pub subjects: Vec<Subject>,
    /// The type of the claim.
    pub predicate_type: String,
    /// The claim.
    pub predicate: P,
}

/// The subject of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The name, for people. Only the digest counts.
    pub name: String,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// The fields are sorted by name: written in this order they are canonical JSON.
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
    /// Algorithm to hex digits. Only `sha256` is accepted.
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
                _ => {
                    return Err(wrong(format!(
                        "subject `{name}` must have a sha256 digest and no other"
                    )));
                }
            };
            let digest = format!("sha256:{hex}").parse::<Digest>();
            let digest = digest.map_err(|error| wrong(error.to_string()))?;
            subjects.push(Subject { name, digest });
        }
        if subjects.is_empty() {
            return Err(wrong("it has no subject".to_owned()));
        }
        Ok(Statement {
            subjects,
            predicate_type: self.predicate_type,
            predicate: self.predicate,
        })
    }
}

impl<P: Serialize> Statement<P> {
    /// Returns the canonical JSON, the only stored form.
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

    /// Parses stored bytes whose predicate is exactly a `P`. Otherwise returns `None`.
    pub(crate) fn read<'a>(bytes: &'a [u8], max_bytes: usize) -> Option<Self>
    where
        P: Deserialize<'a>,
    {
        canonical::parse_as::<Raw<P>>(bytes, max_bytes)?
            .checked()
            .ok()
    }
}

impl Statement {
    /// Parses stored bytes, at most `max_bytes`.
    pub fn parse(bytes: &[u8], max_bytes: usize) -> Result<Self, SignError> {
        let value = canonical::parse(bytes, max_bytes)?;
        // After this check the JSON has only one form: the bytes are canonical, and no field is
        // unknown.
        shape::check(&value, &["", "subject.*"]).map_err(|error| wrong(error.to_string()))?;
        if value.get("predicate").is_none() {
            return Err(wrong("missing field `predicate`".to_owned()));
        }
        let raw: Raw<Value> =
            serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        raw.checked()
    }
}
