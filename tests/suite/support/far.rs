//! A backend that keeps no files of this machine: what a container is to a bake.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use vault_bake::digest::Digest;
use vault_bake::store::Dir;
use vault_bake::store::backend::{Backend, BackendError, Created};

/// Far away, for all that a bake can tell.
pub struct Far {
    dir: Dir,
    /// Whether files never arrive.
    stuck: bool,
    /// Where files were fetched to.
    fetched: Mutex<Vec<PathBuf>>,
}

impl Far {
    pub fn new(root: PathBuf, stuck: bool) -> Self {
        Self {
            dir: Dir::new(root),
            stuck,
            fetched: Mutex::default(),
        }
    }

    pub fn fetched(&self) -> Vec<PathBuf> {
        self.fetched.lock().expect("a lock").clone()
    }
}

impl Backend for Far {
    fn place(&self) -> String {
        String::from("https://far.example/away")
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.dir.get(name).await
    }

    async fn digest(&self, name: &str) -> Result<Option<Digest>, BackendError> {
        self.dir.digest(name).await
    }

    async fn exists(&self, name: &str) -> Result<bool, BackendError> {
        self.dir.exists(name).await
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        self.dir.create(name, bytes).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, BackendError> {
        self.dir.list(prefix).await
    }

    async fn create_file(
        &self,
        name: &str,
        from: &Path,
        digest: &Digest,
    ) -> Result<Created, BackendError> {
        if self.stuck {
            pending::<()>().await;
        }
        self.dir.create_file(name, from, digest).await
    }

    async fn fetch_file(&self, name: &str, to: &Path) -> Result<Option<Digest>, BackendError> {
        self.fetched.lock().expect("a lock").push(to.to_owned());
        self.dir.fetch_file(name, to).await
    }
}
