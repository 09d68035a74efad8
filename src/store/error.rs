//! Errors of a store, their hints, and their kinds: integrity or conflict.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::SCHEMA;
use super::backend::BackendError;
use crate::digest::Digest;
use crate::manifest::{ManifestError, Moment};
use crate::sign::{KeyId, Role, Shortage, SignError, SuccessionError};

/// Why a store could not do what the caller asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The backend could not read or write.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The location has no store.
    #[error("no store at {0}")]
    NoStore(String),
    /// The store has a schema that this version does not know.
    #[error("the store {of} has the schema `{schema}`, expected `{SCHEMA}`")]
    Schema {
        /// The location of the store.
        of: String,
        /// The schema of the store.
        schema: String,
    },
    /// A stored record is missing or altered.
    #[error("integrity: {what}: {why}")]
    Integrity {
        /// The name of the object, entry or file.
        what: String,
        /// The defect.
        why: String,
    },
    /// The store lacks an entry that this user has read before.
    #[error(
        "integrity: the store {place} is older than its local cache: entry {seq} is missing or different"
    )]
    OlderThanCache {
        /// The location of the store.
        place: String,
        /// The number of the last cached entry.
        seq: u64,
        /// The folder of the local cache.
        cache: PathBuf,
    },
    /// This version cannot read a manifest.
    #[error("{digest}: {error}")]
    Unreadable {
        /// The digest of the manifest.
        digest: Digest,
        /// The parse error.
        error: ManifestError,
    },
    /// The log has a critical event of a kind that this version does not know.
    #[error("entry {seq} of the log is a `{kind}`, which this version does not know")]
    UnknownEvent {
        /// The number of the entry.
        seq: u64,
        /// The kind of the event.
        kind: String,
    },
    /// Another manifest has this name: a version is never published twice.
    #[error("{name} is already recorded, as {digest}")]
    VersionTaken {
        /// `image@version`.
        name: String,
        /// The digest of the manifest with this name.
        digest: Digest,
    },
    /// The scheme `YYYY.MMDD.N` has no number left.
    #[error("{0} has no version left for this day")]
    NoVersionLeft(String),
    /// No image matches the reference.
    #[error("{0} is not in the store")]
    NotFound(String),
    /// Several digests begin with the reference.
    #[error("{reference} is the beginning of several digests ({})", .candidates.join(", "))]
    Ambiguous {
        /// The reference, as given.
        reference: String,
        /// The digests that begin with it.
        candidates: Vec<String>,
    },
    /// The channel has no generation.
    #[error("the channel {0} does not exist")]
    NoChannel(String),
    /// The entry is not a revocation.
    #[error("entry {0} of the log is not a revocation")]
    NoRevocation(u64),
    /// The entry is not a plan to remove artifacts.
    #[error("entry {0} of the log is not a plan to remove artifacts")]
    NoGcPlan(u64),
    /// The caller gave no signing key.
    #[error("cannot sign: no signing key")]
    NoSigner,
    /// Signing failed, or a signature is not valid.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The signing keys lack the role, or there are too few of them.
    #[error("cannot act as {role} for {of}: {shortage}")]
    NotAllowed {
        /// The required role.
        role: Role,
        /// The image, or `image:channel`.
        of: String,
        /// The given keys, and those that the trust policy requires.
        shortage: Shortage,
    },
    /// A trust policy that must not follow the one in force.
    #[error("cannot accept the trust policy: {0}")]
    Policy(String),
    /// The same, because of its version or the roots that signed.
    #[error("cannot accept the trust policy: {0}")]
    Succession(#[from] SuccessionError),
    /// The trust policy does not have the signing key.
    #[error("cannot sign with the key {key}: the trust policy has only {}", list(.trusted))]
    UnknownKey {
        /// The id of the key.
        key: KeyId,
        /// The keys of the policy.
        trusted: BTreeSet<KeyId>,
    },
    /// No proposal has this digest.
    #[error("the store has no proposal {0}")]
    NoProposal(String),
    /// One key alone signs events of this kind.
    #[error("cannot propose a {0}: one key signs it")]
    NotProposable(String),
    /// A rule or a safety check forbids the change.
    #[error("{what}: {why}")]
    Refused {
        /// The channel, plan, artifact or event to change.
        what: String,
        /// The reason.
        why: String,
        /// The way out, if there is one.
        hint: Option<String>,
    },
    /// Another writer moved the channel.
    #[error("{channel} is at generation {found}, expected {expected}")]
    ChannelMoved {
        /// `image:channel`.
        channel: String,
        /// The generation that the caller expected.
        expected: u64,
        /// The present generation.
        found: u64,
    },
    /// A rollout of the cluster is open.
    #[error("cannot begin a rollout of cluster {name}: epoch {epoch} is open since {since}")]
    RolloutOpen {
        /// The name of the cluster.
        name: String,
        /// The open epoch.
        epoch: u64,
        /// The time of its begin.
        since: Moment,
    },
    /// A channel still needs the artifact.
    #[error("cannot remove the artifact of {name}: {by} needs it")]
    StillNeeded {
        /// `image@version`.
        name: String,
        /// The channel that needs it.
        by: String,
    },
    /// A record refers to an object or artifact that is not in the store.
    #[error("cannot store a record that refers to {what}: {what} is not in the store")]
    NotYetStored {
        /// The missing object or artifact.
        what: String,
    },
    /// The manifest is not valid.
    #[error("cannot record the manifest: {0}")]
    BadManifest(ManifestError),
    /// The test record is not valid.
    #[error("cannot record the test of {manifest}: {error}")]
    BadTest {
        /// The manifest under test.
        manifest: Digest,
        /// The defect of the record.
        error: SignError,
    },
    /// The rollout record is not valid.
    #[error("cannot record the rollout of cluster {name}: {error}")]
    BadRollout {
        /// The name of the cluster.
        name: String,
        /// The defect of the record.
        error: SignError,
    },
}

