//! Secrets as files of a private folder. A file appears whole or not at all, and is never replaced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{LIMIT_BYTES, SecretError, parse};
use crate::secret::Secret;

/// A folder whose files only this user can read.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Checks a folder. It need not exist: the first secret makes it.
    pub(super) fn open(path: PathBuf) -> Result<Self, SecretError> {
        if let Some(data) = existing(&path)? {
            check_folder(&path, &data)?;
        }
        Ok(Self(path))
    }

    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn get(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        read_private(&self.0.join(name), name)
    }

    /// Creates the file of a secret, durably. Does nothing if the name is taken.
    pub(super) fn create(&self, name: &str, value: &Secret) -> Result<(), SecretError> {
        private_folder(&self.0)?;
        let path = self.0.join(name);
        let content = value.expose().as_bytes();
        let created = self.create_unnamed(&path, content).or_else(|error| {
            match Errno::from_io_error(&error) {
                // The file system has no files without a name.
                Some(Errno::NOTSUP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                    self.create_named(&path, content)
                }
                _ => Err(error),
            }
        });
        match created {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(io_error(&path)(error))
            }
            _ => self.flush().map_err(io_error(&path)),
        }
    }

    /// Writes a file without a name, then links it: a killed process leaves no part of a secret.
    fn create_unnamed(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.0, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        file.write_all(content)?;
        file.sync_all()?;
        let open = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, &open, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
        Ok(())
    }

    fn create_named(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(&self.0)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.error),
        }
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), SecretError> {
        let path = self.0.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&path)(error)),
            _ => self.flush().map_err(io_error(&path)),
        }
    }

    fn flush(&self) -> io::Result<()> {
        match File::open(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => opened?.sync_all(),
        }
    }
}

/// Creates a folder that only this user can access, or checks that an existing one is.
pub fn private_folder(path: &Path) -> Result<(), SecretError> {
    let data = match existing(path)? {
        Some(data) => data,
        None => {
            let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
            let data = created.and_then(|()| fs::symlink_metadata(path));
            data.map_err(io_error(path))?
        }
    };
    check_folder(path, &data)
}

fn existing(path: &Path) -> Result<Option<fs::Metadata>, SecretError> {
    match fs::symlink_metadata(path) {
        Ok(data) => Ok(Some(data)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path)(error)),
    }
}

fn check_folder(path: &Path, data: &fs::Metadata) -> Result<(), SecretError> {
    if data.is_dir() {
        return check_access(path, data);
    }
    let found = if data.is_symlink() {
        "a symbolic link"
    } else {
        "no folder"
    };
    Err(SecretError::Other {
        path: path.to_owned(),
        found,
    })
}

/// Writes a file that only this user can read. Readers see the old content or the new one.
pub fn replace_private_file(path: &Path, content: &Secret) -> Result<(), SecretError> {
    let failed = io_error(path);
    let folder = path.parent().unwrap_or(path);
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(folder)
        .map_err(&failed)?;
    file.write_all(content.expose().as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .map_err(&failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(&failed)
}

/// Reads a secret from a file of the user that no other user can read.
pub(crate) fn read_private_file(path: &Path) -> Result<Secret, SecretError> {
    let name = path.display().to_string();
    let absent = || io_error(path)(io::ErrorKind::NotFound.into());
    read_private(path, &name)?.ok_or_else(absent)
}

/// Reads a secret. `None` if the file is absent.
fn read_private(path: &Path, name: &str) -> Result<Option<Secret>, SecretError> {
    let other = |found| SecretError::Other {
        path: path.to_owned(),
        found,
    };
    let failed = io_error(path);
    let file = OpenOptions::new()
        .read(true)
        // A device or a pipe must not block.
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
            return Err(other("a symbolic link"));
        }
        Err(error) => return Err(failed(error)),
    };
    let data = file.metadata().map_err(&failed)?;
    if !data.is_file() {
        return Err(other("no file"));
    }
    check_access(path, &data)?;
    let mut bytes = Vec::new();
    file.take(LIMIT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(&failed)?;
    parse(name, bytes).map(Some)
}

fn check_access(path: &Path, data: &fs::Metadata) -> Result<(), SecretError> {
    let path = path.to_owned();
    let mode = data.mode() & 0o7777;
    if data.uid() != rustix::process::geteuid().as_raw() {
        let found = "another user's";
        return Err(SecretError::Other { path, found });
    }
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed { path, mode });
    }
    Ok(())
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> SecretError {
    let path = path.to_owned();
    move |error| SecretError::Io {
        path: path.clone(),
        error,
    }
}
