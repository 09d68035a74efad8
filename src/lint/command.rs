//! Commands of checks and watches: secrets that are arguments of their own, after the flag that says so.
//!
//! In: the words of a command. Out: which of them are secrets.

use super::secrets::{is_placeholder, is_secret_name};

/// Flags with user and password, as in `-u admin:password`.
const USERS: &[&str] = &["user", "proxy-user", "credentials", "auth"];

/// Short flags with a password, and the programs in which they are that.
const SHORT: &[(&str, &[&str])] = &[
    ("-a", &["redis-cli"]),
    ("-p", &["sshpass", "mongo", "mongosh"]),
    (
        "-w",
        &["ldapsearch", "ldapwhoami", "ldapmodify", "ldapcompare"],
    ),
];

/// Programs in which `-p` and the password are one word.
const JOINED: &[&str] = &["mysql", "mysqladmin", "mysqldump", "mariadb", "sshpass"];

/// Programs whose `-u` takes user and password.
const CLIENTS: &[&str] = &["curl", "http", "https"];

/// The numbers of the words that are secrets, or have one in them as a command of their own.
pub(super) fn secret_words(words: &[&str]) -> Vec<usize> {
    let program = program(words);
    let is_secret = |at: usize| {
        let word = words[at];
        let flag = at.checked_sub(1).map(|before| words[before]);
        flag.is_some_and(|flag| is_value_of(flag, word, program))
            || is_whole(word, program)
            || (word.contains(char::is_whitespace) && is_command(word))
    };
    (0..words.len()).filter(|at| is_secret(*at)).collect()
}

/// Whether a line of a shell has a secret among its words.
pub(super) fn is_command(line: &str) -> bool {
    let words = line.split_whitespace();
    let words: Vec<&str> = words
        .map(|word| word.trim_matches(['"', '\'', ';', '(', ')']))
        .collect();
    // Each word has no blank in it.
    words.len() > 1 && !secret_words(&words).is_empty()
}

/// The first word that is a program's name rather than an assignment or `env`, without its folder.
fn program<'a>(words: &[&'a str]) -> &'a str {
    let mut names = words
        .iter()
        .map(|word| word.rsplit('/').next().unwrap_or(word));
    names
        .find(|name| !name.contains('=') && !matches!(*name, "env" | "sudo" | "exec" | "timeout"))
        .unwrap_or_default()
}

/// Whether `word` is a secret because `flag` is before it.
fn is_value_of(flag: &str, word: &str, program: &str) -> bool {
    let Some(name) = flag.strip_prefix('-') else {
        return false;
    };
    let name = name.strip_prefix('-').unwrap_or(name);
    if name.contains('=') || word.starts_with('-') {
        return false;
    }
    let short = || {
        let own =
            |(short, programs): &&(&str, &[&str])| *short == flag && programs.contains(&program);
        SHORT.iter().any(|one| own(&one))
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

/// Whether a word is a flag and a secret in one.
fn is_whole(word: &str, program: &str) -> bool {
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

/// Whether a value is the secret itself: no gap, no file, and nothing that a shell puts there.
fn is_plain(value: &str) -> bool {
    let value = value.trim().trim_matches(['"', '\'']);
    !is_placeholder(value) && !value.starts_with(['$', '/', '@', '`', '<', '{', '-', '~'])
}
