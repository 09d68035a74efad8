//! Artifacts beside the records: captured disks, kept by digest in the store's folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::backend::{BackendError, Created};
use super::dir::{Dir, make_final};
use super::{Store, StoreError};
use crate::digest::{Digest, Hashing};
use crate::manifest::Manifest;

impl Store<Dir> {
    /// Takes the finished disk `from`, whose digest the caller has just taken, into the store; `from` is gone
    /// afterwards. On one file system nothing is copied or read again; otherwise it is copied, and hashed on the way.
    pub async fn adopt_artifact(&self, from: &Path, digest: Digest) -> Result<PathBuf, StoreError> {
        let (dir, from) = (self.backend().clone(), from.to_owned());
        let to = dir.path(&format!("artifacts/sha256/{}.qcow2", digest.hex()))?;
        let shown = from.display().to_string();
        tokio::task::spawn_blocking(move || adopt(&dir, &from, &to, digest).map(|()| to))
            .await
            .map_err(|error| failed(&shown, io::Error::other(error)))?
    }

    /// Where the local artifact of a manifest is, if it still is. What it holds is for [`Store::verify`] to say.
    pub fn artifact(&self, manifest: &Manifest) -> Result<Option<PathBuf>, StoreError> {
        let mut outputs = manifest.outputs.iter();
        let Some(output) = outputs.find(|output| output.target == "local") else {
            return Ok(None);
        };
        let path = self.backend().path(&output.id)?;
        Ok(path.exists().then_some(path))
    }
}

fn adopt(dir: &Dir, from: &Path, to: &Path, digest: Digest) -> Result<(), StoreError> {
    let name = from.display().to_string();
    let file = File::open(from).map_err(|error| failed(&name, error))?;
    make_final(&file).map_err(|error| failed(&name, error))?;
    match dir.publish(from, to) {
        Ok(Created::New | Created::Exists) => {}
        Err(BackendError::Io { error, .. }) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy(dir, file, to, digest)?;
        }
        Err(error) => return Err(error.into()),
    }
    match fs::remove_file(from) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&name, error)),
        _ => Ok(()),
    }
}

fn copy(dir: &Dir, mut from: File, to: &Path, digest: Digest) -> Result<(), StoreError> {
    let name = to.display().to_string();
    let copy = dir.temporary().map_err(|error| failed(&name, error))?;
    let mut hashing = Hashing::new(copy);
    io::copy(&mut from, &mut hashing).map_err(|error| failed(&name, error))?;
    let (found, _, copy) = hashing.finish();
    if found != digest {
        let why = format!("the file to be adopted has the digest {found}");
        return Err(StoreError::integrity(name, why));
    }
    make_final(copy.as_file()).map_err(|error| failed(&name, error))?;
    dir.publish(copy.path(), to)?;
    Ok(())
}

fn failed(name: &str, error: io::Error) -> StoreError {
    let name = name.to_owned();
    StoreError::Backend(BackendError::Io { name, error })
}
