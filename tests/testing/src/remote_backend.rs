//! A folder as a remote backend, such as a blob container. It can block or fail.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use vault_bake::digest::Digest;
use vault_bake::store::Dir;
use vault_bake::store::backend::{ArtifactName, Backend, BackendError, Created};

/// A folder that claims to be remote.
pub struct RemoteBackend {
    dir: Dir,
    /// Whether fetches block.
    stuck: bool,
    /// Paths of fetched files.
    fetched: Mutex<Vec<PathBuf>>,
    /// Whether deletions fail.
    lost: AtomicBool,
}

impl RemoteBackend {
    pub fn new(root: PathBuf, stuck: bool) -> Self {
        Self {
            dir: Dir::new(root),
            stuck,
            fetched: Mutex::default(),
            lost: AtomicBool::new(false),
        }
    }

    /// Makes deletions fail, or succeed again.
    pub fn lose(&self, lost: bool) {
        self.lost.store(lost, Ordering::Relaxed);
    }

    pub fn fetched(&self) -> Vec<PathBuf> {
        self.fetched.lock().expect("a lock").clone()
    }
}

impl Backend for RemoteBackend {
    fn location(&self) -> String {
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

    async fn size(&self, name: &str) -> Result<Option<u64>, BackendError> {
        self.dir.size(name).await
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

    async fn remove(&self, name: &ArtifactName) -> Result<(), BackendError> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(BackendError::Service {
                place: self.location(),
                name: name.to_string(),
                why: String::from("the service could not be reached"),
                hint: None,
            });
        }
        self.dir.remove(name).await
    }
}
