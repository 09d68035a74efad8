//! Parses variables that systemd sets for a product: environment files and `Environment=` lines.

use serde_json::{Map, Value};

/// Tells if a file only sets variables.
pub(super) fn is_environment(name: &str) -> bool {
    name.ends_with(".env") || is_unit(name) || name.contains("/etc/default/")
}

/// Tells by its path if a file sets variables of this product.
pub(crate) fn is_for(product: &str, path: &str) -> bool {
    let names = [
        format!("{product}.env"),
        format!("{product}.service"),
        format!("{product}.service.d"),
    ];
    path.split('/')
        .any(|part| names.iter().any(|name| name == part))
        && is_environment(path)
        || path == format!("/etc/default/{product}")
}

/// Tells if a file is a systemd unit or a drop-in of one.
fn is_unit(name: &str) -> bool {
    name.ends_with(".service") || (name.contains(".service.d/") && name.ends_with(".conf"))
}

/// Parses variables as systemd does. The last value of a name is used.
pub(super) fn parse(name: &str, text: &str) -> Value {
    let unit = is_unit(name);
    let joined = text.replace("\\\n", " ");
    let mut all = Map::new();
    for line in joined.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        let assignments = match (unit, line.split_once('=')) {
            (true, Some((key, rest))) if key.trim() == "Environment" => words(rest),
            (true, _) | (false, None) => continue,
            (false, Some(_)) => vec![line.trim_start_matches("export ").to_owned()],
        };
        for assignment in assignments {
            if let Some((key, value)) = assignment.split_once('=') {
                let value = value.trim().trim_matches(['"', '\'']);
                all.insert(key.trim().to_owned(), value.into());
            }
        }
    }
    Value::Object(all)
}

/// Splits a line into words. Quotes protect blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in line.chars().chain([' ']) {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.push(c),
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            None => word.push(c),
        }
    }
    words
}
