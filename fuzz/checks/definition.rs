//! Checks the parser of definitions, both for accepted and refused input.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use vault_bake::definition::{Action, Definition, Problem, Value};
use vault_bake::digest::Digest;
use vault_bake::platform;

/// Returns whether `data` is a definition. Panics if the result differs from the text, or an error
/// is malformed.
///
/// Lines `# given: NAME=VALUE` give values to variables.
pub fn check(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    // Files outside of the folder differ between machines, and some are endless.
    if text.contains("..")
        || text.contains("/proc")
        || text.contains("/sys")
        || text.contains("/dev")
    {
        return false;
    }
    let given = given(text);
    let file = folder().join("node.toml");
    let again = Definition::parse(&file, text, &given, &platform::all(None));
    match (
        Definition::parse(&file, text, &given, &platform::all(None)),
        again,
    ) {
        (Ok(definition), Ok(again)) => {
            assert_eq!(definition.digest, again.digest);
            check_definition(text, &definition);
            true
        }
        (Err(problems), Err(again)) => {
            assert_eq!(problems, again);
            assert!(problems.iter().next().is_some());
            for problem in problems.iter() {
                check_problem(&file, text, problem);
            }
            false
        }
        _ => panic!("accepted once and refused once"),
    }
}

/// Returns the folder with the files of the seeds, for the fuzz target and for the tests.
fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["fuzz/image", "image"].map(|folder| root.join(folder));
    let found = folders.into_iter().find(|folder| folder.is_dir());
    found.expect("the files that the seeds name")
}

fn given(text: &str) -> BTreeMap<String, String> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("# given:"));
    lines
        .filter_map(|pair| pair.trim().split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn check_definition(text: &str, definition: &Definition) {
    let described = definition.describe(&platform::all(None));
    assert_eq!(Digest::hash_value(&described), definition.digest);
    assert_eq!(definition.name, "node");
    assert!(definition.parts("qemu").is_some() && !definition.steps.is_empty());
    let names: BTreeSet<&str> = definition
        .steps
        .iter()
        .map(|step| step.name.as_str())
        .collect();
    assert_eq!(names.len(), definition.steps.len(), "a name twice");
    let lines = text.split('\n').count();
    for step in &definition.steps {
        assert!(
            !step.name.is_empty() && !step.name.starts_with(['.', '-']),
            "{}",
            step.name
        );
        assert!(!step.name.contains(['/', ' ', '\n', '\0']), "{}", step.name);
        assert!((1..=lines).contains(&step.at.line));
        if let Action::File {
            destination,
            content,
            sha256,
            mode,
            ..
        } = &step.action
        {
            assert!(
                destination.starts_with('/') && *mode <= 0o7777,
                "{destination}"
            );
            assert_eq!(Digest::hash_bytes(content), *sha256);
        }
    }
    for version in definition.releases.values() {
        assert!(version.split('.').count() >= 3, "{version}");
    }
    let shown = described.to_string();
    for value in definition.variables.values() {
        if let Value::Secret { value, .. } = value {
            let secret = value.expose();
            // A value that the file contains elsewhere may be printed.
            if secret.starts_with("canary") && text.matches(secret).count() == 1 {
                assert!(!shown.contains(secret), "a secret is printed");
            }
        }
    }
}

/// Message and hint are one line each, without control characters. The message begins with the location.
fn check_problem(file: &Path, text: &str, problem: &Problem) {
    let lines = text.split('\n').count();
    assert!((1..=lines).contains(&problem.location.line), "{problem}");
    assert!(!problem.message.is_empty());
    let shown = problem.to_string();
    let place = format!("{}:{}: ", file.display(), problem.location.line);
    assert!(shown.starts_with(&place), "{shown}");
    assert!(!shown.contains(char::is_control), "{shown:?}");
    let hint = problem.hint.as_deref().unwrap_or_default();
    assert!(!hint.contains(char::is_control), "{hint:?}");
}
