//! Reads the Test Anything Protocol, versions 13 and 14, strictly.
//!
//! In: what a `check.sh` printed. Out: its tests, or why that is not what was agreed upon. A line that is nothing known
//! is refused, because a check whose words are misread checks nothing.

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Stable, as in `vault.unit-sandboxed`.
    pub id: String,
    /// What it says.
    pub description: String,
    /// Whether it holds.
    pub ok: bool,
    /// Why it was not made, where it was not.
    pub skipped: Option<String>,
    /// What was printed about it.
    pub diagnostics: Vec<String>,
}

/// The tests of `text`.
pub fn parse(text: &str) -> Result<Vec<Test>, String> {
    let mut tests: Vec<Test> = Vec::new();
    let mut planned = None;
    for (index, line) in text.lines().map(str::trim_end).enumerate() {
        if line.is_empty() || (index == 0 && matches!(line, "TAP version 13" | "TAP version 14")) {
            continue;
        }
        if let Some(diagnostic) = line.trim_start().strip_prefix('#') {
            if let Some(test) = tests.last_mut() {
                test.diagnostics.push(diagnostic.trim().to_owned());
            }
        } else if let Some(last) = line.strip_prefix("1..") {
            let count: usize = last.parse().map_err(|_| format!("`{line}` is no plan"))?;
            if planned.replace((count, tests.len())).is_some() {
                return Err("it has two plans".to_owned());
            }
        } else {
            let test = test(line, tests.len() + 1)?;
            if tests.iter().any(|other| other.id == test.id) {
                return Err(format!("it has two tests named `{}`", test.id));
            }
            tests.push(test);
        }
    }
    match planned {
        None => Err("it printed no plan `1..N`".to_owned()),
        Some((0, _)) => Err("it checks nothing".to_owned()),
        Some((count, _)) if count != tests.len() => {
            Err(format!("it planned {count} tests and made {}", tests.len()))
        }
        Some((_, before)) if before != 0 && before != tests.len() => {
            Err("its plan is neither first nor last".to_owned())
        }
        Some(_) => Ok(tests),
    }
}

fn test(line: &str, number: usize) -> Result<Test, String> {
    let none = || format!("`{line}` is not `ok {number} - <id>: <words>`");
    let (ok, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ").ok_or_else(none)?),
    };
    let (found, rest) = rest.split_once(" - ").ok_or_else(none)?;
    if found != number.to_string() {
        return Err(format!("test {number} calls itself {found}"));
    }
    let (id, words) = rest.split_once(": ").ok_or_else(none)?;
    if !is_id(id) {
        return Err(none());
    }
    let (description, skipped) = match words.split_once(" # SKIP") {
        Some((description, reason)) => (description, Some(reason.trim().to_owned())),
        None => (words, None),
    };
    if skipped.is_some() && !ok {
        return Err(format!("`{line}` both fails and is skipped"));
    }
    Ok(Test {
        id: id.to_owned(),
        description: description.trim().to_owned(),
        ok,
        skipped,
        diagnostics: Vec::new(),
    })
}

/// Whether `id` is lower-case letters, digits, dots and dashes, beginning with a letter or digit.
fn is_id(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && id
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}
