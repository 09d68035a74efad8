//! Opens the control connections of QEMU, and the folders and locks around them.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::PlatformError;
use crate::event::Events;
use crate::platform::qemu::qmp::Qmp;
use crate::process::with_argument;
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// The name of the socket in the folder of a QEMU process.
pub(super) const CONTROL: &str = "control";

/// Limit for QEMU's first answer, and for a turn on its control connection.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(30);

/// Limit for the turn of another process.
const LOCK_TIMEOUT: Duration = Duration::from_secs(300);

/// Connects to the QEMU in `folder`, whose command line has the argument `marker`.
/// Only one process is connected at a time.
pub(super) async fn open(
    folder: &Path,
    marker: &str,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Qmp, WaitError<io::Error>> {
    let wait = Wait::new("the control connection of QEMU", CONTROL_TIMEOUT);
    let opening = wait.until(events, interrupt, || async {
        match Qmp::connect(folder, Path::new(CONTROL)).await {
            Ok(qmp) => Poll::Ready(qmp),
            Err(_) if with_argument(marker).is_empty() => {
                Poll::Never(io::Error::other("QEMU ended"))
            }
            Err(error) => Poll::NotYet(error.to_string()),
        }
    });
    opening.await
}

/// Locks the file `path` until the returned file is dropped.
pub(super) async fn lock(
    path: &Path,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<File, PlatformError> {
    let mut options = File::options();
    let opened = options.create(true).truncate(false).write(true).open(path);
    let file = opened.map_err(PlatformError::file(path))?;
    let wait = Wait::new(format!("the lock {}", path.display()), LOCK_TIMEOUT);
    let locking = wait.until(events, interrupt, || async {
        match file.try_lock() {
            Ok(()) => Poll::Ready(()),
            Err(TryLockError::WouldBlock) => Poll::NotYet("another process has it".to_owned()),
            Err(TryLockError::Error(error)) => Poll::Never(error),
        }
    });
    let action = format!("lock {}", path.display());
    locking
        .await
        .map_err(PlatformError::wait(action, Vec::new()))?;
    Ok(file)
}

/// Makes a folder that only the user can read, with those above it.
pub(super) fn make_folder(path: &Path) -> Result<(), PlatformError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(PlatformError::file(path))
}

/// Deletes a folder with its content. A missing folder is not an error.
pub(super) fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Deletes a file. A missing file is not an error.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Returns a path that does not depend on the working directory.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, PlatformError> {
    std::path::absolute(path).map_err(PlatformError::file(path))
}
