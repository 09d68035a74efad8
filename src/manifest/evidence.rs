//! The record of a test: evidence about a manifest's digest, because a test can be repeated at any time.

use serde::{Deserialize, Serialize};

use super::{BuilderFact, CheckFact, MAX_BYTES, Moment};
use crate::canonical::shape;
use crate::digest::Digest;
use crate::sign::{SignError, Statement, Subject};

/// The predicate type of the statements that test records are.
pub const TEST_SCHEMA: &str = "https://vault-bake.dev/image-test/v1";

/// Where a test record holds objects.
const OBJECTS: &[&str] = &["", "builder", "builder.host", "builder.tool", "checks.*"];

/// What was seen when the artifact of a manifest was booted and checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestRecord {
    /// The manifest that it is about.
    pub manifest: Digest,
    /// The id of the run, a UUIDv7.
    pub run: String,
    /// When the test began.
    pub started_at: Moment,
    /// When it ended.
    pub ended_at: Moment,
    /// Whether all that was checked holds. False as well where the machine never came up.
    pub passed: bool,
    /// Why it did not pass, where no check says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Every check.
    pub checks: Vec<CheckFact>,
    /// Who tested.
    pub builder: BuilderFact,
}

impl TestRecord {
    /// The only form that is stored: an in-toto Statement about the manifest, as canonical JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        Statement {
            subjects: vec![self.subject()],
            predicate_type: TEST_SCHEMA.to_owned(),
            predicate: serde_json::to_value(self).expect("a test record is JSON"),
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
        let statement = Statement::parse(bytes, MAX_BYTES)?;
        if statement.predicate_type != TEST_SCHEMA {
            return Err(wrong(format!(
                "type `{}`, expected `{TEST_SCHEMA}`",
                statement.predicate_type
            )));
        }
        shape::check(&statement.predicate, OBJECTS).map_err(|error| wrong(error.to_string()))?;
        let record: Self = serde_json::from_value(statement.predicate)
            .map_err(|error| wrong(error.to_string()))?;
        if statement.subjects != [record.subject()] {
            return Err(wrong(
                "it is about another manifest than it says".to_owned(),
            ));
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
