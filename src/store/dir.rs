//! A store in a local folder.
//! A file is written under `tmp/`, made durable, and linked to its name. After a crash it exists
//! completely or not at all, and the slower of two writers gets [`Created::Exists`]. `O_EXCL` alone
//! would leave torn files after a crash.

mod file;

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::digest::Digest;

use super::backend::{ArtifactName, Backend, BackendError, Created, is_store_name};

/// A folder. Clones share it.
#[derive(Clone)]
pub struct Dir(Arc<Inner>);

struct Inner {
    root: PathBuf,
    publish: Publish,
    /// Folders whose entries, and those of all folders above, are known to be durable.
    durable_folders: Mutex<HashSet<PathBuf>>,
}

/// How a finished file gets its final name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// By hard link, or by rename if the file system has no links.
    Link,
    /// By rename without replacing.
    Rename,
}

impl Dir {
    /// Returns the backend for the folder `root`, which the first write creates.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::with_publish(root, Publish::Link)
    }

    /// Returns the backend for the folder `root`, which gives files their names by `publish`.
    pub fn with_publish(root: impl Into<PathBuf>, publish: Publish) -> Self {
        Self(Arc::new(Inner {
            root: root.into(),
            publish,
            durable_folders: Mutex::default(),
        }))
    }

    /// Returns the folder.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Returns the path of the file `name`.
    pub fn path(&self, name: &str) -> Result<PathBuf, BackendError> {
        if is_store_name(name) {
            Ok(self.0.root.join(name))
        } else {
            Err(BackendError::Name(name.to_owned()))
        }
    }

    /// Finds temporary files that are more than a day older than `now`. Removes them unless
    /// `dry_run` is set.
    pub fn sweep(&self, now: Timestamp, dry_run: bool) -> Result<Vec<PathBuf>, BackendError> {
        let mut stray = Vec::new();
        for name in walk(&self.0.root, "tmp/").map_err(io_error("tmp"))? {
            let path = self.0.root.join(&name);
            let Ok(changed) = fs::metadata(&path).and_then(|data| data.modified()) else {
                continue; // Its owner has just removed it.
            };
            let old = Timestamp::try_from(changed)
                .is_ok_and(|changed| now.duration_since(changed) > SignedDuration::from_hours(24));
            if old && !dry_run {
                fs::remove_file(&path).map_err(io_error(&name))?;
            }
            if old {
                stray.push(path);
            }
        }
        Ok(stray)
    }

    /// Creates a file under `tmp/`. Dropping it removes it.
    fn temporary(&self) -> io::Result<NamedTempFile> {
        let folder = self.0.root.join("tmp");
        fs::create_dir_all(&folder)?;
        let prefix = format!("{}-", std::process::id());
        tempfile::Builder::new().prefix(&prefix).tempfile_in(folder)
    }

    /// Gives the finished and durable file `from` the name `to`, durably, unless that is taken.
    /// `from` may be gone afterwards.
    fn publish(&self, from: &Path, to: &Path) -> Result<Created, BackendError> {
        let failed = |error: io::Error| io_error(&to.display().to_string())(error);
        let folder = to.parent().unwrap_or(to);
        fs::create_dir_all(folder).map_err(failed)?;
        let linked = match self.0.publish {
            Publish::Link => fs::hard_link(from, to),
            Publish::Rename => Err(io::ErrorKind::Unsupported.into()),
        };
        let created = match linked {
            Ok(()) => Created::New,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Created::Exists,
            Err(error) if has_no_links(&error) => rename(from, to)?,
            Err(error) => return Err(failed(error)),
        };
        // The next entry of the slower writer refers to this file, so the file must be durable for
        // both.
        self.flush_folder(folder).map_err(failed)?;
        Ok(created)
    }

    /// Makes the entries of `folder` durable, and on first use also those of all folders above it.
    fn flush_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()?;
        let durable_folders = || {
            self.0
                .durable_folders
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if durable_folders().contains(folder) {
            return Ok(());
        }
        let above = folder.ancestors().skip(1);
        let root = self.0.root.parent().unwrap_or(&self.0.root);
        for ancestor in above.take_while(|ancestor| ancestor.starts_with(root)) {
            let ancestor = if ancestor.as_os_str().is_empty() {
                Path::new(".")
            } else {
                ancestor
            };
            File::open(ancestor)?.sync_all()?;
        }
        durable_folders().insert(folder.to_owned());
        Ok(())
    }

    fn create_blocking(&self, to: &Path, bytes: &[u8]) -> Result<Created, BackendError> {
        let failed = |error: io::Error| io_error(&to.display().to_string())(error);
        let mut file = self.temporary().map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        make_final(file.as_file()).map_err(failed)?;
        self.publish(file.path(), to)
    }
}

