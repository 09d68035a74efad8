//! Stores manifests, test records and package lists by digest, and events about them in one log.
//! Readers replay the signed log and ignore events that break a rule, so they need not trust
//! writers.
//! A store only creates names: writers need no lock, and write-once containers work.
//!
//! ```text
//! store.json                      identity of the store and its first trust policy
//! objects/sha256/ab/<62 hex>      manifests, tests, envelopes, package lists, bills of materials
//! log/entries/000/000/001         one signed event each, linked to the digest of the one before
//! artifacts/sha256/<hex>.qcow2    captured disks
//! proposals/<hex>/<hex>           events that wait for signatures, one signature in each file
//! tmp/                            temporary files (folders only); `sweep` removes old ones
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
mod proposals;
pub mod revocation;
mod rollouts;
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
use crate::sign::{Envelope, KeyId, PublicKey, STATEMENT_PAYLOAD_TYPE, Signer, Trust};
use crate::wait::Interrupt;

use backend::{Backend, Created};
use history::History;
use proof::StoreIdentity;

pub use any::AnyBackend;
pub use artifact::FetchedArtifact;
pub use blob::Blob;
pub use channels::Rollback;
pub use deploy_status::{Allow, ChosenImage, DeployState, DeployStatus, Obstacle};
pub use dir::Dir;
pub use error::StoreError;
pub use images::{ImageRow, TestState};
pub use proposals::StoredProposal;
pub use report::{Defect, Depth, MissingArtifact, VerifyReport};
pub use rollouts::PlannedImages;

/// The schema that new stores get.
pub const SCHEMA: &str = "https://vault-bake.dev/store/v1";

/// The file with the identity of the store and its first trust policy.
const STORE_FILE: &str = "store.json";

/// The largest accepted `store.json`, in bytes.
const MAX_ORIGIN_BYTES: usize = 48 * 1024;

/// A store on a backend, as the caller opened it: with signers, a trust policy and a local cache.
pub struct Store<B> {
    backend: Arc<B>,
    /// The digest of `store.json`, which the first entry of the log refers to.
    origin: Digest,
    trust: Trust,
    /// Sign all new records. Empty if the store is only read.
    signers: Arc<[Signer]>,
    /// Whether plans are for proposals, which other keys sign too.
    is_proposing: bool,
    /// Stops external signers.
    interrupt: Interrupt,
    /// The caller's own policy, which must be or have been in force in this store.
    pinned: Option<Trust>,
    /// The folder of the local cache.
    cache_folder: Option<PathBuf>,
}

/// The content of `store.json`.
#[derive(Serialize, Deserialize)]
struct Origin {
    schema: String,
    /// Random: it distinguishes stores that were created at the same time with the same policy.
    id: String,
    created_at: Moment,
    /// The policy that the first entry must satisfy.
    trust: Trust,
}

impl<B: Backend> Store<B> {
    /// Opens an existing store.
    pub async fn open(backend: B) -> Result<Self, StoreError> {
        let Some(bytes) = backend.get(STORE_FILE).await? else {
            let entries = backend.list("log/").await?;
            return Err(match entries.first() {
                Some(_) => StoreError::integrity(STORE_FILE, "missing, although there is a log"),
                None => StoreError::NoStore(backend.location()),
            });
        };
        let identity = StoreIdentity::parse(&bytes, &backend.location())?;
        Ok(Self {
            origin: identity.origin(),
            trust: identity.trust().clone(),
            backend: Arc::new(backend),
            signers: Arc::new([]),
            is_proposing: false,
            interrupt: Interrupt::default(),
            pinned: None,
            cache_folder: None,
        })
    }

