//! Definitions: each file below `tests/definitions` is a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vault_bake::definition::Definition;

use crate::problems::{definition_error, problems_text};

/// Values and the expected message, from the comments of a file.
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
        let given =
            match Definition::load(&case.file, &case.given, &vault_bake::platform::all(None)) {
                Ok(_) => String::from("no error"),
                Err(error) => definition_error(&error),
            };
        for secret in case
            .given
            .values()
            .filter(|value| value.starts_with("canary"))
        {
            assert!(!given.contains(secret), "{given}");
        }
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

#[test]
fn every_valid_definition_is_read() {
    let cases = cases("valid");
    for case in &cases {
        let read = Definition::load(&case.file, &case.given, &vault_bake::platform::all(None));
        assert!(
            read.is_ok(),
            "{}",
            read.err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        );
    }
    println!("{} valid definitions", cases.len());
}

fn load(name: &str, given: &[(&str, &str)]) -> Definition {
    let given = given
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let file = Path::new("tests/definitions/valid").join(name);
    Definition::load(&file, &given.collect(), &vault_bake::platform::all(None))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Returns what the digest of a definition covers.
fn described(definition: &Definition) -> serde_json::Value {
    definition.describe(&vault_bake::platform::all(None))
}

#[test]
fn defaults_are_filled_in() {
    insta::assert_json_snapshot!(described(&load("least.toml", &[])));
}

#[test]
fn everything_is_filled_in_and_secrets_are_names() {
    let all = [
        ("token", CANARY),
        ("region", "eu-1"),
        ("hosts", "a.example, b.example"),
    ];
    let definition = load("everything", &all);
    let printed = described(&definition).to_string();
    assert!(!printed.contains(CANARY));
    assert_eq!(definition.name, "everything");
    insta::assert_json_snapshot!(described(&definition));
}

#[test]
fn the_digest_follows_values_and_files_but_not_secrets() {
    let digest = |token, region| load("everything", &[("token", token), ("region", region)]).digest;
    assert_eq!(digest(CANARY, "a"), digest("another-secret", "a"));
    assert_ne!(digest(CANARY, "a"), digest(CANARY, "b"));

    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string("tests/definitions/valid/least.toml").unwrap();
    let step = "[[step]]\nfile = \"f\"\ndestination = \"/etc/f\"\n";
    let file = folder.path().join("node.toml");
    std::fs::write(&file, format!("{text}{step}")).unwrap();
    let with = |content: &str| {
        std::fs::write(folder.path().join("f"), content).unwrap();
        Definition::load(&file, &BTreeMap::new(), &vault_bake::platform::all(None))
            .unwrap_or_else(|error| panic!("{error}"))
            .digest
    };
    assert_ne!(with("a"), with("b"));
    assert_eq!(with("a"), with("a"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Definition::load(
        Path::new("images/nothing"),
        &BTreeMap::new(),
        &vault_bake::platform::all(None),
    )
    .err()
    .unwrap();
    insta::assert_snapshot!(error, @r#"cannot read images/nothing: No such file or directory (os error 2)"#);
}

const CANARY: &str = "canary-0123456789";

#[test]
fn a_file_too_large_to_carry_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string("tests/definitions/valid/least.toml").unwrap();
    let step = "[[step]]\nfile = \"f\"\ndestination = \"/etc/f\"\n";
    let file = folder.path().join("node.toml");
    std::fs::write(&file, format!("{text}{step}")).unwrap();
    let large = std::fs::File::create(folder.path().join("f")).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    let error = Definition::load(&file, &BTreeMap::new(), &vault_bake::platform::all(None))
        .err()
        .unwrap();
    let error = error.to_string();
    assert!(
        error.contains("has 67108865 bytes; expected at most 67108864"),
        "{error}"
    );
}

/// Text of a file must not control the terminal.
#[test]
fn a_problem_is_told_in_one_line_without_control_characters() {
    let text = std::fs::read_to_string("tests/definitions/valid/least.toml").unwrap();
    let error_text = |more: &str| {
        let text = format!("{text}{more}");
        let problem = Definition::parse(
            Path::new("node.toml"),
            &text,
            &BTreeMap::new(),
            &vault_bake::platform::all(None),
        );
        problems_text(&problem.err().unwrap())
    };
    let lines = [
        error_text("[releases]\nvault = \"\\u001b[2J\\n1\"\n"),
        error_text("[\"\\u001b]0;x\\u0007\\r\\n\"]\n"),
        error_text("[[step]]\nprovisioner = \"a\\u0085\"\n"),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r#"
    node.toml:10: releases.vault: `^[[2J^J1` is no version; expected MAJOR.MINOR.PATCH
    hint: Write one exact version, as in "1.21.1".
    node.toml:9: ^[]0;x^G^M^J: unknown key; expected one of `schema`, `description`, `variables`, `base`, `releases`, `release_source`, `lint`, `machine`, `output`, `step`
    hint: Remove it.
    node.toml:9: step[2].name: `a<U+0085>` cannot name a step; expected at most 64 letters, digits, `.`, `_` or `-`
    hint: Set `name = "…"`.
    "#);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    /// The value of a variable is passed unchanged, with any content.
    #[test]
    fn a_value_is_never_read_as_a_template(value in "[a-z{}%#'\" ]{0,24}") {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.toml");
        let text = std::fs::read_to_string("tests/definitions/valid/least.toml").unwrap();
        let more = "[variables.x]\ntype = \"string\"\n\
            [[step]]\ninline = \"true\"\nenv = { A = \"{{ var.x }}\", B = \"<{{ var.x }}>\" }\n";
        std::fs::write(&file, format!("{text}{more}")).unwrap();
        let given = BTreeMap::from([(String::from("x"), value.clone())]);
        let definition = Definition::load(&file, &given, &vault_bake::platform::all(None)).unwrap_or_else(|error| panic!("{error}"));
        let printed = serde_json::to_value(&definition.steps[1]).unwrap();
        proptest::prop_assert_eq!(&printed["action"]["env"]["A"], &serde_json::json!(value));
        proptest::prop_assert_eq!(&printed["action"]["env"]["B"], &serde_json::json!(format!("<{value}>")));
    }

    /// A damaged definition is accepted or refused, and never causes a panic.
    #[test]
    fn damage_is_refused_in_words(at in 0usize..2200, length in 0usize..40, with in "[\\[\\]={}\"'a-z0-9\n.é]{0,12}") {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.toml");
        let text = std::fs::read_to_string("tests/definitions/valid/everything/image.toml").unwrap();
        let mut letters: Vec<char> = text.chars().collect();
        let start = at.min(letters.len());
        let end = (start + length).min(letters.len());
        letters.splice(start..end, with.chars());
        std::fs::write(&file, letters.into_iter().collect::<String>()).unwrap();
        let given = BTreeMap::from([(String::from("token"), String::from(CANARY))]);
        if let Err(error) = Definition::load(&file, &given, &vault_bake::platform::all(None)) {
            proptest::prop_assert!(error.to_string().contains("node.toml:"));
            proptest::prop_assert!(!error.to_string().contains(CANARY));
        }
    }
}

#[test]
fn a_definition_for_azure_alone_is_read_whole() {
    insta::assert_json_snapshot!(load("azure.toml", &[]).parts("azure"));
    assert!(load("azure.toml", &[]).parts("qemu").is_none());
}

#[test]
fn scripts_with_windows_line_ends_are_refused_in_every_language() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    let scripts = [
        (
            "crlf.sh",
            "#!/bin/bash\r\nset -e\r\necho hello >/etc/bakestuff\r\n",
        ),
        ("first.sh", "#!/bin/bash\r\nset -e\necho hello\n"),
        ("last.sh", "set -e\n\necho hello\r\n"),
        ("end.sh", "echo one\necho two\r"),
        ("old-mac.sh", "echo one\recho two\r"),
        ("tool.py", "#!/usr/bin/python3\r\nprint(1)\r\n"),
        ("bom.sh", "\u{feff}#!/bin/sh\r\ntrue\r\n"),
        ("data.sh", "printf 'a\rb' >/etc/data\n"),
        ("unix.sh", "#!/bin/sh\ntrue\n"),
    ];
    let text = std::fs::read_to_string("tests/definitions/valid/least.toml").unwrap();
    let error_text = |step: &str| {
        std::fs::write(&file, format!("{text}[[step]]\n{step}\n")).unwrap();
        let error_text =
            Definition::load(&file, &BTreeMap::new(), &vault_bake::platform::all(None));
        let error_text =
            error_text.map_or_else(|error| definition_error(&error), |_| String::from("read"));
        error_text.replace(&folder.path().display().to_string(), "FOLDER")
    };
    let mut table = Vec::new();
    for (name, content) in scripts {
        std::fs::write(folder.path().join(name), content).unwrap();
        table.push(error_text(&format!("shell = \"{name}\"")));
        // As a file it is data, which is not checked.
        assert_eq!(
            error_text(&format!("file = \"{name}\"\ndestination = \"/etc/{name}\"")),
            "read"
        );
    }
    table.push(error_text("inline = \"\"\"\r\nset -e\r\ntrue\r\n\"\"\""));
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn a_fingerprint_is_read_as_people_and_programs_print_it() {
    let cases = [
        "C874011F0AB405110D02105534365D9472D7468F",
        "c874011f0ab405110d02105534365d9472d7468f",
        "C874 011F 0AB4 0511 0D02  1055 3436 5D94 72D7 468F",
        "0xC874011F0AB405110D02105534365D9472D7468F",
        "0X c874 011f 0ab4 0511 0d02 1055 3436 5d94 72d7 468f\n",
        "C8:74:01:1F:0A:B4:05:11:0D:02:10:55:34:36:5D:94:72:D7:46:8F",
        "\u{a0}C874\u{a0}011F 0AB4\t0511 0D02 1055 3436 5D94 72D7 468F ",
        "34365D9472D7468F",
        "0x72D7468F",
        "",
        "C874011F0AB405110D02105534365D9472D7468",
        "C874011F0AB405110D02105534365D9472D7468FF",
        "C874011F0AB405110D02105534365D9472D7468G",
        "HashiCorp Security",
    ];
    let lines = cases.map(|text| {
        let read = vault_bake::definition::fingerprint(text);
        format!(
            "{text:?}: {}",
            read.unwrap_or_else(|why| format!("refused: {why}"))
        )
    });
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn words_of_other_programs_lead_to_ours() {
    let known = [
        "destination",
        "file",
        "mode",
        "owner",
        "memory_mib",
        "cpus",
        "disk_gib",
        "boot_timeout_s",
        "timeout_s",
        "env",
        "inputs",
        "provisioner",
        "inline",
        "shell",
        "integer",
        "string",
        "list",
        "boolean",
    ];
    let given = [
        "to",
        "dest",
        "Destination",
        "source",
        "permissions",
        "memory",
        "ram",
        "Memory-MiB",
        "cpu",
        "cores",
        "disk",
        "timeout",
        "environment_vars",
        "vars",
        "provisoner",
        "commands",
        "script",
        "int",
        "bool",
        "array",
        "list(string)",
        "x",
        "foo",
        "xyz",
    ];
    let lines = given.map(|word| {
        format!(
            "{word}: {}",
            vault_bake::definition::closest_match(word, known).unwrap_or("-")
        )
    });
    insta::assert_snapshot!(lines.join("\n"));
}
