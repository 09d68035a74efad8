//! Where records live: objects named by digest, and one append-only log of events about them.
//!
//! In: manifests, test records, package lists. Out: the same, found by name or digest, and checked. Nothing is ever
//! overwritten or removed: a store only creates, so two writers need no lock and a write-once container will do.
//! Readers replay the log and void what breaks a rule, so nobody has to trust the writers. Deliberately keeps no
//! index: whatever could be computed from the records is.
//!
//! ```text
//! store.json                      which store this is; the first entry of the log names its digest
//! objects/sha256/ab/<62 hex>      manifests, test records, package lists
//! log/entries/000/000/001         one event each, chained by the digest of the one before
//! artifacts/sha256/<hex>.qcow2    captured disks
//! tmp/                            files on their way (folders only); may be swept at any time when a day old
//! ```

mod any;
mod artifact;
pub mod backend;
pub mod blob;
pub mod dir;
mod error;
mod images;
pub mod log;
mod verify;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::digest::{Digest, canonical_json};
use crate::manifest::{
    Manifest, Moment, Package, Packages, TestRecord, canonical, packages_bytes, parse_packages,
};

use backend::{Backend, Created};
use log::{Body, History};

pub use any::AnyBackend;
pub use blob::Blob;
pub use dir::Dir;
pub use error::StoreError;
pub use images::{ImageRow, TestState};
pub use verify::{Depth, Finding, Report};

/// The schema of the stores that are written.
pub const SCHEMA: &str = "https://vault-bake.dev/store/v1";

/// The one file that says which store this is.
const STORE_FILE: &str = "store.json";

/// Records in a folder or a container.
pub struct Store<B> {
    backend: B,
    /// The digest of `store.json`, which the first entry of the log is chained to.
    origin: Digest,
}

/// What `store.json` says.
#[derive(Serialize, Deserialize)]
struct Origin {
    schema: String,
    /// Random: tells two stores apart.
    id: String,
    created_at: Moment,
}

impl<B: Backend> Store<B> {
    /// Opens the store that is there.
    pub async fn open(backend: B) -> Result<Self, StoreError> {
        let Some(bytes) = backend.get(STORE_FILE).await? else {
            let entries = backend.list("log/").await?;
            return Err(match entries.first() {
                Some(_) => StoreError::integrity(STORE_FILE, "missing, although there is a log"),
                None => StoreError::NoStore(backend.place()),
            });
        };
        let value = canonical::parse(&bytes, 4096)
            .map_err(|error| StoreError::integrity(STORE_FILE, error.to_string()))?;
        let schema = value["schema"].as_str().unwrap_or_default();
        if schema != SCHEMA {
            return Err(StoreError::Schema {
                of: backend.place(),
                schema: schema.to_owned(),
            });
        }
        let origin = Digest::of(&bytes);
        Ok(Self { backend, origin })
    }

    /// Opens the store, and creates it where there is none.
    pub async fn open_or_create(backend: B, now: Timestamp) -> Result<Self, StoreError> {
        if backend.get(STORE_FILE).await?.is_none() && backend.list("log/").await?.is_empty() {
            let origin = Origin {
                schema: SCHEMA.to_owned(),
                id: new_id(now).to_string(),
                created_at: now.into(),
            };
            // Who loses the race opens what the winner created.
            let _: Created = backend.create(STORE_FILE, &canonical_json(&origin)).await?;
        }
        Self::open(backend).await
    }

    /// What the store is kept in.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Replays the whole log.
    pub async fn history(&self) -> Result<History, StoreError> {
        let mut history = History::new(self.origin);
        history.advance(&self.backend).await?;
        history.check_end(&self.backend).await?;
        Ok(history)
    }

    /// Stores `bytes` under their digest. Nothing happens where they are there already.
    pub async fn put_object(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        match self.backend.create(&object_name(&digest), bytes).await? {
            Created::New => {}
            Created::Exists => {
                self.object(&digest).await?;
            }
        }
        Ok(digest)
    }

    /// What is stored under `digest`, checked.
    pub async fn object(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let name = object_name(digest);
        let bytes = self.backend.get(&name).await?;
        let bytes = bytes.ok_or_else(|| StoreError::integrity(&name, "missing"))?;
        let found = Digest::of(&bytes);
        if found == *digest {
            Ok(bytes)
        } else {
            let why = format!("its content has the digest {found}");
            Err(StoreError::integrity(name, why))
        }
    }

