//! Stores and fetches artifacts: captured disks, named by digest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::backend::{Backend, BackendError, Created};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::manifest::Manifest;

/// A verified copy of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchedArtifact {
    /// The digest of the file.
    pub digest: Digest,
    /// The size of the file, in bytes.
    pub size: u64,
    /// Whether the copy is new. `false` if the file had this content already.
    pub is_new: bool,
}

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

    /// Copies the local artifact of a manifest to the file `to`, which must not exist or must have
    /// the same content. The copy gets its name only after its digest is checked.
    ///
    /// Fails with [`StoreError::Refused`] if the image has no local artifact, if the store lacks
    /// it, or if `to` has other content, and with [`StoreError::Integrity`] if the stored file has
    /// another digest.
    pub async fn fetch_artifact(
        &self,
        manifest: &Manifest,
        to: &Path,
    ) -> Result<FetchedArtifact, StoreError> {
        let refused = |why: &str, hint: &str| StoreError::Refused {
            what: manifest.name(),
            why: why.to_owned(),
            hint: Some(hint.to_owned()),
        };
        let mut outputs = manifest.outputs.iter();
        let Some((output, file)) = outputs.find_map(|one| Some((one, one.local_file()?))) else {
            let hint = "Run `vault-bake resolve` for the id of the image in the cloud.";
            return Err(refused("it has no artifact in the store", hint));
        };
        let mut fetched = FetchedArtifact {
            digest: file.digest,
            size: file.size,
            is_new: false,
        };
        match hash_file(to).await? {
            Some(found) if found == file.digest => return Ok(fetched),
            Some(_) => {
                let why = format!("{} exists and has other content", to.display());
                return Err(refused(
                    &why,
                    "Name another file with --to, or remove this one.",
                ));
            }
            None => {}
        }
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let work = tempfile::Builder::new()
            .prefix(".vault-bake-")
            .tempdir_in(folder)
            .map_err(|error| io_error(folder, error))?;
        let path = work.path().join("artifact");
        match self.backend.fetch_file(&output.id, &path).await? {
            Some(found) if found == file.digest => {}
            Some(found) => {
                let why = format!("its content has the digest {found}");
                return Err(StoreError::integrity(&output.id, why));
            }
            None => {
                let hint = "Restore it from a copy of the store, or build the image again.";
                return Err(refused("the store no longer has its artifact", hint));
            }
        }
        let sync = fs::File::open(&path).and_then(|copy| copy.sync_all());
        sync.map_err(|error| io_error(&path, error))?;
        let copy = tempfile::TempPath::try_from_path(&path);
        let copy = copy.map_err(|error| io_error(&path, error))?;
        let named = copy.persist_noclobber(to);
        named.map_err(|error| io_error(to, error.error))?;
        fetched.is_new = true;
        Ok(fetched)
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

/// Returns the digest of a file, or `None` if it does not exist.
async fn hash_file(path: &Path) -> Result<Option<Digest>, StoreError> {
    let file = path.to_owned();
    let hashed = tokio::task::spawn_blocking(move || Digest::hash_file(&file)).await;
    match hashed.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        Ok((digest, _size)) => Ok(Some(digest)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path, error)),
    }
}
