//! Moves files of any size into the folder, and copies them out.
//! It links if it can and copies otherwise. The caller decides what may be removed.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::{Dir, io_error, make_final};
use crate::digest::{Digest, HashingWriter};
use crate::store::backend::{BackendError, Created};

/// Gives the finished file `from` the name `to`. Across file systems, copies and hashes it.
pub(super) fn adopt(
    dir: &Dir,
    from: &Path,
    to: &Path,
    name: &str,
    digest: &Digest,
) -> Result<Created, BackendError> {
    let path = from.display().to_string();
    let file = File::open(from).map_err(io_error(&path))?;
    make_final(&file).map_err(io_error(&path))?;
    match dir.publish(from, to) {
        Err(BackendError::Io { error, .. }) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy_in(dir, file, to, name, digest)
        }
        published => published,
    }
}

fn copy_in(
    dir: &Dir,
    mut from: File,
    to: &Path,
    name: &str,
    digest: &Digest,
) -> Result<Created, BackendError> {
    let failed = |error| io_error(name)(error);
    let mut hashing = HashingWriter::new(dir.temporary().map_err(failed)?);
    io::copy(&mut from, &mut hashing).map_err(failed)?;
    let (found, _, copy) = hashing.finish();
    if found != *digest {
        let name = name.to_owned();
        return Err(BackendError::OtherContent { name, found });
    }
    make_final(copy.as_file()).map_err(failed)?;
    dir.publish(copy.path(), to)
}

/// Copies `from` to `to`, and returns the digest. `None` if `from` does not exist.
pub(super) fn copy_out(from: &Path, to: &Path) -> io::Result<Option<Digest>> {
    let mut from = match File::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut hashing = HashingWriter::new(fs::File::create(to)?);
    io::copy(&mut from, &mut hashing)?;
    let (digest, _, _) = hashing.finish();
    Ok(Some(digest))
}

/// Removes `path` durably, even if another process has just removed it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match fs::remove_file(path) {
        Err(error) if !absent(&error) => return Err(error),
        _ => {}
    }
    let folder = path.parent().unwrap_or(path);
    match File::open(folder) {
        Err(error) if absent(&error) => Ok(()),
        opened => opened?.sync_all(),
    }
}
