//! Stores and fetches artifacts: captured disks, named by digest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::backend::{Backend, BackendError, Created};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::manifest::Manifest;

impl<B: Backend> Store<B> {
    /// Moves a finished disk into the store, and returns its location for messages. The caller has
    /// just computed `digest`. On one file system this copies and reads nothing; otherwise the disk
    /// is hashed while it is copied or sent.
    pub async fn adopt_artifact(&self, from: &Path, digest: Digest) -> Result<String, StoreError> {
        let name = format!("artifacts/sha256/{}.qcow2", digest.hex());
        match self.backend.create_file(&name, from, &digest).await {
            Ok(Created::New) => {}
            Ok(Created::Exists) => self.check_artifact_is(&name, &digest).await?,
            Err(BackendError::OtherContent { name, found }) => {
                let why = format!("the file to store has the digest {found}");
                return Err(StoreError::integrity(name, why));
            }
            Err(error) => return Err(error.into()),
        }
        match fs::remove_file(from) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(from, error));
            }
            _ => {}
        }
        Ok(match self.backend.local_file(&name)? {
            Some(path) => path.display().to_string(),
            None => format!("{}/{name}", self.backend.location()),
        })
    }

    /// Returns the local artifact of a manifest as a file of this machine, if the store has it. An
    /// artifact in a container is fetched into the folder `work` and its digest checked.
    /// [`Store::verify`] checks the files of a folder.
    pub async fn artifact(
        &self,
        manifest: &Manifest,
        work: &Path,
    ) -> Result<Option<PathBuf>, StoreError> {
        let mut outputs = manifest.outputs.iter();
        let local = outputs.find_map(|output| Some((output, output.local_file()?)));
        let Some((output, file)) = local else {
            return Ok(None);
        };
        if let Some(path) = self.backend.local_file(&output.id)? {
            return Ok(Some(path));
        }
        let to = work.join(format!("{}.qcow2", file.digest.short()));
        match self.backend.fetch_file(&output.id, &to).await? {
            None => Ok(None),
            Some(found) if found == file.digest => Ok(Some(to)),
            Some(found) => {
                // A failed removal is ignored: the integrity error below is more important.
                let _ = fs::remove_file(&to);
                let why = format!("its content has the digest {found}");
                Err(StoreError::integrity(&output.id, why))
            }
        }
    }

    /// Checks that the artifact which another writer stored under this name is the same.
    async fn check_artifact_is(&self, name: &str, digest: &Digest) -> Result<(), StoreError> {
        match self.backend.digest(name).await? {
            Some(found) if found == *digest => Ok(()),
            Some(found) => {
                let why = format!("its content has the digest {found}");
                Err(StoreError::integrity(name, why))
            }
            None => Err(StoreError::integrity(
                name,
                "it existed a moment ago and is missing now",
            )),
        }
    }
}

fn io_error(name: &Path, error: io::Error) -> StoreError {
    let name = name.display().to_string();
    StoreError::Backend(BackendError::Io { name, error })
}
