//! The trust policy: the known keys and their roles.
//! The store contains its policy. The roots of the old and of the new policy sign each change.
//! Readers may compare the policy with a copy of their own.

mod change;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::SignError;
use super::key::{KeyId, PublicKey};
use crate::canonical;
use crate::digest::{Digest, canonical_json};

pub use change::{GrantScope, PolicyChangeError};

/// The schema of new policies.
pub const TRUST_SCHEMA: &str = "https://vault-bake.dev/trust/v1";

/// The largest policy, in bytes: it must fit into an event.
const MAX_BYTES: usize = 32 * 1024;

/// A permission of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Change this policy.
    Root,
    /// Record builds and tests.
    Builder,
    /// Move channels.
    Promoter,
    /// Revoke images, and withdraw revocations.
    Revoker,
    /// Remove artifacts that are not needed any more.
    Keeper,
    /// Replace the nodes of clusters.
    Operator,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Root => "root",
            Self::Builder => "builder",
            Self::Promoter => "promoter",
            Self::Revoker => "revoker",
            Self::Keeper => "keeper",
            Self::Operator => "operator",
        })
    }
}

/// Keys that have a role together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// The ids of the keys.
    pub keys: BTreeSet<KeyId>,
    /// The number of these keys that must sign.
    #[serde(default = "one")]
    pub threshold: u64,
    /// The images that the grant is for; `*` matches any text. For [`Role::Operator`], the names of
    /// the clusters.
    #[serde(default = "any")]
    pub images: BTreeSet<String>,
    /// The channels that the grant is for; `*` matches any text.
    #[serde(default = "any")]
    pub channels: BTreeSet<String>,
}

impl Grant {
    /// Whether it grants `role` for `image` and, if given, `channel`.
    fn covers(&self, role: Role, image: &str, channel: Option<&str>) -> bool {
        let any_matches = |patterns: &BTreeSet<String>, name: &str| {
            patterns.iter().any(|pattern| matches(pattern, name))
        };
        self.role == role
            && any_matches(&self.images, image)
            && channel.is_none_or(|channel| any_matches(&self.channels, channel))
    }
}

/// The keys that signed, and those that the trust policy requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The keys that signed.
    pub signed: BTreeSet<KeyId>,
    /// The keys that have the role.
    pub trusted: BTreeSet<KeyId>,
    /// The number of these keys that must sign.
    pub threshold: u64,
}

impl Shortage {
    /// Whether enough keys signed.
    pub fn is_met(&self) -> bool {
        !self.trusted.is_empty() && self.count() as u64 >= self.threshold
    }

    /// Returns the number of trusted keys that signed.
    pub fn count(&self) -> usize {
        self.trusted.intersection(&self.signed).count()
    }
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |keys: &BTreeSet<KeyId>| {
            let keys: Vec<String> = keys.iter().map(KeyId::to_string).collect();
            keys.join(", ")
        };
        let signed = if self.signed.is_empty() {
            "no key".to_owned()
        } else {
            list(&self.signed)
        };
        let trusted = list(&self.trusted);
        match (self.count(), self.trusted.is_empty()) {
            (_, true) => write!(
                f,
                "signed by {signed}, but the trust policy gives this role to no key"
            ),
            (0, _) => write!(
                f,
                "signed by {signed}, but the trust policy gives this role to {trusted}"
            ),
            (count, _) => write!(
                f,
                "the trust policy requires signatures by {} of the keys {trusted}, but {count} signed: {signed}",
                self.threshold
            ),
        }
    }
}

/// Why a policy cannot follow another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuccessionError {
    /// The version is not the next one.
    #[error("the policy has version {new}, the one in force has {old}; the next is {}", old + 1)]
    Version {
        /// The version of the new policy.
        new: u64,
        /// The version of the policy in force.
        old: u64,
    },
    /// Too few roots signed.
    #[error("not enough roots of the {whose} policy signed it: {shortage}")]
    Roots {
        /// `old` or `new`.
        whose: &'static str,
        /// The keys that signed, and those that the policy requires.
        shortage: Shortage,
    },
}

fn one() -> u64 {
    1
}

fn any() -> BTreeSet<String> {
    BTreeSet::from(["*".to_owned()])
}

/// A trust policy: keys and their roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Always [`TRUST_SCHEMA`].
    schema: String,
    /// The version, which grows by one with each change.
    version: u64,
    /// The public keys, by id.
    keys: BTreeMap<KeyId, PublicKey>,
    /// The roles of the keys.
    grants: Vec<Grant>,
}

impl Trust {
    /// Returns the policy in which `key` alone has all roles.
    pub fn single_key(key: &PublicKey) -> Self {
        let roles = [
            Role::Root,
            Role::Builder,
            Role::Promoter,
            Role::Revoker,
            Role::Keeper,
            Role::Operator,
        ];
        let grant = |role| Grant {
            role,
            keys: BTreeSet::from([key.id()]),
            threshold: one(),
            images: any(),
            channels: any(),
        };
        Self {
            schema: TRUST_SCHEMA.to_owned(),
            version: 1,
            keys: BTreeMap::from([(key.id(), key.clone())]),
            grants: roles.map(grant).to_vec(),
        }
    }