    /// Stores a package list, and returns what a manifest says of it.
    pub async fn put_packages(
        &self,
        packages: &[Package],
        manager: &str,
    ) -> Result<Packages, StoreError> {
        Ok(Packages {
            digest: self.put_object(&packages_bytes(packages)).await?,
            count: packages.len() as u64,
            manager: manager.to_owned(),
        })
    }

    /// The package list of a manifest.
    pub async fn packages(&self, manifest: &Manifest) -> Result<Vec<Package>, StoreError> {
        let digest = &manifest.packages.digest;
        let bytes = self.object(digest).await?;
        parse_packages(&bytes)
            .map_err(|error| StoreError::integrity(object_name(digest), error.to_string()))
    }

    /// Records a bake. What the manifest names, its package list and its local artifacts, has to be there already.
    /// Doing it again is no error. Where another manifest has the same name: [`StoreError::VersionTaken`], and
    /// nothing is recorded; the caller takes [`Self::next_version`] and tries again.
    pub async fn put_manifest(
        &self,
        manifest: &Manifest,
        now: Timestamp,
    ) -> Result<Digest, StoreError> {
        let bytes = manifest.to_bytes();
        let digest = Digest::of(&bytes);
        Manifest::parse(&bytes).map_err(StoreError::BadManifest)?;
        let body = Body::ManifestPut {
            manifest: digest,
            image: manifest.image.clone(),
            version: manifest.version,
            artifact: manifest.outputs[0].file.digest,
        };
        // Looked at before anything is written, so that a refusal leaves nothing behind.
        let history = self.history().await?;
        history.admits(&body)?;
        let outputs = manifest.outputs.iter();
        let local = outputs.filter(|output| output.target == "local");
        let list = object_name(&manifest.packages.digest);
        for what in local.map(|output| output.id.clone()).chain([list]) {
            if !self.backend.exists(&what).await? {
                return Err(StoreError::NotYetStored { what });
            }
        }
        self.put_object(&bytes).await?;
        self.append_to(history, new_id(now), now, body).await?;
        Ok(digest)
    }

    /// Records a test of a recorded manifest. Doing it again is no error.
    pub async fn put_test(
        &self,
        record: &TestRecord,
        now: Timestamp,
    ) -> Result<Digest, StoreError> {
        let bytes = record.to_bytes();
        let manifest = record.manifest;
        TestRecord::parse(&bytes).map_err(|error| StoreError::BadTest { manifest, error })?;
        let body = Body::TestPut {
            manifest,
            test: Digest::of(&bytes),
            passed: record.passed,
        };
        let history = self.history().await?;
        history.admits(&body)?;
        let test = self.put_object(&bytes).await?;
        self.append_to(history, new_id(now), now, body).await?;
        Ok(test)
    }

    /// Appends one event, and returns once it is durable. The rules are looked at again whenever another writer was
    /// faster. With an `id` that the log has already nothing happens, so a caller who does not know whether the last
    /// try succeeded may try again.
    pub async fn append(&self, id: Uuid, now: Timestamp, body: Body) -> Result<(), StoreError> {
        let history = self.history().await?;
        self.append_to(history, id, now, body).await
    }

    async fn append_to(
        &self,
        mut history: History,
        id: Uuid,
        now: Timestamp,
        body: Body,
    ) -> Result<(), StoreError> {
        loop {
            if history.has(id) || history.admits(&body)? == log::Admission::Already {
                return Ok(());
            }
            let (name, bytes) = history.next_entry(id, now, &body);
            match self.backend.create(&name, &bytes).await? {
                Created::New => return Ok(()),
                Created::Exists => {
                    let head = history.head();
                    history.advance(&self.backend).await?;
                    if history.head() == head {
                        return Err(StoreError::integrity(name, "is there and cannot be read"));
                    }
                }
            }
        }
    }
}

/// The name under which the object `digest` is kept.
fn object_name(digest: &Digest) -> String {
    let hex = digest.hex();
    let (first, rest) = hex.split_at(2);
    format!("objects/sha256/{first}/{rest}")
}

/// A UUIDv7 of `now`.
fn new_id(now: Timestamp) -> Uuid {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanos = now.subsec_nanosecond().unsigned_abs();
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}
