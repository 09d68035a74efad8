//! Selects a backend at run time, so that callers need one type only.

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

/// Delegates a call to the selected backend.
macro_rules! delegate {
    ($any:expr, $backend:ident => $call:expr) => {
        match $any {
            AnyBackend::Dir($backend) => $call,
            AnyBackend::Blob($backend) => $call,
        }
    };
}

impl Backend for AnyBackend {
    fn location(&self) -> String {
        delegate!(self, backend => backend.location())
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        delegate!(self, backend => backend.get(name).await)
    }

    async fn digest(&self, name: &str) -> Result<Option<Digest>, BackendError> {
        delegate!(self, backend => backend.digest(name).await)
    }

    async fn exists(&self, name: &str) -> Result<bool, BackendError> {
        delegate!(self, backend => backend.exists(name).await)
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, BackendError> {
        delegate!(self, backend => backend.size(name).await)
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        delegate!(self, backend => backend.create(name, bytes).await)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, BackendError> {
        delegate!(self, backend => backend.list(prefix).await)
    }

    async fn create_file(
        &self,
        name: &str,
        from: &Path,
        digest: &Digest,
    ) -> Result<Created, BackendError> {
        delegate!(self, backend => backend.create_file(name, from, digest).await)
    }

    async fn fetch_file(&self, name: &str, to: &Path) -> Result<Option<Digest>, BackendError> {
        delegate!(self, backend => backend.fetch_file(name, to).await)
    }

    async fn remove(&self, name: &ArtifactName) -> Result<(), BackendError> {
        delegate!(self, backend => backend.remove(name).await)
    }

    fn is_local(&self) -> bool {
        delegate!(self, backend => backend.is_local())
    }

    fn local_file(&self, name: &str) -> Result<Option<PathBuf>, BackendError> {
        delegate!(self, backend => backend.local_file(name))
    }
}