    /// Parses a policy file in any JSON layout.
    pub fn from_json(text: &[u8]) -> Result<Self, SignError> {
        let value: Self = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
        // The canonical form reveals defects such as large numbers.
        let canonical = value.to_bytes();
        canonical::parse(&canonical, MAX_BYTES)?;
        value.validated()
    }

    /// Checks a policy, for example one within a record.
    pub(crate) fn validated(self) -> Result<Self, SignError> {
        if self.schema != TRUST_SCHEMA {
            return Err(wrong(format!(
                "schema `{}`, expected `{TRUST_SCHEMA}`",
                self.schema
            )));
        }
        for (id, key) in &self.keys {
            if key.id() != *id {
                return Err(wrong(format!("the key {id} has the id {}", key.id())));
            }
        }
        for grant in &self.grants {
            if let Some(unknown) = grant.keys.iter().find(|id| !self.keys.contains_key(id)) {
                return Err(wrong(format!(
                    "{} is granted to {unknown}, which is not one of the keys",
                    grant.role
                )));
            }
            if grant.threshold == 0 || grant.threshold > grant.keys.len() as u64 {
                return Err(wrong(format!(
                    "{} requires {} signatures by {} keys",
                    grant.role,
                    grant.threshold,
                    grant.keys.len()
                )));
            }
        }
        if !self.grants.iter().any(|grant| grant.role == Role::Root) {
            return Err(wrong("no key has the role root".to_owned()));
        }
        Ok(self)
    }

    /// Returns the canonical JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_json(self)
    }

    /// Returns the digest of the canonical JSON.
    pub fn digest(&self) -> Digest {
        Digest::hash_bytes(self.to_bytes())
    }

    /// Returns the version, which grows by one with each change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns the key with this id.
    pub fn key(&self, id: &KeyId) -> Option<&PublicKey> {
        self.keys.get(id)
    }

    /// Returns all keys.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.values()
    }

    /// Returns the roles of the keys.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Whether `signers` together have `role` for `image` and, if given, `channel`.
    pub fn allows(
        &self,
        role: Role,
        signers: &BTreeSet<KeyId>,
        image: &str,
        channel: Option<&str>,
    ) -> bool {
        self.grants.iter().any(|grant| {
            let enough = grant.keys.intersection(signers).count() as u64 >= grant.threshold;
            enough && grant.covers(role, image, channel)
        })
    }

    /// Returns what `signers` lack for `role` on `image` and, if given, `channel`, by the closest
    /// grant.
    pub fn shortage(
        &self,
        role: Role,
        signers: &BTreeSet<KeyId>,
        image: &str,
        channel: Option<&str>,
    ) -> Shortage {
        let covering = self.grants.iter();
        let covering = covering.filter(|grant| grant.covers(role, image, channel));
        let missing = |grant: &&Grant| {
            let signed = grant.keys.intersection(signers).count() as u64;
            (signed == 0, grant.threshold.saturating_sub(signed))
        };
        let nearest = covering.min_by_key(missing);
        Shortage {
            signed: signers.clone(),
            trusted: nearest.map(|grant| grant.keys.clone()).unwrap_or_default(),
            threshold: nearest.map_or(1, |grant| grant.threshold),
        }
    }

    /// Returns the keys that have `role` for `image` and, if given, `channel`, alone or with
    /// others.
    pub fn holders(&self, role: Role, image: &str, channel: Option<&str>) -> BTreeSet<KeyId> {
        let grants = self.grants.iter();
        let covering = grants.filter(|grant| grant.covers(role, image, channel));
        covering.flat_map(|grant| grant.keys.clone()).collect()
    }

    /// Checks that this policy may follow `old`: enough roots of both must be among `signers`.
    pub(crate) fn check_succession(
        &self,
        old: &Self,
        signers: &BTreeSet<KeyId>,
    ) -> Result<(), SuccessionError> {
        if self.version != old.version + 1 {
            return Err(SuccessionError::Version {
                new: self.version,
                old: old.version,
            });
        }
        for (whose, policy) in [("old", old), ("new", self)] {
            if !policy.allows(Role::Root, signers, "", None) {
                let shortage = policy.shortage(Role::Root, signers, "", None);
                return Err(SuccessionError::Roots { whose, shortage });
            }
        }
        Ok(())
    }
}

fn wrong(why: String) -> SignError {
    SignError::Shape {
        what: "trust policy",
        why,
    }
}

/// Whether `name` matches `pattern`, in which `*` matches any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => match name.strip_prefix(head) {
            None => false,
            Some(tail) => {
                let starts = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
                starts.into_iter().any(|at| matches(rest, &tail[at..]))
            }
        },
    }
}
