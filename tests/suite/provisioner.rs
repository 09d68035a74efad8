//! Provisioners: read from folders, and refused with their defects.

use std::os::unix::fs::symlink;
use std::path::Path;

use vault_bake::definition::Definition;
use vault_bake::provisioner::{Provisioner, Provisioners, list_names};

use crate::problems::provisioner_error;

const METADATA: &str = "schema = 1\ndescription = \"A part\"\n";

fn make(folder: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

#[test]
fn a_provisioner_is_its_metadata_and_all_other_files() {
    let folder = Path::new("tests/suite/fixtures/provisioners");
    let vault = Provisioner::load(&folder.join("vault")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(vault.name, "vault");
    assert_eq!(
        (vault.timeout_s, vault.seal, vault.is_checked()),
        (300, false, true)
    );
    let files: Vec<String> = vault
        .files
        .iter()
        .map(|file| format!("{:o} {}", file.mode, file.path))
        .collect();
    insta::assert_snapshot!(files.join("\n"), @r#"
755 check.sh
644 files/vault.service
755 install.sh
644 templates/vault.json
"#);
    assert_eq!(list_names(&[folder.to_owned()]), ["base", "seal", "vault"]);
}

#[test]
fn its_digest_is_over_content_and_names_and_not_over_modes() {
    let folder = tempfile::tempdir().unwrap();
    let digest = || {
        Provisioner::load(folder.path())
            .unwrap_or_else(|e| panic!("{e}"))
            .digest
    };
    make(
        folder.path(),
        &[("provisioner.toml", METADATA), ("install.sh", "true\n")],
    );
    let first = digest();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(folder.path().join("install.sh"), mode).unwrap();
    assert_eq!(digest(), first);
    make(folder.path(), &[("install.sh", "false\n")]);
    let second = digest();
    assert_ne!(second, first);
    make(folder.path(), &[("files/.profile", "")]);
    assert_ne!(digest(), second);
}

#[test]
fn what_is_wrong_with_one_is_named() {
    let with = |lines: &str| format!("{METADATA}{lines}");
    let input = "[inputs.a]\ndescription = \"A\"\n";
    let cases = [
        ("schema", String::from("schema = 3\n")),
        ("key", with("time_out = 3\n")),
        ("timeout", with("timeout_s = 0\n")),
        ("product", with("releases = [\"valt\"]\n")),
        ("after", with("after = \"base\"\n")),
        (
            "configures what it does not install",
            with("releases = [\"vault\"]\nconfigures = \"consul\"\n"),
        ),
        ("input type", with(&format!("{input}type = \"number\"\n"))),
        (
            "input default",
            with(&format!("{input}type = \"integer\"\ndefault = \"1\"\n")),
        ),
        (
            "input without words",
            with("[inputs.a]\ntype = \"string\"\n"),
        ),
        ("input name", with("[inputs.A]\ntype = \"string\"\n")),
        (
            "sensitive list",
            with(&format!("{input}type = \"list\"\nsensitive = true\n")),
        ),
        (
            "sensitive default",
            with(&format!(
                "{input}type = \"string\"\nsensitive = true\ndefault = \"x\"\n"
            )),
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("part");
    let mut messages = String::new();
    let mut load = |name: &str| {
        let error = provisioner_error(&Provisioner::load(&part).expect_err(name));
        let error = error.replace(&folder.path().display().to_string(), "FOLDER");
        messages = format!("{messages}{name}: {error}\n");
    };
    std::fs::create_dir(&part).unwrap();
    load("no metadata");
    make(&part, &[("provisioner.toml", METADATA)]);
    load("no install.sh");
    make(&part, &[("install.sh", "true\n")]);
    for (name, text) in &cases {
        make(&part, &[("provisioner.toml", text)]);
        load(name);
    }
    make(&part, &[("provisioner.toml", METADATA)]);
    make(folder.path(), &[("secret", "not the provisioner's")]);
    symlink("../secret", part.join("link")).unwrap();
    load("link that leaves");
    insta::assert_snapshot!(messages);
}

#[test]
fn the_first_folder_that_has_one_counts() {
    let folder = tempfile::tempdir().unwrap();
    let [own, shipped] = ["own", "shipped"].map(|name| folder.path().join(name));
    let seal = format!("{METADATA}seal = true\n");
    make(
        &own,
        &[
            ("seal/provisioner.toml", &seal),
            ("seal/install.sh", "own\n"),
        ],
    );
    make(
        &shipped,
        &[
            ("seal/provisioner.toml", &seal),
            ("seal/install.sh", "shipped\n"),
        ],
    );
    let least = Path::new("tests/definitions/valid/least.toml");
    let definition = Definition::load(
        least,
        &std::collections::BTreeMap::new(),
        &vault_bake::platform::all(None),
    )
    .unwrap();
    let search = [folder.path().join("missing"), own, shipped.clone()];

    let error = Provisioners::load(&search, &definition)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot find lib.sh in"), "{error}");

    make(&shipped, &[("lib.sh", "shipped\n")]);
    let found = Provisioners::load(&search, &definition).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found.by_name["seal"].files[0].content, b"own\n");
    assert_eq!(found.lib.content, b"shipped\n");
}

#[test]
fn scripts_with_windows_line_ends_are_refused_and_data_is_not() {
    let unix = "#!/bin/sh\ntrue\n";
    let cases = [
        ("install.sh", "#!/bin/sh\r\ntrue\r\n"),
        ("install.sh", "#!/bin/bash\r\ntrue\n"),
        ("install.sh", "#!/bin/sh\ntrue\n\nset -e\r\n"),
        ("check.sh", "true\r\n"),
        ("lib/own.sh", "f() {\n:\r\n}\n"),
        ("files/tool", "#!/usr/bin/env python3\r\nprint(1)\r\n"),
        ("templates/run", "#!/bin/sh\r\n"),
        ("templates/hook.sh", "echo {{ image }}\r\n"),
        ("files/readme.txt", "a\r\nb\r\n"),
        ("templates/server.ini", "a = 1\r\n"),
        ("files/text", "a\rb"),
    ];
    let mut table = Vec::new();
    for (path, content) in cases {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("part");
        make(
            &part,
            &[
                ("provisioner.toml", METADATA),
                ("install.sh", unix),
                (path, content),
            ],
        );
        let error_text = Provisioner::load(&part)
            .map_or_else(|error| provisioner_error(&error), |_| "read".to_owned());
        table.push(format!(
            "{path} {content:?}\n  {}",
            error_text.replace(&folder.path().display().to_string(), "FOLDER")
        ));
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn a_pattern_is_matched_by_the_whole_of_each_text() {
    let error_text = |lines: &str| {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("part");
        let metadata = format!("{METADATA}[inputs.a]\ndescription = \"A\"\n{lines}");
        make(
            &part,
            &[("provisioner.toml", &metadata), ("install.sh", "true\n")],
        );
        let error_text = Provisioner::load(&part)
            .map_or_else(|error| provisioner_error(&error), |_| "read".to_owned());
        format!(
            "{lines}  {}",
            error_text.replace(&folder.path().display().to_string(), "FOLDER")
        )
    };
    let table = [
        error_text("type = \"list\"\npattern = \"[a-z]+\"\ndefault = [\"a\", \"b c\"]\n"),
        error_text("type = \"string\"\npattern = \"a|b\"\ndefault = \"ab\"\n"),
        error_text("type = \"string\"\npattern = \"a|b\"\ndefault = \"b\"\n"),
        error_text("type = \"string\"\npattern = \"a)(b\"\n"),
        error_text("type = \"integer\"\npattern = \"1\"\n"),
        error_text("type = \"string\"\ndefault = \"{{ var.x }}\"\n"),
    ];
    insta::assert_snapshot!(table.join("\n"));
}
