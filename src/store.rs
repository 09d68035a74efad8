//! Where records live: objects named by digest, and one append-only log of events about them.
//!
//! In: manifests, test records, package lists. Out: the same, found by name or digest, and checked. No record is ever
//! overwritten or removed: a store only creates, so two writers need no lock and a write-once container will do.
//! Everything is signed. Readers replay the log and void what breaks a rule, so nobody has to trust the writers. Deliberately keeps no
//! index in the store: whatever could be computed from the records is. Whoever reads may keep one of their own, see
//! [`Store::remembering`].
//!
//! ```text
//! store.json                      which store this is, and its first trust policy; the first entry names its digest
//! objects/sha256/ab/<62 hex>      manifests, test records, their envelopes, package lists, bills of materials
//! log/entries/000/000/001         one event each, in a signed envelope, chained by the digest of the one before
//! artifacts/sha256/<hex>.qcow2    captured disks
//! tmp/                            files on their way (folders only); may be swept at any time when a day old
//! ```

mod any;
mod artifact;
pub mod backend;
pub mod blob;
mod channels;
mod deploy_status;
pub mod dir;
mod error;
pub mod event;
pub mod gc;
pub mod history;
mod images;
mod log;
mod local_cache;
mod parallel;
mod cached_history;
mod report;
pub mod proof;
pub mod revocation;
mod sbom;
mod verify;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::digest::{Digest, canonical_json};
use crate::manifest::{Manifest, Moment, Package, parse_packages};
use crate::sign::{Envelope, KeyId, STATEMENT_PAYLOAD_TYPE, Signer, Trust};
use crate::wait::Interrupt;

use backend::{Backend, Created};
use history::History;
use proof::Identity;

pub use any::AnyBackend;
pub use blob::Blob;
pub use channels::Rollback;
pub use deploy_status::{Allow, Chosen, DeployState, DeployStatus, Obstacle};
pub use dir::Dir;
pub use error::StoreError;
pub use images::{ImageRow, TestState};
pub use report::{Defect, Missing, Report};
pub use verify::Depth;

/// The schema of the stores that are written.
pub const SCHEMA: &str = "https://vault-bake.dev/store/v1";

/// The one file that says which store this is.
const STORE_FILE: &str = "store.json";

/// No `store.json` is larger than this, in bytes.
const MAX_ORIGIN_BYTES: usize = 48 * 1024;

/// Records in a folder or a container.
pub struct Store<B> {
    backend: Arc<B>,
    /// The digest of `store.json`, which the first entry of the log is chained to.
    origin: Digest,
    /// The policy in `store.json`.
    trust: Trust,
    /// Whoever signs what is written; nobody in a store that is only read.
    signers: Arc<[Signer]>,
    /// Ends an external signer.
    interrupt: Interrupt,
    /// The reader's own policy, which must be one of the store's.
    pinned: Option<Trust>,
    /// The folder in which what was checked is remembered.
    memory: Option<PathBuf>,
}

/// What `store.json` says.
#[derive(Serialize, Deserialize)]
struct Origin {
    schema: String,
    /// Random: tells two stores apart.
    id: String,
    created_at: Moment,
    /// The policy that the first entry is judged by.
    trust: Trust,
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
        let identity = Identity::parse(&bytes, &backend.place())?;
        Ok(Self {
            origin: identity.origin(),
            trust: identity.trust().clone(),
            backend: Arc::new(backend),
            signers: Arc::new([]),
            interrupt: Interrupt::default(),
            pinned: None,
            memory: None,
        })
    }

    /// Opens the store, and creates it where there is none, with `trust` as its first policy.
    pub async fn open_or_create(
        backend: B,
        trust: &Trust,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        if backend.get(STORE_FILE).await?.is_none() && backend.list("log/").await?.is_empty() {
            let origin = Origin {
                schema: SCHEMA.to_owned(),
                id: new_id(now).to_string(),
                created_at: now.into(),
                trust: trust.clone(),
            };
            // Who loses the race opens what the winner created.
            let _: Created = backend.create(STORE_FILE, &canonical_json(&origin)).await?;
        }
        Self::open(backend).await
    }

    /// Signs what is written with every one of `signers`. An external signer ends on `interrupt`.
    #[must_use]
    pub fn signing(mut self, signers: Vec<Signer>, interrupt: Interrupt) -> Self {
        self.signers = signers.into();
        self.interrupt = interrupt;
        self
    }

    /// Believes the store only where `trust`, the reader's own copy of the policy, is the one in force or was before.
    #[must_use]
    pub fn trusting(mut self, trust: Trust) -> Self {
        self.pinned = Some(trust);
        self
    }

    /// The same store, for another task.
    fn share(&self) -> Self {
        Self {
            backend: self.backend.clone(),
            origin: self.origin,
            trust: self.trust.clone(),
            signers: self.signers.clone(),
            interrupt: self.interrupt.clone(),
            pinned: self.pinned.clone(),
            memory: self.memory.clone(),
        }
    }

    /// The digest of `store.json`: tells two stores apart.
    pub fn origin(&self) -> Digest {
        self.origin
    }

    /// What the store is kept in.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    fn empty_history(&self) -> History {
        History::new(self.origin, self.trust.clone())
    }

    fn check_pinned(&self, history: &History) -> Result<(), StoreError> {
        let Some(pinned) = &self.pinned else {
            return Ok(());
        };
        if history.policies().iter().any(|(_, trust)| trust == pinned) {
            return Ok(());
        }
        let why = format!(
            "your trust policy (version {}, {}) was never in force in this store",
            pinned.version(),
            pinned.digest()
        );
        Err(StoreError::integrity(self.backend.place(), why))
    }

    /// The keys that sign for us.
    fn own_keys(&self) -> std::collections::BTreeSet<KeyId> {
        let keys = self.signers.iter().map(|signer| signer.public().id());
        keys.collect()
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

    /// The package list of a manifest.
    pub async fn packages(&self, manifest: &Manifest) -> Result<Vec<Package>, StoreError> {
        self.package_list(&manifest.packages.digest).await
    }

    async fn package_list(&self, digest: &Digest) -> Result<Vec<Package>, StoreError> {
        let bytes = self.object(digest).await?;
        parse_packages(&bytes)
            .map_err(|error| StoreError::integrity(object_name(digest), error.to_string()))
    }

    /// The envelope with this digest, which has to hold the object `payload`.
    pub async fn envelope(
        &self,
        digest: &Digest,
        payload: &Digest,
    ) -> Result<Envelope, StoreError> {
        let broken = |why: String| StoreError::integrity(object_name(digest), why);
        let envelope = Envelope::parse(&self.object(digest).await?);
        let envelope = envelope.map_err(|error| broken(error.to_string()))?;
        if envelope.payload_type != STATEMENT_PAYLOAD_TYPE {
            return Err(broken(format!(
                "it holds `{}`, no statement",
                envelope.payload_type
            )));
        }
        if Digest::of(&envelope.payload) != *payload {
            return Err(broken(format!("it does not hold {payload}")));
        }
        Ok(envelope)
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

/// The object that is kept under `name`.
fn object_digest(name: &str) -> Option<Digest> {
    let (first, rest) = name.strip_prefix("objects/sha256/")?.split_once('/')?;
    // Digests have one form, so what is cut in the right place is the name of one.
    let digest = format!("sha256:{first}{rest}").parse().ok()?;
    (first.len() == 2).then_some(digest)
}
