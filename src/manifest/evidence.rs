//! The record of a test: evidence about a manifest's digest, because a test can be repeated at any time.

use serde::{Deserialize, Serialize};

use super::{BuilderFact, CanonicalError, CheckFact, MAX_BYTES, Moment, canonical, shape};
use crate::digest::{Digest, canonical_json};

/// The schema of the test records that are written.
pub const TEST_SCHEMA: &str = "https://vault-bake.dev/image-test/v1";

/// Where a test record holds objects.
const OBJECTS: &[&str] = &["", "builder", "builder.host", "builder.tool", "checks.*"];

/// What was seen when the artifact of a manifest was booted and checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestRecord {
    /// [`TEST_SCHEMA`].
    pub schema: String,
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
    /// The canonical JSON, the only form that is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_json(self)
    }

    /// Reads stored bytes, as strictly as a manifest's. A record that passed may hold no failed check.
    pub fn parse(bytes: &[u8]) -> Result<Self, CanonicalError> {
        use serde::de::Error as _;
        let wrong = |why: String| CanonicalError::Json(serde_json::Error::custom(why));
        let value = canonical::parse(bytes, MAX_BYTES)?;
        shape::check(&value, OBJECTS)?;
        let record: Self = serde_json::from_value(value)?;
        if record.schema != TEST_SCHEMA {
            return Err(wrong(format!(
                "schema `{}`, expected `{TEST_SCHEMA}`",
                record.schema
            )));
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
