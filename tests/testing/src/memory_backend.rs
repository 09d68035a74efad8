//! A backend in memory that counts its requests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use vault_bake::digest::Digest;
use vault_bake::store::backend::{ArtifactName, Backend, BackendError, Created};

/// Names and bytes, which clones share.
#[derive(Clone, Default)]
pub struct MemoryBackend {
    pub files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    gets: Arc<AtomicU64>,
    listed: Arc<AtomicU64>,
}

impl MemoryBackend {
    /// Returns a separate backend with the same content.
    pub fn copy(&self) -> Self {
        Self {
            files: Arc::new(Mutex::new(self.files.lock().unwrap().clone())),
            ..Self::default()
        }
    }

    /// Returns and resets the counts of reads and of listed names.
    pub fn take_counts(&self) -> (u64, u64) {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        (take(&self.gets), take(&self.listed))
    }

    /// Changes the content of `name`.
    pub fn alter(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.files.lock().unwrap().get_mut(name).unwrap());
    }

    pub fn remove(&self, name: &str) {
        self.files.lock().unwrap().remove(name).unwrap();
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.files.lock().unwrap().get(name).cloned()
    }
}

impl Backend for MemoryBackend {
    fn location(&self) -> String {
        "memory:test".to_owned()
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.read(name))
    }

    async fn digest(&self, name: &str) -> Result<Option<Digest>, BackendError> {
        Ok(self.read(name).map(Digest::hash_bytes))
    }

    async fn exists(&self, name: &str) -> Result<bool, BackendError> {
        Ok(self.read(name).is_some())
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, BackendError> {
        Ok(self.read(name).map(|bytes| bytes.len() as u64))
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        let mut files = self.files.lock().unwrap();
        if files.contains_key(name) {
            return Ok(Created::Exists);
        }
        files.insert(name.to_owned(), bytes.to_vec());
        Ok(Created::New)
    }

    async fn create_file(
        &self,
        name: &str,
        from: &Path,
        digest: &Digest,
    ) -> Result<Created, BackendError> {
        let bytes = fs::read(from).unwrap();
        assert_eq!(Digest::hash_bytes(&bytes), *digest);
        self.create(name, &bytes).await
    }

    async fn fetch_file(&self, name: &str, to: &Path) -> Result<Option<Digest>, BackendError> {
        Ok(self.read(name).map(|bytes| {
            fs::write(to, &bytes).unwrap();
            Digest::hash_bytes(bytes)
        }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, BackendError> {
        let files = self.files.lock().unwrap();
        let names = files.keys().filter(|name| name.starts_with(prefix));
        let names: Vec<String> = names.cloned().collect();
        self.listed.fetch_add(names.len() as u64, Ordering::Relaxed);
        Ok(names)
    }

    async fn remove(&self, name: &ArtifactName) -> Result<(), BackendError> {
        self.files.lock().unwrap().remove(name.as_str());
        Ok(())
    }
}
