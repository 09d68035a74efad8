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
pub struct Statement {
    /// What it is about.
    pub subjects: Vec<Subject>,
    /// What kind of claim.
    pub predicate_type: String,
    /// The claim.
    pub predicate: Value,
}

/// A thing that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What it is called; only the digest counts.
    pub name: String,
    /// Of its bytes.
    pub digest: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "_type")]
    format: String,
    subject: Vec<RawSubject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    #[serde(skip_deserializing)]
    predicate: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSubject {
    name: String,
    /// Algorithm to hex digits; ours is always and only `sha256`.
    digest: BTreeMap<String, String>,
}

impl Statement {
    /// The canonical JSON, the only form that is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let subject = |subject: &Subject| RawSubject {
            name: subject.name.clone(),
            digest: BTreeMap::from([("sha256".to_owned(), subject.digest.hex())]),
        };
        canonical_json(&Raw {
            format: STATEMENT_TYPE.to_owned(),
            subject: self.subjects.iter().map(subject).collect(),
            predicate_type: self.predicate_type.clone(),
            predicate: self.predicate.clone(),
        })
    }

    /// Reads stored bytes, at most `most_bytes` of them.
    pub fn parse(bytes: &[u8], most_bytes: usize) -> Result<Self, SignError> {
        let wrong = |why: String| SignError::Shape {
            what: "statement",
            why,
        };
        let mut value = canonical::parse(bytes, most_bytes)?;
        // With objects in their places there is no other way to write it: the bytes are canonical, and no field is unknown.
        shape::check(&value, &["", "subject.*"]).map_err(|error| wrong(error.to_string()))?;
        let predicate = value
            .as_object_mut()
            .and_then(|all| all.remove("predicate"));
        let predicate = predicate.ok_or_else(|| wrong("missing field `predicate`".to_owned()))?;
        let raw: Raw = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        if raw.format != STATEMENT_TYPE {
            return Err(wrong(format!(
                "its type is `{}`, expected `{STATEMENT_TYPE}`",
                raw.format
            )));
        }
        let mut subjects = Vec::new();
        for RawSubject { name, digest } in raw.subject {
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
        Ok(Self {
            subjects,
            predicate_type: raw.predicate_type,
            predicate,
        })
    }
}
