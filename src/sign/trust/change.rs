//! Makes the next trust policy from the present one: add a key, remove one, set a threshold.
//! Returns a policy that can work, or why there is none. The roots decide whether it gets in force.

use std::collections::BTreeSet;
use std::fmt;

use super::{Grant, Role, SignError, Trust, any, one};
use crate::sign::key::{KeyId, PublicKey};

/// The grants of a role to change.
#[derive(Clone, Debug)]
pub struct GrantScope {
    /// The role.
    pub role: Role,
    /// The images of the grant. Empty: the only grant of the role.
    pub images: BTreeSet<String>,
    /// The channels of the grant. Empty: the only grant of the role.
    pub channels: BTreeSet<String>,
}

impl GrantScope {
    fn names_grant(&self) -> bool {
        !self.images.is_empty() || !self.channels.is_empty()
    }

    fn images(&self) -> BTreeSet<String> {
        some_or_any(&self.images)
    }

    fn channels(&self) -> BTreeSet<String> {
        some_or_any(&self.channels)
    }

    /// Returns the position of the grant, or `None` if there is none.
    fn find(&self, grants: &[Grant]) -> Result<Option<usize>, PolicyChangeError> {
        let of_role = |grant: &Grant| grant.role == self.role;
        let (images, channels) = (self.images(), self.channels());
        let same = |grant: &Grant| {
            of_role(grant) && (&grant.images, &grant.channels) == (&images, &channels)
        };
        if self.names_grant() {
            return Ok(grants.iter().position(same));
        }
        if grants.iter().filter(|grant| of_role(grant)).count() > 1 {
            let of_role = grants.iter().filter(|grant| of_role(grant));
            return Err(PolicyChangeError::Several {
                role: self.role,
                grants: of_role.map(Grant::to_string).collect(),
            });
        }
        Ok(grants.iter().position(of_role))
    }
}

fn some_or_any(patterns: &BTreeSet<String>) -> BTreeSet<String> {
    if patterns.is_empty() {
        any()
    } else {
        patterns.clone()
    }
}

/// Why a policy cannot be changed as requested.
#[derive(Debug, thiserror::Error)]
pub enum PolicyChangeError {
    /// The role has several grants.
    #[error("cannot choose a grant of the role {role}: there are several: {}", .grants.join("; "))]
    Several {
        /// The role.
        role: Role,
        /// The grants, in words.
        grants: Vec<String>,
    },
    /// The role has no such grant.
    #[error("cannot change the role {role}: the trust policy has no such grant of it")]
    NoGrant {
        /// The role.
        role: Role,
    },
    /// The key has the role already.
    #[error("cannot add the key {key} to the role {role}: it has the role")]
    Present {
        /// The id of the key.
        key: KeyId,
        /// The role.
        role: Role,
    },
    /// The key does not have the role.
    #[error("cannot remove the key {key} from the role {role}: only {} have the role", list(.trusted))]
    Absent {
        /// The id of the key.
        key: KeyId,
        /// The role.
        role: Role,
        /// The keys that have the role.
        trusted: BTreeSet<KeyId>,
    },
    /// Fewer keys would be left than must sign.
    #[error("cannot remove the key {key} from the role {role}: {threshold} must sign, and {} left: {}", are(.left.len()), list(.left))]
    TooFew {
        /// The id of the key.
        key: KeyId,
        /// The role.
        role: Role,
        /// The number of keys that must sign.
        threshold: u64,
        /// The keys that would be left.
        left: BTreeSet<KeyId>,
    },
    /// More keys would have to sign than have the role.
    #[error("cannot require {threshold} signatures for the role {role}: {} it: {}", have(.keys.len()), list(.keys))]
    Threshold {
        /// The role.
        role: Role,
        /// The requested number.
        threshold: u64,
        /// The keys that have the role.
        keys: BTreeSet<KeyId>,
    },
    /// No command brings a second signature for the role.
    #[error(
        "cannot require {threshold} signatures for the role {role}: its records are signed by one key"
    )]
    OneKeyOnly {
        /// The role.
        role: Role,
        /// The requested number.
        threshold: u64,
    },
    /// The changed policy is not valid.
    #[error(transparent)]
    Invalid(#[from] SignError),
}

