//! Replaces a file atomically: readers see the old content or the new one.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::PinError;

/// Writes `text` to a temporary file next to `path` and renames it. Keeps the mode of an existing
/// file. If `path` is a link, replaces its target.
pub fn replace(path: &Path, text: &str) -> Result<(), PinError> {
    let failed = |error| PinError::Io {
        path: path.to_owned(),
        error,
    };
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(_) => std::path::absolute(path).map_err(failed)?,
    };
    let folder = target.parent().unwrap_or(&target);
    // A new file gets the mode that the umask allows, like other files under version control.
    let mut temporary = tempfile::Builder::new()
        .prefix(".vault-bake.pins.")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(failed)?;
    if let Ok(present) = fs::metadata(&target) {
        let mode = Permissions::from_mode(present.permissions().mode() & 0o7777);
        fs::set_permissions(temporary.path(), mode).map_err(failed)?;
    }
    temporary.write_all(text.as_bytes()).map_err(failed)?;
    temporary.as_file().sync_all().map_err(failed)?;
    let renamed = temporary.persist(&target);
    renamed.map_err(|error| failed(error.error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}
