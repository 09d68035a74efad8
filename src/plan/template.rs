//! Renders templates of provisioners with minijinja. An undefined name is an error.

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, escape_formatter};
use semver::Version;
use serde_json::{Value as Json, json};

use crate::product::version_changes;

use super::PlannedFile;
use crate::definition::{Definition, Location, Problem, Step};
use crate::provisioner::{Provisioner, SourceFile};

/// Renders one template of `provisioner`.
pub(super) fn render(
    step: &Step,
    provisioner: &Provisioner,
    file: &SourceFile,
    inputs: &BTreeMap<String, Json>,
    definition: &Definition,
) -> Result<PlannedFile, Problem> {
    let fail = |line: usize, reason: String| {
        let at = Location {
            line,
            ..Location::start_of(&provisioner.folder.join(&file.path))
        };
        at.problem(format!("in step {}: {reason}", step.name)).with_hint(
            "Use only `inputs.NAME` (without sensitive inputs), `image` and `releases.PRODUCT.version`.",
        )
    };
    let source = std::str::from_utf8(&file.content).map_err(|error| {
        let newlines = file.content[..error.valid_up_to()].iter();
        let line = 1 + newlines.filter(|byte| **byte == b'\n').count();
        fail(
            line,
            String::from("not UTF-8 text; expected a template below `templates/`"),
        )
    })?;
    let releases: BTreeMap<&String, Json> = definition
        .releases
        .iter()
        .map(|(product, version)| (product, json!({ "version": version })))
        .collect();
    let context = json!({
        "inputs": inputs,
        "image": definition.name,
        "releases": releases,
    });
    let rendered = environment()
        .and_then(|environment| environment.render_str(source, Serde(context)))
        .map_err(|error| {
            let detail = error
                .detail()
                .map_or_else(String::new, |detail| format!(": {detail}"));
            fail(
                error.line().unwrap_or(1),
                format!("{}{detail}", error.kind()),
            )
        })?;
    Ok(PlannedFile::new(
        &file.path,
        file.mode,
        rendered.into_bytes(),
    ))
}

fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .build()?;
    environment.set_syntax(syntax);
    // Templates have many formats, so nothing is escaped by default; for JSON there is `tojson`.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(|output, state, value| {
        // By default the engine writes Python's `True`, which is invalid in configuration files.
        match value.kind() {
            ValueKind::Bool if value.is_true() => output.write_str("true").map_err(Error::from),
            ValueKind::Bool => output.write_str("false").map_err(Error::from),
            _ => escape_formatter(output, state, value),
        }
    });
    environment.add_test("at_least", at_least);
    environment.add_test("since", since);
    Ok(environment)
}

/// Tells if `version` has the change of this name.
fn since(version: &str, change: &str) -> Result<bool, Error> {
    let found = version_changes().find(|one| one.name == change);
    let change = found.ok_or_else(|| {
        let names: Vec<&str> = version_changes().map(|change| change.name).collect();
        let names = names.join(", ");
        let text = format!("`{change}` is no known change; expected one of: {names}");
        Error::new(ErrorKind::InvalidOperation, text)
    })?;
    let [major, minor, patch] = numbers(version)?;
    Ok(change.is_in(&Version::new(major, minor, patch)))
}

/// Tells if `version` is `least` or later, by MAJOR.MINOR.PATCH only. Missing numbers count as 0.
fn at_least(version: &str, least: &str) -> Result<bool, Error> {
    Ok(numbers(version)? >= numbers(least)?)
}

fn numbers(version: &str) -> Result<[u64; 3], Error> {
    let invalid = || {
        let text = format!("`{version}` is no version; expected MAJOR.MINOR.PATCH");
        Error::new(ErrorKind::InvalidOperation, text)
    };
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = [0; 3];
    let parts: Vec<&str> = core.split('.').collect();
    if parts.len() > numbers.len() {
        return Err(invalid());
    }
    for (number, part) in numbers.iter_mut().zip(parts) {
        *number = part.parse().map_err(|_| invalid())?;
    }
    Ok(numbers)
}
