//! Connects to Unix sockets in the folder of a VM.
//! The path of a socket is limited to about 100 bytes, so a file descriptor names the folder.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

/// Connects to the socket `name` in `folder`.
pub(super) async fn connect(folder: &Path, name: &Path) -> io::Result<UnixStream> {
    let folder = File::open(folder)?;
    UnixStream::connect(path(&folder, name)).await
}

/// Creates the socket `name` in `folder` and listens on it.
pub(super) fn listen(folder: &Path, name: &Path) -> io::Result<UnixListener> {
    let folder = File::open(folder)?;
    UnixListener::bind(path(&folder, name))
}

fn path(folder: &File, name: &Path) -> String {
    format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), name.display())
}