impl PolicyChangeError {
    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Several { .. } => {
                "Choose one with --image and --channel, each as often as the grant names one."
                    .to_owned()
            }
            Self::NoGrant { .. } => "Run `vault-bake trust show` to list the grants.".to_owned(),
            Self::Present { .. } => return None,
            Self::Absent { .. } => {
                "Run `vault-bake trust show` to list the keys of each role.".to_owned()
            }
            Self::TooFew { role, left, .. } if left.is_empty() => {
                format!("Add another key first: `vault-bake trust add KEY --role {role}`.")
            }
            Self::TooFew { role, left, .. } => format!(
                "Add another key first: `vault-bake trust add KEY --role {role}`. Or lower the \
                 threshold: `vault-bake trust threshold {role} {}`.",
                left.len()
            ),
            Self::Threshold { threshold: 0, .. } => "Require 1 or more.".to_owned(),
            Self::Threshold { role, .. } => {
                format!("Add a key first: `vault-bake trust add KEY --role {role}`.")
            }
            Self::OneKeyOnly { role, .. } => format!(
                "Keep the threshold of the role {role} at 1. Promotions, revocations and policies \
                 can need more."
            ),
            Self::Invalid(error) => return error.hint(),
        })
    }
}

fn list(keys: &BTreeSet<KeyId>) -> String {
    if keys.is_empty() {
        return "no key".to_owned();
    }
    let keys: Vec<String> = keys.iter().map(KeyId::to_string).collect();
    keys.join(", ")
}

fn are(count: usize) -> String {
    match count {
        1 => "1 would be".to_owned(),
        count => format!("{count} would be"),
    }
}

fn have(count: usize) -> String {
    match count {
        1 => "1 key has".to_owned(),
        count => format!("{count} keys have"),
    }
}

impl Role {
    /// Whether several keys can sign together what the role may do.
    pub fn can_share(self) -> bool {
        matches!(self, Self::Root | Self::Promoter | Self::Revoker)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            role,
            keys,
            threshold,
            images,
            channels,
        } = self;
        write!(f, "{role} for {threshold} of {}", list(keys))?;
        for (what, patterns) in [("images", images), ("channels", channels)] {
            if *patterns != any() {
                let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
                write!(f, ", {what} {}", patterns.join(" "))?;
            }
        }
        Ok(())
    }
}

impl Trust {
    /// Returns the policy in which all `keys` have all roles, and `threshold` of them sign together
    /// where keys can: policies, promotions and revocations.
    pub fn team(keys: &[PublicKey], threshold: u64) -> Result<Self, PolicyChangeError> {
        let Some((first, others)) = keys.split_first() else {
            return Err(PolicyChangeError::NoGrant { role: Role::Root });
        };
        let mut trust = Self::single_key(first);
        let ids: BTreeSet<KeyId> = keys.iter().map(PublicKey::id).collect();
        for key in others {
            trust.keys.insert(key.id(), key.clone());
        }
        for grant in &mut trust.grants {
            grant.keys.clone_from(&ids);
            if grant.role.can_share() {
                grant.threshold = threshold;
            }
        }
        if threshold == 0 || threshold > ids.len() as u64 {
            return Err(PolicyChangeError::Threshold {
                role: Role::Root,
                threshold,
                keys: ids,
            });
        }
        Ok(trust.validated()?)
    }

    /// Returns the next policy, in which `key` has the roles too. Makes a grant if there is none.
    pub fn with_key(
        &self,
        key: &PublicKey,
        scopes: &[GrantScope],
    ) -> Result<Self, PolicyChangeError> {
        let mut next = self.next();
        let id = key.id();
        for scope in scopes {
            let role = scope.role;
            match scope.find(&next.grants)? {
                Some(at) if next.grants[at].keys.insert(id) => {}
                Some(_) => return Err(PolicyChangeError::Present { key: id, role }),
                None => next.grants.push(Grant {
                    role,
                    keys: BTreeSet::from([id]),
                    threshold: one(),
                    images: scope.images(),
                    channels: scope.channels(),
                }),
            }
        }
        next.keys.insert(id, key.clone());
        Ok(next.validated()?)
    }

