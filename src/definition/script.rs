//! Checks the line ends of scripts.
//! Takes the bytes of a script, returns a [`Problem`] with the file and line of the script.

use std::path::Path;

use super::problem::{Location, Problem};

/// Refuses a script in `file` with line ends of Windows or of classic Mac OS, in any language.
pub(crate) fn unix_lines(file: &Path, script: &[u8]) -> Result<(), Problem> {
    let Some(line) = windows_line(script) else {
        return Ok(());
    };
    let at = Location {
        line,
        ..Location::start_of(file)
    };
    Err(
        refused(&at, "the line ends with a carriage return").with_hint(format!(
            "Run `sed -i 's/\\r$//' {}`, and add `* text=auto eol=lf` to .gitattributes.",
            file.display()
        )),
    )
}

/// Creates the problem of a line that ends with a carriage return.
pub(crate) fn refused(at: &Location, what: &str) -> Problem {
    at.problem(format!(
        "{what}: Windows line ends (CRLF), which become part of commands and values; expected LF"
    ))
}

/// Returns the first line, from 1, that ends with a carriage return. One inside a line is data.
pub(crate) fn windows_line(script: &[u8]) -> Option<usize> {
    let mut lines = script.split(|byte| *byte == b'\n');
    let found = lines.position(|line| line.ends_with(b"\r"));
    // Without a line feed, carriage returns end the lines.
    let bare = || script.contains(&b'\r') && !script.contains(&b'\n');
    found.or_else(|| bare().then_some(0)).map(|index| index + 1)
}
