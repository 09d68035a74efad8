//! Files of nodes: private ones, and the ends of logs.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::PlatformError;
use crate::terminal::visible;

/// Writes a file that only the user can read, without replacing it by another one.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), PlatformError> {
    let mut options = File::options();
    let options = options.create(true).truncate(true).write(true).mode(0o600);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(content));
    written.map_err(PlatformError::file(path))
}

/// The number of lines of a console in an error.
const CONSOLE_LINES: usize = 12;

/// The number of bytes at the end of a log that are read for its last lines.
const TAIL_BYTES: u64 = 16 << 10;

/// Returns the last lines of a log. A file that cannot be read has none.
pub(super) fn last_lines(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text
        .lines()
        .map(|line| visible(line.trim_end()).into_owned())
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].to_vec()
}
