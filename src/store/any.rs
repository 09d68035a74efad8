//! The backend that somebody chose, so that what uses a store is written once.

use std::path::{Path, PathBuf};

use super::backend::{ArtifactName, Backend, BackendError, Created};
use super::{Blob, Dir};
use crate::digest::Digest;

/// A folder or a container.
#[derive(Clone)]
pub enum AnyBackend {
    /// A folder of this machine.
    Dir(Dir),
    /// A container in Azure Blob Storage.
    Blob(Blob),
}

impl From<Dir> for AnyBackend {
    fn from(dir: Dir) -> Self {
        Self::Dir(dir)
    }
}

impl From<Blob> for AnyBackend {
    fn from(blob: Blob) -> Self {
        Self::Blob(blob)
    }
}

/// Asks whichever it is.
macro_rules! whichever {
    ($any:expr, $backend:ident => $ask:expr) => {
        match $any {
            AnyBackend::Dir($backend) => $ask,
            AnyBackend::Blob($backend) => $ask,
        }
    };
}

impl Backend for AnyBackend {
    fn place(&self) -> String {
        whichever!(self, backend => backend.place())
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        whichever!(self, backend => backend.get(name).await)
    }

    async fn digest(&self, name: &str) -> Result<Option<Digest>, BackendError> {
        whichever!(self, backend => backend.digest(name).await)
    }

    async fn exists(&self, name: &str) -> Result<bool, BackendError> {
        whichever!(self, backend => backend.exists(name).await)
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, BackendError> {
        whichever!(self, backend => backend.size(name).await)
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        whichever!(self, backend => backend.create(name, bytes).await)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, BackendError> {
        whichever!(self, backend => backend.list(prefix).await)
    }

    async fn create_file(
        &self,
        name: &str,
        from: &Path,
        digest: &Digest,
    ) -> Result<Created, BackendError> {
        whichever!(self, backend => backend.create_file(name, from, digest).await)
    }

    async fn fetch_file(&self, name: &str, to: &Path) -> Result<Option<Digest>, BackendError> {
        whichever!(self, backend => backend.fetch_file(name, to).await)
    }

    async fn remove(&self, name: &ArtifactName) -> Result<(), BackendError> {
        whichever!(self, backend => backend.remove(name).await)
    }

    fn is_near(&self) -> bool {
        whichever!(self, backend => backend.is_near())
    }

    fn local_file(&self, name: &str) -> Result<Option<PathBuf>, BackendError> {
        whichever!(self, backend => backend.local_file(name))
    }
}
