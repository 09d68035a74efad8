//! The record of a test: evidence about a manifest's digest, because a test can be repeated at any time.

use serde::{Deserialize, Serialize};

use super::{BuilderFact, CheckFact, MAX_BYTES, Moment};
use crate::canonical::shape;
use crate::digest::Digest;
use crate::sign::{SignError, Statement, Subject};

/// The predicate type of the statements that test records are.
pub const TEST_SCHEMA: &str = "https://vault-bake.dev/image-test/v1";

/// Where a test record holds objects.
const OBJECTS: &[&str] = &[
    "",
    "audit",
    "builder",
    "builder.host",
    "builder.tool",
    "checks.*",
];

/// What was seen when the artifact of a manifest was booted and checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestRecord {
    /// What an audit of the booted image said, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditFact>,
    /// Who tested.
    pub builder: BuilderFact,
    /// Every check.
    pub checks: Vec<CheckFact>,
    /// When it ended.
    pub ended_at: Moment,
    /// Why it did not pass, where no check says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The manifest that it is about.
    pub manifest: Digest,
    /// Whether all that was checked holds. False as well where the machine never came up.
    pub passed: bool,
    /// The id of the run, a UUIDv7.
    pub run: String,
    /// When the test began.
    pub started_at: Moment,
}

/// How hard an image is by somebody else's measure, and what it started from by the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFact {
    /// The index of the base as it was before the bake, where that is there to be booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_index: Option<u32>,
    /// The image's index, 0 to 100.
    pub index: u32,
    /// What it suggests, by its own ids.
    pub suggestions: Vec<String>,
    /// As in `lynis`.
    pub tool: String,
    /// Of the tool.
    pub version: String,
    /// What it warns of, by its own ids.
    pub warnings: Vec<String>,
}

impl TestRecord {
    /// The only form that is stored: an in-toto Statement about the manifest, as canonical JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        Statement {
            subjects: vec![self.subject()],
            predicate_type: TEST_SCHEMA.to_owned(),
            predicate: self,
        }
        .to_bytes()
    }

    fn subject(&self) -> Subject {
        Subject {
            name: "manifest".to_owned(),
            digest: self.manifest,
        }
    }

    /// Reads stored bytes, as strictly as a manifest's. A record that passed may hold no failed check.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignError> {
        let wrong = |why: String| SignError::Shape {
            what: "test record",
            why,
        };
        let known = |one: &Statement<Self>| one.predicate_type == TEST_SCHEMA;
        let (subjects, record) = match Statement::read(bytes, MAX_BYTES).filter(known) {
            Some(statement) => (statement.subjects, statement.predicate),
            // The long way, which finds out what is wrong, and passes over what it does not know.
            None => {
                let statement = Statement::parse(bytes, MAX_BYTES)?;
                if statement.predicate_type != TEST_SCHEMA {
                    return Err(wrong(format!(
                        "type `{}`, expected `{TEST_SCHEMA}`",
                        statement.predicate_type
                    )));
                }
                let value = statement.predicate;
                shape::check(&value, OBJECTS).map_err(|error| wrong(error.to_string()))?;
                let record = serde_json::from_value::<Self>(value);
                let record = record.map_err(|error| wrong(error.to_string()))?;
                (statement.subjects, record)
            }
        };
        if subjects != [record.subject()] {
            return Err(wrong(
                "it is about another manifest than it says".to_owned(),
            ));
        }
        let indexes = record
            .audit
            .iter()
            .flat_map(|audit| [Some(audit.index), audit.base_index]);
        if let Some(index) = indexes.flatten().find(|index| *index > 100) {
            return Err(wrong(format!("an index of {index}, expected at most 100")));
        }
        let failed = record.checks.iter().find(|check| !check.ok);
        match failed {
            Some(check) if record.passed => Err(wrong(format!(
                "the test passed although `{}` failed",
                check.id
            ))),
            _ => Ok(record),
        }
    }
}
