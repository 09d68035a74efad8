//! Keeps the words of the project plain: in source, documentation, errors and help.

#![expect(
    clippy::disallowed_methods,
    reason = "help is read as a person reads it, from the program"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

/// Words that say too little: an unnamed actor, a metaphor, an idiom. `docs/glossary.md` has the words to use.
const BANNED: &[&str] = &[
    "all the same",
    "anybody",
    "at the most",
    "but for",
    "conductors?",
    "goes on",
    "has to be there",
    "holds? against",
    "in vain",
    "is said",
    "left behind",
    "looked through",
    "nobody",
    "nothing of",
    "put upon",
    "residue",
    "says so",
    "somebody",
    "stands",
    "suspended machines?",
    "whoever",
    "without further ado",
];

/// The longest line of documentation, in characters. Tables and addresses may be longer.
const LONGEST_LINE: usize = 100;

/// The longest sentence of help or of an error, in words.
const LONGEST_SENTENCE: usize = 25;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if extension.is_some_and(|extension| extensions.contains(&extension)) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn documents() -> Vec<PathBuf> {
    let mut files = files_below("docs", &["md"]);
    files.extend(["README.md", "ARCHITECTURE.md"].map(|name| root().join(name)));
    files
}

fn name(path: &Path) -> String {
    let name = path.strip_prefix(root()).unwrap_or(path);
    name.display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a file of the project")
}

#[test]
fn no_text_uses_a_banned_word() {
    let banned =
        Regex::new(&format!(r"(?i)(?-u:\b)({})(?-u:\b)", BANNED.join("|"))).expect("words");
    let mut files = documents();
    files.extend(files_below("src", &["rs", "sh"]));
    files.extend(files_below(
        "provisioners",
        &["md", "sh", "toml", "service"],
    ));
    files.extend(files_below("images", &["toml"]));
    let mut found = Vec::new();
    for file in files {
        for (number, line) in read(&file).lines().enumerate() {
            for word in banned.find_iter(line) {
                found.push(format!("{}:{}: {}", name(&file), number + 1, word.as_str()));
            }
        }
    }
    assert!(
        found.is_empty(),
        "{} banned words, see docs/glossary.md:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn lines_of_documentation_fit_a_terminal() {
    let mut long = Vec::new();
    for file in documents() {
        let mut in_block = false;
        for (number, line) in read(&file).lines().enumerate() {
            let fence = line.trim_start().starts_with("```");
            in_block ^= fence;
            let free = in_block || line.starts_with('|') || line.contains("://");
            if !free && line.chars().count() > LONGEST_LINE {
                long.push(format!("{}:{}", name(&file), number + 1));
            }
        }
    }
    assert!(
        long.is_empty(),
        "over {LONGEST_LINE} columns:\n{}",
        long.join("\n")
    );
}

#[test]
fn comments_fit_the_width_of_the_source() {
    let mut long = Vec::new();
    for file in files_below("src", &["rs"]) {
        for (number, line) in read(&file).lines().enumerate() {
            let comment = line.trim_start().starts_with("//");
            if comment && !line.contains("://") && line.chars().count() > LONGEST_LINE {
                long.push(format!("{}:{}", name(&file), number + 1));
            }
        }
    }
    assert!(
        long.is_empty(),
        "over {LONGEST_LINE} columns:\n{}",
        long.join("\n")
    );
}

/// The texts of `#[error("…")]` in the library, each with its place.
fn error_texts() -> Vec<(String, String)> {
    let attribute = Regex::new(r#"(?s)#\[error\(\s*"((?:[^"\\]|\\.)*)""#).expect("an attribute");
    let mut texts = Vec::new();
    for file in files_below("src", &["rs"]) {
        let source = read(&file);
        for found in attribute.captures_iter(&source) {
            let line = source[..found.get(0).expect("a match").start()]
                .matches('\n')
                .count()
                + 1;
            texts.push((format!("{}:{line}", name(&file)), found[1].to_owned()));
        }
    }
    assert!(texts.len() > 150, "the texts were not found");
    texts
}

/// The sentences of a text that are too long.
fn long_sentences(text: &str) -> Vec<String> {
    let ends = Regex::new(r"[.!?:;]\s+|\n\s*\n").expect("ends");
    ends.split(text)
        .filter(|sentence| sentence.split_whitespace().count() > LONGEST_SENTENCE)
        .map(|sentence| sentence.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn an_error_says_what_failed_and_leaves_the_way_out_to_its_hint() {
    let hint = Regex::new(
        r"(?i)hint:|\?$|\.$|[;,.] (run|use|choose|give|name|add|write|put|install|set|remove|see|try|pass|bake|lock) ",
    )
    .expect("signs of a hint");
    let mut wrong = Vec::new();
    for (place, text) in error_texts() {
        if let Some(sign) = hint.find(&text) {
            wrong.push(format!("{place}: `{}` in: {text}", sign.as_str().trim()));
        }
        for sentence in long_sentences(&text) {
            wrong.push(format!(
                "{place}: over {LONGEST_SENTENCE} words: {sentence}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn help(verb: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vault-bake"))
        .args(verb)
        .arg("--help")
        .output()
        .expect("the binary");
    assert!(output.status.success(), "{verb:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The verbs that the help lists, two blanks before each.
fn verbs(help: &str) -> Vec<String> {
    let verb = Regex::new(r"(?m)^  ([a-z][a-z-]*)  +[A-Z]").expect("a verb");
    let names = verb.captures_iter(help).map(|found| found[1].to_owned());
    names.filter(|name| name != "help").collect()
}

#[test]
fn help_speaks_in_short_sentences_and_with_an_example() {
    let top = help(&[]);
    let found = verbs(&top);
    assert!(found.len() > 15, "the verbs were not found in:\n{top}");
    // Each option and each verb in a list begins a new text.
    let parts = Regex::new(r"\n\s*\n|\n {2,6}(-|[<\[]|[a-z-]+  )").expect("parts");
    let mut wrong = Vec::new();
    for verb in &found {
        let text = help(&[verb]);
        if !text.contains("Example") {
            wrong.push(format!("{verb}: no example"));
        }
        let below = verbs(&text);
        let texts = below.iter().map(|below| help(&[verb, below])).chain([text]);
        for text in texts {
            for part in parts.split(&text).filter(|part| !part.starts_with("Usage")) {
                wrong.extend(
                    long_sentences(part)
                        .iter()
                        .map(|long| format!("{verb}: over {LONGEST_SENTENCE} words: {long}")),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
