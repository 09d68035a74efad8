//! The trust policy: which keys there are, and what each may say.
//!
//! A policy is part of the store from its first entry on, and changes by an event that both the old and the new roots
//! sign. Whoever only reads may keep a copy of their own and hold the store against it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::SignError;
use super::key::{KeyId, PublicKey};
use crate::canonical;
use crate::digest::{Digest, canonical_json};

/// The schema of the policies that are written.
pub const TRUST_SCHEMA: &str = "https://vault-bake.dev/trust/v1";

/// No policy is larger than this, in bytes: it has to fit into an event.
const MAX_BYTES: usize = 32 * 1024;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Change this policy.
    Root,
    /// Record bakes and tests.
    Builder,
    /// Move channels.
    Promoter,
    /// Revoke and restore.
    Revoker,
    /// Remove artifacts that nothing holds any more.
    Keeper,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Root => "root",
            Self::Builder => "builder",
            Self::Promoter => "promoter",
            Self::Revoker => "revoker",
            Self::Keeper => "keeper",
        })
    }
}

/// Keys that hold a role together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// Whose it is.
    pub keys: BTreeSet<KeyId>,
    /// How many of the keys have to sign.
    #[serde(default = "one")]
    pub threshold: u64,
    /// For images with these names; `*` stands for any text.
    #[serde(default = "any")]
    pub images: BTreeSet<String>,
    /// For channels with these names.
    #[serde(default = "any")]
    pub channels: BTreeSet<String>,
}

impl Grant {
    /// Whether it gives `role` for `image` and, where one is concerned, `channel`.
    fn covers(&self, role: Role, image: &str, channel: Option<&str>) -> bool {
        let named = |patterns: &BTreeSet<String>, name: &str| {
            patterns.iter().any(|pattern| matches(pattern, name))
        };
        self.role == role
            && named(&self.images, image)
            && channel.is_none_or(|channel| named(&self.channels, channel))
    }
}

/// Which keys signed, and which ones a trust policy asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The keys that signed.
    pub signed: BTreeSet<KeyId>,
    /// The keys that have the role.
    pub trusted: BTreeSet<KeyId>,
    /// How many of those have to sign.
    pub threshold: u64,
}

impl Shortage {
    /// How many of the trusted keys signed.
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
        let signed = match self.signed.is_empty() {
            true => "no key".to_owned(),
            false => list(&self.signed),
        };
        let trusted = list(&self.trusted);
        match (self.count(), self.trusted.is_empty()) {
            (_, true) => write!(
                f,
                "signed by {signed}, and the trust policy gives that role to no key"
            ),
            (0, _) => write!(
                f,
                "signed by {signed}, and the trust policy gives that role to {trusted}"
            ),
            (count, _) => write!(
                f,
                "the trust policy asks for the signatures of {} of the keys {trusted}, and {count} signed: {signed}",
                self.threshold
            ),
        }
    }
}

fn one() -> u64 {
    1
}

fn any() -> BTreeSet<String> {
    BTreeSet::from(["*".to_owned()])
}

/// Keys and what they may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// [`TRUST_SCHEMA`].
    schema: String,
    /// Grows by one with each change.
    version: u64,
    /// By id.
    keys: BTreeMap<KeyId, PublicKey>,
    /// What they may do.
    grants: Vec<Grant>,
}

impl Trust {
    /// The policy in which `key` alone may do everything.
    pub fn only(key: &PublicKey) -> Self {
        let roles = [
            Role::Root,
            Role::Builder,
            Role::Promoter,
            Role::Revoker,
            Role::Keeper,
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

    /// Reads a policy, as people keep it in a file: any JSON form will do.
    pub fn from_json(text: &[u8]) -> Result<Self, SignError> {
        let value: Self = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
        // What duplicate keys, numbers and the like would hide, the canonical form shows.
        let canonical = value.to_bytes();
        canonical::parse(&canonical, MAX_BYTES)?;
        value.checked()
    }

    /// Reads a policy within a record.
    pub(crate) fn checked(self) -> Result<Self, SignError> {
        if self.schema != TRUST_SCHEMA {
            return Err(wrong(format!(
                "schema `{}`, expected `{TRUST_SCHEMA}`",
                self.schema
            )));
        }
        for (id, key) in &self.keys {
            if key.id() != *id {
                return Err(wrong(format!("key {id} is really {}", key.id())));
            }
        }
        for grant in &self.grants {
            if let Some(unknown) = grant.keys.iter().find(|id| !self.keys.contains_key(id)) {
                return Err(wrong(format!(
                    "{} is granted to {unknown}, which is not among the keys",
                    grant.role
                )));
            }
            if grant.threshold == 0 || grant.threshold > grant.keys.len() as u64 {
                return Err(wrong(format!(
                    "{} wants {} signatures of {} keys",
                    grant.role,
                    grant.threshold,
                    grant.keys.len()
                )));
            }
        }
        if !self.grants.iter().any(|grant| grant.role == Role::Root) {
            return Err(wrong("nobody holds the role root".to_owned()));
        }
        Ok(self)
    }

    /// The canonical JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_json(self)
    }

    /// Of [`Self::to_bytes`].
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_bytes())
    }

    /// Grows by one with each change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The key with this id.
    pub fn key(&self, id: &KeyId) -> Option<&PublicKey> {
        self.keys.get(id)
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.values()
    }

    /// What the keys may do.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Whether `signers` together hold `role` for `image` and, where one is concerned, `channel`.
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

    /// What `signers` lack to hold `role` for `image` and, where one is concerned, `channel`: by the grant that they are
    /// nearest to.
    pub fn shortage(
        &self,
        role: Role,
        signers: &BTreeSet<KeyId>,
        image: &str,
        channel: Option<&str>,
    ) -> Shortage {
        let fitting = self.grants.iter();
        let fitting = fitting.filter(|grant| grant.covers(role, image, channel));
        let lacking = |grant: &&Grant| {
            let signed = grant.keys.intersection(signers).count() as u64;
            (signed == 0, grant.threshold.saturating_sub(signed))
        };
        let nearest = fitting.min_by_key(lacking);
        Shortage {
            signed: signers.clone(),
            trusted: nearest.map(|grant| grant.keys.clone()).unwrap_or_default(),
            threshold: nearest.map_or(1, |grant| grant.threshold),
        }
    }

    /// Whether this policy may follow `old` by the word of `signers`: roots of both have to agree.
    pub fn may_follow(&self, old: &Self, signers: &BTreeSet<KeyId>) -> Result<(), String> {
        if self.version != old.version + 1 {
            return Err(format!(
                "the policy has version {}, and the one in force has {}: set it to {}",
                self.version,
                old.version,
                old.version + 1
            ));
        }
        for (whose, policy) in [("the old", old), ("the new", self)] {
            if !policy.allows(Role::Root, signers, "", None) {
                let shortage = policy.shortage(Role::Root, signers, "", None);
                return Err(format!(
                    "not enough roots of {whose} policy signed it: {shortage}"
                ));
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

/// Whether `name` is what `pattern` says: `*` stands for any text, all else for itself.
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
