//! The record of a check, and the phase in which checks run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The phase in which checks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// In the build VM, before the capture.
    Build,
    /// In a VM that booted the captured image.
    Image,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Build => "build",
            Self::Image => "image",
        })
    }
}

/// The record of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRecord {
    /// The stable id, as in `vault.unit-sandboxed`.
    /// It is `<step>.check-script` for a script that failed as a whole.
    pub id: String,
    /// The description that the script printed.
    pub description: String,
    /// Whether the check passed. A skipped check counts as passed.
    pub ok: bool,
    /// The reason why the check was skipped.
    pub skipped: Option<String>,
    /// The step that the check belongs to.
    pub step: String,
}