impl StoreError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Backend(error) => return error.hint(),
            Self::Sign(error) => return error.hint(),
            Self::Refused { hint, .. } => return hint.clone(),
            Self::OlderThanCache { cache, .. } => format!(
                "Restore the store from a newer copy. If the older state is intended, delete {}.",
                cache.display()
            ),
            Self::RolloutOpen { name, .. } => format!(
                "Run `vault-bake rollout status {name}`. To continue it from here, run \
                 `vault-bake rollout resume {name}`, with `--take-over` if its controller is gone."
            ),
            other => other.fixed_hint()?.to_owned(),
        })
    }

    fn fixed_hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoStore(_) => {
                "Name another store with --store, or run `vault-bake build` to create this one."
            }
            Self::Schema { .. } | Self::UnknownEvent { .. } => "Use a newer vault-bake.",
            Self::Unreadable { error, .. } if error.needs_newer_version() => {
                "Use a newer vault-bake."
            }
            Self::Integrity { .. } => "Restore it from a copy, and find out who altered it.",
            Self::VersionTaken { .. } => {
                "Pass another --version, or leave it out to get the next free version."
            }
            Self::NoVersionLeft(_) => "Pass --version.",
            Self::NotFound(_) => "Run `vault-bake images` to list the images.",
            Self::Ambiguous { .. } => "Give more digits of the digest.",
            Self::NoChannel(_) => {
                "Run `vault-bake channel` to list the channels, or `vault-bake promote` to create one."
            }
            Self::NoRevocation(_) => "Run `vault-bake revoke --list` to list the revocations.",
            Self::NoGcPlan(_) => "Run `vault-bake gc` to list the plans.",
            Self::NoSigner => "Pass --signing-key.",
            Self::UnknownKey { .. } => {
                "Pass one of these keys with --signing-key. Or send the output of `vault-bake trust key` \
                 to the roots, who run `vault-bake trust add`."
            }
            Self::NoProposal(_) => "Run `vault-bake proposals` to list the proposals.",
            Self::ChannelMoved { .. } => {
                "Run `vault-bake channel` to see the move, then repeat the command."
            }
            _ => return None,
        })
    }

    /// Whether a stored record is missing or altered: exit code 7.
    pub fn is_integrity(&self) -> bool {
        match self {
            Self::Integrity { .. }
            | Self::OlderThanCache { .. }
            | Self::Sign(SignError::Invalid { .. }) => true,
            Self::Unreadable { error, .. } => !error.needs_newer_version(),
            _ => false,
        }
    }

    /// Whether another writer was faster, or a rule forbids the change: exit code 6.
    pub fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::VersionTaken { .. }
                | Self::ChannelMoved { .. }
                | Self::RolloutOpen { .. }
                | Self::Refused { .. }
                | Self::NotAllowed { .. }
                | Self::Policy(_)
                | Self::Succession(_)
                | Self::UnknownKey { .. }
                | Self::NotProposable(_)
                | Self::StillNeeded { .. }
        )
    }

    pub(super) fn refused(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused {
            what: what.into(),
            why: why.into(),
            hint: None,
        }
    }

    pub(super) fn integrity(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Integrity {
            what: what.into(),
            why: why.into(),
        }
    }
}

fn list(keys: &BTreeSet<KeyId>) -> String {
    let keys: Vec<String> = keys.iter().map(KeyId::to_string).collect();
    keys.join(", ")
}
