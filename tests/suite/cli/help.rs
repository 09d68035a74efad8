//! The groups of verbs, their examples and their manual pages.

use super::*;

/// Returns the verbs of `vault-bake --help` by group.
fn groups(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let help = run(folder, &["--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    let (groups, _) = help.split_once("\nOptions:\n").unwrap();
    let mut by_group: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut group = String::new();
    for line in groups
        .lines()
        .skip_while(|line| !line.starts_with("Usage:"))
    {
        if let Some(title) = line.strip_suffix(':') {
            group = title.to_owned();
        } else if let Some(verb) = line.strip_prefix("  ") {
            let (verb, about) = verb.split_once(' ').unwrap();
            assert!(!about.trim().is_empty(), "{line}");
            by_group
                .entry(group.clone())
                .or_default()
                .push(verb.to_owned());
        }
    }
    by_group
}

/// Returns the verbs that clap knows, from the main manual page.
fn verbs_of_clap(folder: &Path) -> Vec<String> {
    let pages = folder.join("pages");
    let output = run(folder, &["man", pages.to_str().unwrap()]);
    assert!(output.status.success(), "{}", format_run(folder, &output));
    let page = fs::read_to_string(pages.join("vault-bake.1")).unwrap();
    let (_, verbs) = page.split_once(".SH SUBCOMMANDS\n").unwrap();
    let name = |line: &str| {
        let line = line.replace("\\-", "-");
        let verb = line.strip_prefix("vault-bake-")?.strip_suffix("(1)")?;
        Some(verb.to_owned())
    };
    verbs.lines().filter_map(name).collect()
}

/// Returns the command after `Example:` in the help of a verb.
fn example(folder: &Path, verb: &str) -> String {
    let help = run(folder, &[verb, "--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, example) = help.split_once("\nExample:\n  ").expect(verb);
    assert_eq!(example.trim_end().lines().count(), 1, "{verb}: {example}");
    example.trim_end().to_owned()
}

#[test]
fn every_verb_is_in_exactly_one_group() {
    let folder = tempfile::tempdir().unwrap();
    let groups = groups(folder.path());
    let titles: Vec<&str> = groups.keys().map(String::as_str).collect();
    assert_eq!(titles, ["Build", "Deploy", "Maintain", "Release", "Run"]);
    let mut grouped: Vec<String> = groups.into_values().flatten().collect();
    let mut verbs = verbs_of_clap(folder.path());
    assert!(verbs.len() > 20, "{verbs:?}");
    grouped.sort();
    verbs.sort();
    assert_eq!(grouped, verbs);
}

#[test]
fn every_verb_has_an_example_that_parses() {
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_vault-bake"));
    let programs = program.parent().unwrap().display();
    for verb in groups(folder.path()).into_values().flatten() {
        let example = example(folder.path(), &verb);
        let begins = [format!("vault-bake {verb}"), format!("vault-bake {verb} ")];
        assert!(
            example == begins[0] || example.starts_with(&begins[1]),
            "{example}"
        );
        // With --help, clap parses the arguments and nothing runs.
        let output = Command::new("sh")
            .args(["-c", &format!("{example} --help")])
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", folder.path())
            .env("PATH", format!("{programs}:/usr/bin:/bin"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{example}\n{}",
            format_run(folder.path(), &output)
        );
    }
}

#[test]
fn man_writes_a_page_with_the_example_of_each_verb() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man/man1");
    let output = run(folder.path(), &["man", pages.to_str().unwrap()]);
    let text = format_run(folder.path(), &output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let count = fs::read_dir(&pages).unwrap().count();
    assert!(text.contains(&format!("{count} pages written")), "{text}");
    for verb in groups(folder.path()).into_values().flatten() {
        let page = fs::read_to_string(pages.join(format!("vault-bake-{verb}.1"))).unwrap();
        let page = page.replace("\\-", "-").replace("\\*(Aq", "'");
        let (_, section) = page.split_once(".SH EXAMPLE\n").expect(&verb);
        let example = example(folder.path(), &verb);
        assert!(section.contains(&example), "{example}\n{section}");
        assert!(!page.contains('\u{1b}'), "{page}");
    }
    // A second call replaces the pages.
    let again = run(folder.path(), &["man", pages.to_str().unwrap(), "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(report["pages"], count);
    assert_eq!(fs::read_dir(&pages).unwrap().count(), count);

    fs::write(folder.path().join("file"), "").unwrap();
    let failed = run(folder.path(), &["man", "file/below"]);
    let text = format_run(folder.path(), &failed);
    assert_eq!(failed.status.code(), Some(1), "{text}");
    assert!(
        text.contains("error: cannot write pages to file/below: "),
        "{text}"
    );
}
