//! The form of scripts: line ends that interpreters understand.
//!
//! In: the bytes of a script. Out: nothing, or a [`Problem`] with the script's own file and line. What the script does is
//! not looked at.

use std::path::Path;

use super::problem::{Location, Problem};

/// Refuses a script in `file` with the line ends of Windows, or of old Macs, in whatever language it is.
pub(crate) fn unix_lines(file: &Path, script: &[u8]) -> Result<(), Problem> {
    let Some(line) = windows_line(script) else {
        return Ok(());
    };
    let at = Location {
        line,
        ..Location::start_of(file)
    };
    Err(
        refused(&at, "the line ends with a carriage return").hint(format!(
            "run `sed -i 's/\\r$//' {}`, and add `* text=auto eol=lf` to .gitattributes",
            file.display()
        )),
    )
}

/// What is wrong with a script in which a line ends so.
pub(crate) fn refused(at: &Location, what: &str) -> Problem {
    at.problem(format!(
        "{what}: Windows line ends (CRLF), which become part of commands and values; expected LF"
    ))
}

/// The first line, from 1, that ends with a carriage return. One inside of a line is data.
pub(crate) fn windows_line(script: &[u8]) -> Option<usize> {
    let mut lines = script.split(|byte| *byte == b'\n');
    let found = lines.position(|line| line.ends_with(b"\r"));
    // Without any line feed, carriage returns are what ends lines.
    let bare = || script.contains(&b'\r') && !script.contains(&b'\n');
    found.or_else(|| bare().then_some(0)).map(|index| index + 1)
}