    /// Opens the store. If there is none, creates it with `trust` as its first policy.
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
            // If another process creates the store first, this opens that one.
            let _: Created = backend.create(STORE_FILE, &canonical_json(&origin)).await?;
        }
        Self::open(backend).await
    }

    /// Signs new records with all of `signers`. `interrupt` stops external signers.
    #[must_use]
    pub fn with_signers(mut self, signers: Vec<Signer>, interrupt: Interrupt) -> Self {
        self.signers = signers.into();
        self.interrupt = interrupt;
        self
    }

    /// Plans events for proposals: as if other keys of the trust policy signed too.
    #[must_use]
    pub fn for_proposals(mut self) -> Self {
        self.is_proposing = true;
        self
    }

    /// Requires that `trust`, the caller's copy of the policy, is or was in force in this store.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.pinned = Some(trust);
        self
    }

    /// Returns a handle to the same store for another task.
    fn share(&self) -> Self {
        Self {
            backend: self.backend.clone(),
            origin: self.origin,
            trust: self.trust.clone(),
            signers: self.signers.clone(),
            is_proposing: self.is_proposing,
            interrupt: self.interrupt.clone(),
            pinned: self.pinned.clone(),
            cache_folder: self.cache_folder.clone(),
        }
    }

    /// Returns the digest of `store.json`, which identifies the store.
    pub fn origin(&self) -> Digest {
        self.origin
    }

    /// Returns the backend.
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
            "the given trust policy (version {}, {}) was never in force in this store",
            pinned.version(),
            pinned.digest()
        );
        Err(StoreError::integrity(self.backend.location(), why))
    }

    /// Returns the ids of the keys that sign new records.
    fn own_keys(&self) -> std::collections::BTreeSet<KeyId> {
        let keys = self.signers.iter().map(|signer| signer.public().id());
        keys.collect()
    }

    /// Returns the keys that will have signed a planned event.
    fn planned_signers(&self, history: &History) -> std::collections::BTreeSet<KeyId> {
        if self.is_proposing {
            history.trust().keys().map(PublicKey::id).collect()
        } else {
            self.own_keys()
        }
    }

    /// Stores `bytes` under their digest. If the object exists already, only checks it.
    pub async fn put_object(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::hash_bytes(bytes);
        match self.backend.create(&object_name(&digest), bytes).await? {
            Created::New => {}
            Created::Exists => {
                self.object(&digest).await?;
            }
        }
        Ok(digest)
    }

    /// Reads an object and checks its digest.
    pub async fn object(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let name = object_name(digest);
        let bytes = self.backend.get(&name).await?;
        let bytes = bytes.ok_or_else(|| StoreError::integrity(&name, "missing"))?;
        let found = Digest::hash_bytes(&bytes);
        if found == *digest {
            Ok(bytes)
        } else {
            let why = format!("its content has the digest {found}");
            Err(StoreError::integrity(name, why))
        }
    }

    /// Reads the package list of a manifest.
    pub async fn packages(&self, manifest: &Manifest) -> Result<Vec<Package>, StoreError> {
        self.package_list(&manifest.packages.digest).await
    }

    async fn package_list(&self, digest: &Digest) -> Result<Vec<Package>, StoreError> {
        let bytes = self.object(digest).await?;
        parse_packages(&bytes)
            .map_err(|error| StoreError::integrity(object_name(digest), error.to_string()))
    }

    /// Reads an envelope and checks that its payload has the digest `payload`.
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
                "its payload is `{}`, not a statement",
                envelope.payload_type
            )));
        }
        if Digest::hash_bytes(&envelope.payload) != *payload {
            return Err(broken(format!("its payload is not {payload}")));
        }
        Ok(envelope)
    }
}

/// Returns the name of the object with this digest.
fn object_name(digest: &Digest) -> String {
    let hex = digest.hex();
    let (first, rest) = hex.split_at(2);
    format!("objects/sha256/{first}/{rest}")
}

/// Returns a UUIDv7 of the time `now`.
pub(crate) fn new_id(now: Timestamp) -> Uuid {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanos = now.subsec_nanosecond().unsigned_abs();
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}

/// Returns the digest in the name of an object.
fn object_digest(name: &str) -> Option<Digest> {
    let (first, rest) = name.strip_prefix("objects/sha256/")?.split_once('/')?;
    // A digest has one textual form, so the cut must be at the right place.
    let digest = format!("sha256:{first}{rest}").parse().ok()?;
    (first.len() == 2).then_some(digest)
}
