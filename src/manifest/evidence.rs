//! The record of a boot test. It is separate from the manifest, since a test can be repeated.

use serde::{Deserialize, Serialize};

use super::{BuilderFact, CheckFact, MAX_BYTES, Moment};
use crate::canonical::shape;
use crate::digest::Digest;
use crate::sign::{SignError, Statement, Subject};

/// The predicate type of test records.
pub const TEST_SCHEMA: &str = "https://vault-bake.dev/image-test/v1";

/// The paths in a test record that must be objects.
const OBJECTS: &[&str] = &[
    "",
    "audit",
    "builder",
    "builder.host",
    "builder.tool",
    "checks.*",
];

/// The result of booting and checking the artifact of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestRecord {
    /// The audit of the booted image, if one was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditFact>,
    /// The builder, and the tool and host that it ran on.
    pub builder: BuilderFact,
    /// All checks.
    pub checks: Vec<CheckFact>,
    /// The time at which the test ended.
    pub ended_at: Moment,
    /// Why the test failed, if no check shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The digest of the manifest under test.
    pub manifest: Digest,
    /// Whether all checks passed. False also if the VM did not boot.
    pub passed: bool,
    /// The id of the run, a UUIDv7.
    pub run: String,
    /// The time at which the test began.
    pub started_at: Moment,
}

/// The hardening indexes of the image and of its base, measured by an external tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFact {
    /// The index of the base before the build, 0 to 100. Absent if the base was not available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_index: Option<u32>,
    /// The index of the image, 0 to 100.
    pub index: u32,
    /// The ids of the tool's suggestions.
    pub suggestions: Vec<String>,
    /// The name of the tool, for example `lynis`.
    pub tool: String,
    /// The version of the tool.
    pub version: String,
    /// The ids of the tool's warnings.
    pub warnings: Vec<String>,
}

impl TestRecord {
    /// Returns the only stored form: an in-toto Statement about the manifest, as canonical JSON.
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

    /// Parses stored bytes, as strictly as for a manifest. A record that passed must not contain a
    /// failed check.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignError> {
        let wrong = |why: String| SignError::Shape {
            what: "test record",
            why,
        };
        let known = |one: &Statement<Self>| one.predicate_type == TEST_SCHEMA;
        let (subjects, record) = match Statement::read(bytes, MAX_BYTES).filter(known) {
            Some(statement) => (statement.subjects, statement.predicate),
            // The slow path, which reports the defect and ignores unknown fields.
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
            return Err(wrong("its subject is not its manifest".to_owned()));
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