    /// Returns the next policy, in which `key` does not have the roles. A key without any role is
    /// no longer a key of the policy.
    pub fn without_key(
        &self,
        key: &KeyId,
        scopes: &[GrantScope],
    ) -> Result<Self, PolicyChangeError> {
        let mut next = self.next();
        for scope in scopes {
            let role = scope.role;
            let at = scope.find(&next.grants)?;
            let at = at.ok_or(PolicyChangeError::NoGrant { role })?;
            let grant = &mut next.grants[at];
            if !grant.keys.remove(key) {
                return Err(PolicyChangeError::Absent {
                    key: *key,
                    role,
                    trusted: grant.keys.clone(),
                });
            }
            if (grant.keys.len() as u64) < grant.threshold {
                return Err(PolicyChangeError::TooFew {
                    key: *key,
                    role,
                    threshold: grant.threshold,
                    left: grant.keys.clone(),
                });
            }
        }
        let grants = next.grants.iter();
        let used: BTreeSet<KeyId> = grants.flat_map(|grant| grant.keys.clone()).collect();
        next.keys.retain(|id, _| id != key || used.contains(id));
        Ok(next.validated()?)
    }

    /// Returns the next policy, in which `threshold` keys must sign for the role.
    pub fn with_threshold(
        &self,
        scope: &GrantScope,
        threshold: u64,
    ) -> Result<Self, PolicyChangeError> {
        let mut next = self.next();
        let role = scope.role;
        let at = scope.find(&next.grants)?;
        let at = at.ok_or(PolicyChangeError::NoGrant { role })?;
        if threshold > 1 && !role.can_share() {
            return Err(PolicyChangeError::OneKeyOnly { role, threshold });
        }
        let grant = &mut next.grants[at];
        if threshold == 0 || threshold > grant.keys.len() as u64 {
            return Err(PolicyChangeError::Threshold {
                role,
                threshold,
                keys: grant.keys.clone(),
            });
        }
        grant.threshold = threshold;
        Ok(next.validated()?)
    }

    /// Fails if a role needs several signatures, but its commands sign with one key.
    pub fn check_thresholds(&self) -> Result<(), PolicyChangeError> {
        let mut grants = self.grants.iter();
        let broken = grants.find(|grant| grant.threshold > 1 && !grant.role.can_share());
        broken.map_or(Ok(()), |grant| {
            Err(PolicyChangeError::OneKeyOnly {
                role: grant.role,
                threshold: grant.threshold,
            })
        })
    }

    /// Returns a warning if several roots must sign, and none of their keys may be lost.
    pub fn root_warning(&self) -> Option<String> {
        let roots = self.grants.iter().filter(|grant| grant.role == Role::Root);
        let needs_all = |grant: &Grant| {
            let count = grant.keys.len() as u64;
            count > 1 && grant.threshold == count
        };
        roots.into_iter().all(needs_all).then(|| {
            "every root must sign: if one key is lost, the trust policy can never change".to_owned()
        })
    }

    /// Returns the differences from `old`, in words.
    pub fn changes(&self, old: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let added = self.keys.keys().filter(|id| !old.keys.contains_key(id));
        lines.extend(added.map(|id| format!("new key {id}")));
        let removed = old.keys.keys().filter(|id| !self.keys.contains_key(id));
        lines.extend(removed.map(|id| format!("without the key {id}")));
        let before = old.grants.iter().filter(|one| !self.grants.contains(one));
        lines.extend(before.map(|grant| format!("was: {grant}")));
        let after = self.grants.iter().filter(|one| !old.grants.contains(one));
        lines.extend(after.map(|grant| format!("now: {grant}")));
        lines
    }

    fn next(&self) -> Self {
        Self {
            version: self.version + 1,
            ..self.clone()
        }
    }
}
