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
//! artifacts/sha256/<hex>.qcow2    captured disks (folders only)
//! tmp/                            files on their way; may be swept at any time when a day old
//! ```

mod artifact;
pub mod backend;
pub mod dir;
mod images;
pub mod log;
mod verify;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::digest::{Digest, canonical_json};
use crate::manifest::{
    CanonicalError, Manifest, ManifestError, Moment, Package, Packages, TestRecord, canonical,
    packages_bytes, parse_packages,
};

use backend::{Backend, BackendError, Created};
use log::{Body, History};

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

/// The store failed, refused, or holds something that it should not.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// There is none.
    #[error("no store at {0}: a first build creates it")]
    NoStore(String),
    /// It was made by another version.
    #[error(
        "the store {of} has the schema `{schema}`, expected `{SCHEMA}`; a newer vault-bake may know it"
    )]
    Schema {
        /// Where.
        of: String,
        /// What it says.
        schema: String,
    },
    /// What is stored is not what was stored.
    #[error("integrity: {what}: {why}; restore it from a copy, and find out who altered it")]
    Integrity {
        /// The name of the object, entry or file.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A manifest that this version cannot read.
    #[error("{digest}: {error}")]
    Unreadable {
        /// Its digest.
        digest: Digest,
        /// Why.
        error: ManifestError,
    },
    /// An event that readers must know, and this version does not.
    #[error(
        "entry {seq} of the log is a `{kind}`, which readers must know; use a newer vault-bake"
    )]
    UnknownEvent {
        /// Its number.
        seq: u64,
        /// Its kind.
        kind: String,
    },
    /// The name is taken: versions are never published twice.
    #[error(
        "{name} is recorded already, as {digest}: pass another --version, or none for the next free one"
    )]
    VersionTaken {
        /// `image@version`.
        name: String,
        /// Of the manifest that has it.
        digest: Digest,
    },
    /// The scheme `YYYY.MMDD.N` has no number left.
    #[error("{0} has no version left for this day: pass --version")]
    NoVersionLeft(String),
    /// Nothing has this name.
    #[error("{0} is not in the store; `vault-bake images` lists what is")]
    NotFound(String),
    /// Several have this beginning.
    #[error("{reference} is the beginning of several digests ({}): give more digits", .candidates.join(", "))]
    Ambiguous {
        /// As given.
        reference: String,
        /// All of them.
        candidates: Vec<String>,
    },
    /// A feature that is yet to come.
    #[error("{0} names a channel, and channels are not there yet: use name@version or sha256:…")]
    NoChannels(String),
    /// A record names something that has to be stored before it.
    #[error("{what} has to be stored before the record that names it")]
    NotYetStored {
        /// What is missing.
        what: String,
    },
    /// A record that must not be stored.
    #[error("test record of {manifest}: {error}")]
    BadTest {
        /// What it is about.
        manifest: Digest,
        /// What is wrong.
        error: CanonicalError,
    },
}

impl StoreError {
    /// Whether something stored is not what it was: exit code 7.
    pub fn is_integrity(&self) -> bool {
        match self {
            Self::Integrity { .. } => true,
            Self::Unreadable { error, .. } => !matches!(
                error,
                ManifestError::Schema(_) | ManifestError::MustUnderstand(_)
            ),
            _ => false,
        }
    }

    /// Whether somebody else was first: exit code 6.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::VersionTaken { .. })
    }

    pub(crate) fn integrity(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Integrity {
            what: what.into(),
            why: why.into(),
        }
    }
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
        Manifest::parse(&bytes).map_err(|error| StoreError::Unreadable { digest, error })?;
        let outputs = manifest.outputs.iter();
        let local = outputs.filter(|output| output.target == "local");
        let list = object_name(&manifest.packages.digest);
        for what in local.map(|output| output.id.clone()).chain([list]) {
            if !self.backend.exists(&what).await? {
                return Err(StoreError::NotYetStored { what });
            }
        }
        self.put_object(&bytes).await?;
        let body = Body::ManifestPut {
            manifest: digest,
            image: manifest.image.clone(),
            version: manifest.version,
            artifact: manifest.outputs[0].file.digest,
        };
        self.append(new_id(now), now, body).await?;
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
        // Looked at before the object is written, so that a refused test leaves nothing behind.
        self.history().await?.admits(&body)?;
        let test = self.put_object(&bytes).await?;
        self.append(new_id(now), now, body).await?;
        Ok(test)
    }

    /// Appends one event, and returns once it is durable. The rules are looked at again whenever another writer was
    /// faster. With an `id` that the log has already nothing happens, so a caller who does not know whether the last
    /// try succeeded may try again.
    pub async fn append(&self, id: Uuid, now: Timestamp, body: Body) -> Result<(), StoreError> {
        let mut history = self.history().await?;
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
