//! Replacing a file as a whole: readers see the old one or the new one.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::PinError;

/// Writes `text` to a temporary file beside `path` and renames it. Keeps the mode of a file that is there; where `path`
/// is a link, what it points to is replaced.
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
    // A new file gets what the umask leaves, as any other that people keep under version control.
    let mut temporary = tempfile::Builder::new()
        .prefix(".vault-bake.pins.")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(failed)?;
    if let Ok(there) = fs::metadata(&target) {
        let mode = Permissions::from_mode(there.permissions().mode() & 0o7777);
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
