//! Definitions: each file below `tests/definitions` is a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vault_bake::definition::Definition;

/// What a file says of itself in comments: values to give, and the message to expect.
struct Case {
    file: PathBuf,
    given: BTreeMap<String, String>,
    expected: String,
}

fn cases(folder: &str) -> Vec<Case> {
    let mut found = Vec::new();
    let mut left = vec![Path::new("tests/definitions").join(folder)];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder of definitions is there") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                left.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                found.push(case(path));
            }
        }
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

fn case(file: PathBuf) -> Case {
    let text = std::fs::read_to_string(&file).expect("a definition can be read");
    let after = |start: &str| -> Vec<String> {
        text.lines()
            .filter_map(|line| line.strip_prefix(start))
            .map(|rest| rest.trim().to_owned())
            .collect()
    };
    let given = after("# given:")
        .iter()
        .map(|pair| pair.split_once('=').expect("given is NAME=VALUE"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Case {
        expected: after("# expect:").join("\n"),
        given,
        file,
    }
}

#[test]
fn every_invalid_definition_is_refused_with_the_message_it_states() {
    let cases = cases("invalid");
    let mut wrong = Vec::new();
    for case in &cases {
        let given = match Definition::load(&case.file, &case.given) {
            Ok(_) => String::from("no error"),
            Err(error) => error.to_string(),
        };
        if given != case.expected {
            wrong.push(format!("@@ {}\n{given}\n", case.file.display()));
        }
    }
    println!("{} invalid definitions", cases.len());
    assert!(
        wrong.is_empty(),
        "other messages than stated:\n{}",
        wrong.join("")
    );
    assert!(cases.len() >= 32, "only {} cases", cases.len());
}
