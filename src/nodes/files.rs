//! Private files of nodes.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::PlatformError;

/// Writes a file that only the user can read, without replacing it by another one.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), PlatformError> {
    let mut options = File::options();
    let options = options.create(true).truncate(true).write(true).mode(0o600);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(content));
    written.map_err(PlatformError::file(path))
}
