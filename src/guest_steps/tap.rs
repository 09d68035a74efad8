//! Parses the output of a `check.sh`: the Test Anything Protocol, versions 13 and 14.
//! Returns its tests. Parsing is strict, because a check that is misread checks nothing.

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The stable id, as in `vault.unit-sandboxed`.
    pub id: String,
    /// The text after the id.
    pub description: String,
    /// Whether the test passed.
    pub ok: bool,
    /// The reason why the test was skipped.
    pub skipped: Option<String>,
    /// The `#` lines after the test.
    pub diagnostics: Vec<String>,
}

/// Parses the tests in `text`.
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
            let count: usize = last
                .parse()
                .map_err(|_| format!("`{line}` is not a plan `1..N`"))?;
            if planned.replace((count, tests.len())).is_some() {
                return Err("it printed two plans".to_owned());
            }
        } else {
            let test = parse_test(line, tests.len() + 1)?;
            if tests.iter().any(|other| other.id == test.id) {
                return Err(format!("it printed two tests with the id `{}`", test.id));
            }
            tests.push(test);
        }
    }
    match planned {
        None => Err("it printed no plan `1..N`".to_owned()),
        Some((0, _)) => Err("its plan has 0 tests".to_owned()),
        Some((count, _)) if count != tests.len() => Err(format!(
            "its plan has {count} tests, but it printed {}",
            tests.len()
        )),
        Some((_, before)) if before != 0 && before != tests.len() => {
            Err("its plan is neither before nor after all tests".to_owned())
        }
        Some(_) => Ok(tests),
    }
}

fn parse_test(line: &str, number: usize) -> Result<Test, String> {
    let malformed = || format!("`{line}` is not `ok {number} - <id>: <words>`");
    let (ok, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ").ok_or_else(malformed)?),
    };
    let (found, rest) = rest.split_once(" - ").ok_or_else(malformed)?;
    if found != number.to_string() {
        return Err(format!("expected the test number {number}, found {found}"));
    }
    let (id, text) = rest.split_once(": ").ok_or_else(malformed)?;
    if !is_id(id) {
        return Err(malformed());
    }
    let (description, skipped) = match text.split_once(" # SKIP") {
        Some((description, reason)) => (description, Some(reason.trim().to_owned())),
        None => (text, None),
    };
    if skipped.is_some() && !ok {
        return Err(format!("`{line}` is both failed and skipped"));
    }
    Ok(Test {
        id: id.to_owned(),
        description: description.trim().to_owned(),
        ok,
        skipped,
        diagnostics: Vec::new(),
    })
}

/// Whether `id` has only lower-case letters, digits and `._-`, and begins with a letter or digit.
fn is_id(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && id
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}
