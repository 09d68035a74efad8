//! Finds secrets among the arguments of commands of checks and watches.

use super::{is_placeholder, is_secret_name};

/// Flags whose value is a user and a password, as in `--user admin:password`.
const USERS: &[&str] = &["user", "proxy-user", "credentials", "auth"];

/// Short flags whose value is a password, with the programs that have them.
const SHORT: &[(&str, &[&str])] = &[
    ("-a", &["redis-cli"]),
    ("-p", &["sshpass", "mongo", "mongosh"]),
    (
        "-w",
        &["ldapsearch", "ldapwhoami", "ldapmodify", "ldapcompare"],
    ),
];

/// Programs that take `-p` and the password as one word.
const JOINED: &[&str] = &["mysql", "mysqladmin", "mysqldump", "mariadb", "sshpass"];

/// Programs whose `-u` takes a user and a password.
const CLIENTS: &[&str] = &["curl", "http", "https"];

/// Returns the indices of words that are secrets, or commands with a secret.
pub(super) fn secret_words(words: &[&str]) -> Vec<usize> {
    let program = program(words);
    let is_secret = |at: usize| {
        let word = words[at];
        let flag = at.checked_sub(1).map(|before| words[before]);
        flag.is_some_and(|flag| is_value_of(flag, word, program))
            || is_flag_with_secret(word, program)
            || (word.contains(char::is_whitespace) && has_secret(word))
    };
    (0..words.len()).filter(|at| is_secret(*at)).collect()
}

/// Tells if a shell command has a secret among its words.
pub(super) fn has_secret(line: &str) -> bool {
    let words = line.split_whitespace();
    let words: Vec<&str> = words
        .map(|word| word.trim_matches(['"', '\'', ';', '(', ')']))
        .collect();
    words.len() > 1 && !secret_words(&words).is_empty()
}

/// Returns the name of the program, without its folder. Assignments and wrappers such as `env` are
/// skipped.
fn program<'a>(words: &[&'a str]) -> &'a str {
    let mut names = words
        .iter()
        .map(|word| word.rsplit('/').next().unwrap_or(word));
    names
        .find(|name| !name.contains('=') && !matches!(*name, "env" | "sudo" | "exec" | "timeout"))
        .unwrap_or_default()
}

/// Tells if `word` is a secret because it follows `flag`.
fn is_value_of(flag: &str, word: &str, program: &str) -> bool {
    let Some(name) = flag.strip_prefix('-') else {
        return false;
    };
    let name = name.strip_prefix('-').unwrap_or(name);
    if name.contains('=') || word.starts_with('-') {
        return false;
    }
    let short = || {
        let mut flags = SHORT.iter();
        flags.any(|(short, programs)| *short == flag && programs.contains(&program))
    };
    let client = || flag == "-u" && CLIENTS.contains(&program);
    let header = || {
        let pair = word.split_once(':');
        pair.is_some_and(|(name, value)| is_secret_name(name.trim()) && is_plain(value))
    };
    match name {
        "H" | "header" => header(),
        name if USERS.contains(&name) => has_password(word),
        _ if client() => has_password(word),
        name => (is_secret_name(name) || short()) && is_plain(word),
    }
}

/// Tells if a word is a flag together with a secret.
fn is_flag_with_secret(word: &str, program: &str) -> bool {
    let after = |flag: &str| word.strip_prefix(flag).filter(|rest| !rest.is_empty());
    let user = USERS
        .iter()
        .any(|name| after(&format!("--{name}=")).is_some_and(has_password));
    user || (CLIENTS.contains(&program) && after("-u").is_some_and(has_password))
        || (JOINED.contains(&program) && after("-p").is_some_and(is_plain))
}

fn has_password(word: &str) -> bool {
    let pair = word.split_once(':');
    pair.is_some_and(|(user, password)| !user.contains('/') && is_plain(password))
}

/// Tells if a value is the secret itself: no placeholder, no path, and no expansion of a shell.
fn is_plain(value: &str) -> bool {
    let value = value.trim().trim_matches(['"', '\'']);
    !is_placeholder(value) && !value.starts_with(['$', '/', '@', '`', '<', '{', '-', '~'])
}
