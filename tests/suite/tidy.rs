//! Checks the shape of the tree: import order, sizes, changelog, reasons for dependencies, check
//! texts.

mod imports;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use vault_bake::boot_test::{AUDIT_CHECK, MIN_HARDENING_INDEX};

const LONGEST_FILE_LINES: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of ours") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Returns the modules of the library with their position in `lib.rs`.
fn module_order() -> HashMap<String, usize> {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("lib.rs");
    lib.lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .enumerate()
        .map(|(place, name)| (name.to_owned(), place))
        .collect()
}

/// Returns the modules that a file names as `crate::<module>`, also within `use crate::{a, b}`.
fn named_modules(text: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let list = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => rest
                .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .next()
                .unwrap_or_default(),
        };
        named.extend(list.split(',').map(|item| {
            item.trim()
                .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .next()
                .unwrap_or_default()
                .to_owned()
        }));
    }
    named
}

#[test]
fn a_module_imports_only_modules_above_it() {
    let order = module_order();
    assert!(order.len() > 10, "the modules of lib.rs were not found");
    let source = root().join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let inside = file.strip_prefix(&source).expect("below src");
        let module = inside
            .components()
            .next()
            .expect("a name")
            .as_os_str()
            .to_string_lossy()
            .replace(".rs", "");
        let Some(place) = order.get(&module) else {
            continue;
        };
        let text = fs::read_to_string(&file).expect("a source file");
        for named in named_modules(&text) {
            if order.get(&named).is_some_and(|other| other > place) {
                wrong.push(format!(
                    "{} imports {named}, which is below {module}",
                    inside.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let graph = imports::graph(&root().join("src"));
    assert!(graph.len() > 300, "{} files import others", graph.len());
    let found = imports::circles(&graph);
    assert!(found.is_empty(), "circles:\n{}", found.join("\n"));
}

/// A platform is in its folder: others know it by the list of platforms. Nodes of a cluster are VMs
/// of QEMU, so `nodes` uses its parts.
#[test]
fn only_the_lists_and_its_own_folder_name_a_platform() {
    let source = root().join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let inside = file.strip_prefix(&source).expect("below src");
        let text = fs::read_to_string(&file).expect("a source file");
        for name in ["azure", "qemu"] {
            let allowed = ["lib.rs", "platform.rs", "bin/vault-bake/platforms.rs"];
            let is_list = allowed.iter().any(|list| inside == Path::new(list));
            let own = Path::new("platform").join(name);
            let is_own = inside.starts_with(&own) || inside == own.with_extension("rs");
            let is_user = name == "qemu" && USES_QEMU.iter().any(|user| inside.starts_with(user));
            let names = text.contains(&format!("platform::{name}"));
            if names && !is_list && !is_own && !is_user {
                wrong.push(format!("{} names platform::{name}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What runs VMs besides builds, or asks whether they are fast.
const USES_QEMU: [&str; 5] = [
    "nodes",
    "rollout/local/measure.rs",
    "bin/vault-bake/commands/doctor.rs",
    "bin/vault-bake/commands/cluster.rs",
    "bin/vault-bake/exit.rs",
];

#[test]
fn files_stay_small() {
    let long: Vec<String> = rust_files(&root().join("src"))
        .into_iter()
        .filter_map(|file| {
            let lines = fs::read_to_string(&file)
                .expect("a source file")
                .lines()
                .count();
            (lines > LONGEST_FILE_LINES).then(|| format!("{}: {lines} lines", file.display()))
        })
        .collect();
    assert!(
        long.is_empty(),
        "split above {LONGEST_FILE_LINES} lines:\n{}",
        long.join("\n")
    );
}

/// Only one file writes output, and it makes control characters visible.
#[test]
fn one_file_of_the_binary_writes_to_the_terminal() {
    let writes = |file: &PathBuf| {
        let text = fs::read_to_string(file).expect("a source file");
        let calls = ["stdout()", "stderr()", "println!", "print!("];
        // A test for a terminal writes nothing.
        let lines = text.lines().filter(|line| !line.contains("is_terminal()"));
        lines
            .filter(|line| calls.iter().any(|call| line.contains(call)))
            .count()
            > 0
    };
    let writers: Vec<PathBuf> = rust_files(&root().join("src/bin"))
        .into_iter()
        .filter(writes)
        .map(|file| {
            file.strip_prefix(root().join("src/bin/vault-bake"))
                .expect("below")
                .to_owned()
        })
        .collect();
    assert_eq!(writers, [Path::new("output.rs")]);
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<PathBuf> = rust_files(&root().join("src"))
        .into_iter()
        .filter(|file| {
            !fs::read_to_string(file)
                .expect("a source file")
                .starts_with("//! ")
        })
        .collect();
    assert!(silent.is_empty(), "no `//!` at the top of {silent:?}");
}

#[test]
fn the_changelog_begins_with_what_is_unreleased() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md");
    let first = text
        .lines()
        .find(|line| line.starts_with("## "))
        .expect("a heading");
    assert_eq!(first, "## [Unreleased]");
    assert!(
        text.contains("### Manifest format"),
        "changes of the manifest format have a section of their own"
    );
}

#[test]
fn every_direct_dependency_has_its_reason() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect("a Cargo.toml");
    let manifests = [read("Cargo.toml"), read("tests/testing/Cargo.toml")];
    let reasons = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let missing: Vec<&str> = manifests
        .iter()
        .flat_map(|manifest| {
            let dependencies = manifest
                .lines()
                .skip_while(|line| *line != "[dependencies]");
            dependencies.take_while(|line| !line.starts_with("[lints"))
        })
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .filter(|name| *name != "vault-bake" && !reasons.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md does not say why: {missing:?}"
    );
}

#[test]
fn no_lint_is_silenced_without_a_reason() {
    let bare: Vec<PathBuf> = rust_files(&root().join("src"))
        .into_iter()
        .filter(|file| {
            let text = fs::read_to_string(file).expect("a source file");
            text.contains("#[allow(") || text.contains("#![allow(")
        })
        .collect();
    assert!(
        bare.is_empty(),
        "use #[expect(.., reason = \"..\")] in {bare:?}"
    );
}

/// Returns the rows of the tables in `docs/hardening.md`: check, text, reason, source.
fn documented_checks() -> Vec<[String; 4]> {
    let text = fs::read_to_string(root().join("docs/hardening.md")).expect("the document");
    let cells = |line: &str| -> Option<[String; 4]> {
        let line = line.strip_prefix("| `")?.strip_suffix(" |")?;
        let cells: Vec<String> = line.split(" | ").map(str::to_owned).collect();
        cells.try_into().ok()
    };
    let rows = text.lines().filter_map(cells);
    rows.map(|[id, what, why, source]| [id.trim_end_matches('`').to_owned(), what, why, source])
        .collect()
}

/// Returns the checks of a script with their texts: a line is `check ID 'TEXT' …` or `skip ID
/// 'TEXT' …`.
fn checks_of(script: &str) -> Vec<(String, String)> {
    let check = |line: &str| {
        let line = line.trim_start();
        let rest = line
            .strip_prefix("check ")
            .or_else(|| line.strip_prefix("skip "))?;
        let (id, rest) = rest.split_once(" '")?;
        let quoted = rest.replace(r"'\''", "’");
        let words = quoted.split('\'').next()?.replace('’', "'");
        id.contains('.').then(|| (id.to_owned(), words))
    };
    script.lines().filter_map(check).collect()
}

#[test]
fn every_check_is_documented_and_every_documented_check_is_made() {
    let mut made: HashMap<String, Vec<String>> = HashMap::new();
    for provisioner in fs::read_dir(root().join("provisioners")).expect("a folder") {
        let script = provisioner.expect("an entry").path().join("check.sh");
        let Ok(text) = fs::read_to_string(&script) else {
            continue;
        };
        for (id, words) in checks_of(&text) {
            made.entry(id).or_default().push(words);
        }
    }
    for rule in vault_bake::leak_scan::rules() {
        let (id, words) = (rule.id.to_owned(), rule.description.to_owned());
        made.entry(id).or_default().push(words);
    }
    let audit = format!("Lynis gives a hardening index of {MIN_HARDENING_INDEX} or more");
    made.insert(AUDIT_CHECK.to_owned(), vec![audit]);
    assert!(made.len() > 90, "the checks were not read: {made:?}");
    let mut mismatch = |[id, what, why, source]: [String; 4]| match made.remove(&id) {
        None => Some(format!(
            "{id} is documented, but no script makes it, or it is documented twice"
        )),
        Some(words) if !words.contains(&what) => {
            Some(format!("{id} says {words:?}, documented is {what}"))
        }
        Some(_) if why.is_empty() || !source.starts_with('[') => {
            Some(format!("{id} has no reason or no source"))
        }
        Some(_) => None,
    };
    let wrong: Vec<String> = documented_checks()
        .into_iter()
        .filter_map(&mut mismatch)
        .collect();
    let mut missing: Vec<&String> = made.keys().collect();
    missing.sort();
    assert!(
        wrong.is_empty() && missing.is_empty(),
        "{wrong:#?}, and not in docs/hardening.md: {missing:?}"
    );
}