/// Reads a file. Most files are records of a few kilobytes, so this saves a request for the size.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(8 * 1024);
    File::open(path)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Backend for Dir {
    fn location(&self) -> String {
        self.0.root.display().to_string()
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        match read_file(&self.path(name)?) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(name)(error)),
        }
    }

    async fn digest(&self, name: &str) -> Result<Option<Digest>, BackendError> {
        if self.size(name).await?.is_none() {
            return Ok(None);
        }
        let path = self.path(name)?;
        let hashed = tokio::task::spawn_blocking(move || Digest::hash_file(&path)).await;
        match hashed.map_err(|error| io_error(name)(io::Error::other(error)))? {
            Ok((digest, _)) => Ok(Some(digest)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(name)(error)),
        }
    }

    async fn exists(&self, name: &str) -> Result<bool, BackendError> {
        self.path(name)?.try_exists().map_err(io_error(name))
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, BackendError> {
        match fs::metadata(self.path(name)?) {
            Ok(data) if data.is_file() => Ok(Some(data.len())),
            Ok(_) => Err(BackendError::NoFile(name.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(name)(error)),
        }
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        let (dir, to, bytes) = (self.clone(), self.path(name)?, bytes.to_vec());
        tokio::task::spawn_blocking(move || dir.create_blocking(&to, &bytes))
            .await
            .map_err(|error| io_error(name)(io::Error::other(error)))?
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, BackendError> {
        let mut names = walk(&self.0.root, prefix).map_err(io_error(prefix))?;
        names.sort();
        Ok(names)
    }

    async fn create_file(
        &self,
        name: &str,
        from: &Path,
        digest: &Digest,
    ) -> Result<Created, BackendError> {
        let (dir, from, to) = (self.clone(), from.to_owned(), self.path(name)?);
        let (known_as, digest) = (name.to_owned(), *digest);
        tokio::task::spawn_blocking(move || file::adopt(&dir, &from, &to, &known_as, &digest))
            .await
            .map_err(|error| io_error(name)(io::Error::other(error)))?
    }

    async fn fetch_file(&self, name: &str, to: &Path) -> Result<Option<Digest>, BackendError> {
        let (from, to) = (self.path(name)?, to.to_owned());
        let copied = tokio::task::spawn_blocking(move || file::copy_out(&from, &to)).await;
        let copied = copied.map_err(|error| io_error(name)(io::Error::other(error)))?;
        copied.map_err(io_error(name))
    }

    async fn remove(&self, name: &ArtifactName) -> Result<(), BackendError> {
        let path = self.path(name.as_str())?;
        let removed = tokio::task::spawn_blocking(move || file::remove(&path)).await;
        let removed = removed.map_err(|error| io_error(name.as_str())(io::Error::other(error)))?;
        removed.map_err(io_error(name.as_str()))
    }

    fn is_local(&self) -> bool {
        true
    }

    fn local_file(&self, name: &str) -> Result<Option<PathBuf>, BackendError> {
        let path = self.path(name)?;
        Ok(path.exists().then_some(path))
    }
}

/// Makes the content durable and the file read-only.
fn make_final(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o444))?;
    file.sync_all()
}

/// Whether the file system does not support links, as opposed to a failure of this one.
fn has_no_links(error: &io::Error) -> bool {
    let known = [Errno::PERM, Errno::NOTSUP, Errno::NOSYS, Errno::MLINK];
    error.kind() == io::ErrorKind::Unsupported
        || Errno::from_io_error(error).is_some_and(|errno| known.contains(&errno))
}

fn rename(from: &Path, to: &Path) -> Result<Created, BackendError> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Created::New),
        Err(Errno::EXIST) => Ok(Created::Exists),
        Err(errno @ (Errno::INVAL | Errno::NOSYS | Errno::NOTSUP)) => {
            Err(BackendError::Unsupported {
                place: to.display().to_string(),
                error: errno.into(),
            })
        }
        Err(errno) => Err(io_error(&to.display().to_string())(errno.into())),
    }
}

/// Returns all files under `root` whose names begin with `prefix`.
fn walk(root: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut folders = vec![prefix.trim_end_matches('/').to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(root.join(&folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                folders.push(name);
            } else {
                names.push(name);
            }
        }
    }
    Ok(names)
}

fn io_error(name: &str) -> impl FnOnce(io::Error) -> BackendError {
    let name = name.to_owned();
    move |error| BackendError::Io { name, error }
}
