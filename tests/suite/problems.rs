//! Errors as text with their hints, as the binary prints both.

use std::fmt::Display;

use vault_bake::definition::{DefinitionError, Problem, Problems};
use vault_bake::lock::LockError;
use vault_bake::plan::PlanError;
use vault_bake::provisioner::ProvisionerError;

/// Returns a message, followed by a line with its hint, if it has one.
fn with_hint(message: impl Display, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("{message}\nhint: {hint}"),
        None => message.to_string(),
    }
}

pub fn problem_text(problem: &Problem) -> String {
    with_hint(problem, problem.hint.as_deref())
}

pub fn problems_text(problems: &Problems) -> String {
    let lines: Vec<String> = problems.iter().map(problem_text).collect();
    lines.join("\n")
}

pub fn definition_error(error: &DefinitionError) -> String {
    match error {
        DefinitionError::Invalid(problems) => problems_text(problems),
        other => with_hint(other, other.hint().as_deref()),
    }
}

pub fn provisioner_error(error: &ProvisionerError) -> String {
    match error {
        ProvisionerError::Invalid(problems) => problems_text(problems),
        other => with_hint(other, other.hint().as_deref()),
    }
}

pub fn plan_error(error: &PlanError) -> String {
    match error {
        PlanError::Invalid(problems) => problems_text(problems),
        PlanError::Provisioner(error) => provisioner_error(error),
        other => with_hint(other, other.hint().as_deref()),
    }
}

pub fn lock_error(error: &LockError) -> String {
    with_hint(error, error.hint().as_deref())
}
