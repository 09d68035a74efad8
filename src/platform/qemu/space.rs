//! Checks the free space of a file system before a large file is written.

use std::path::Path;

use crate::builder::BuilderError;

/// Fails if the file system of `folder` has less than `needed_mib` MiB free.
pub(super) fn need_space(folder: &Path, needed_mib: u64) -> Result<(), BuilderError> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let file_system =
        rustix::fs::statvfs(folder).map_err(|error| BuilderError::file(folder)(error.into()))?;
    let free_mib = file_system.f_bavail.saturating_mul(file_system.f_frsize) >> 20;
    if free_mib < needed_mib {
        return Err(BuilderError::NoSpace {
            path: folder.to_owned(),
            free_mib,
            needed_mib,
        });
    }
    Ok(())
}
