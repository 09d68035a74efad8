//! Reads the end of a log that a program or a console writes.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::LAST_LINES;
use crate::terminal::without_control;

/// The number of bytes at the end of a log that are read for its last lines.
const TAIL_BYTES: u64 = 16 << 10;

/// Returns the last lines that are not empty, without control characters. A file that cannot be
/// read has none.
pub(crate) fn end_of_log(path: &Path) -> Vec<String> {
    let bytes = read_end(path).unwrap_or_default();
    last_lines_of(&String::from_utf8_lossy(&bytes))
}

/// Returns the last lines of a log that are not empty, without control characters.
pub(crate) fn last_lines_of(log: &str) -> Vec<String> {
    let text = without_control(log);
    let lines = text.lines().map(str::trim_end);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let first = lines.len().saturating_sub(LAST_LINES);
    lines[first..].iter().map(ToString::to_string).collect()
}

fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
