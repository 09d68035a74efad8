//! Evaluates revocation rules: which manifests must not be deployed, and why.
//! A rule also applies to later manifests, and to images that were built from a revoked one.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::backend::Backend;
pub use super::event::Rule;
use super::history::{History, RecordedManifest, Revocation};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::manifest::debian;
use crate::sign::matches;

/// Evaluates the rule with the fields in the log.
fn match_recorded(rule: &Rule, recorded: &RecordedManifest) -> RuleMatch {
    let put = &recorded.put;
    let matched = match rule {
        Rule::Manifests { manifests } => manifests.contains(&put.manifest),
        Rule::Versions { image, from, to } => {
            matches(image, &put.image)
                && from.is_none_or(|from| put.version >= from)
                && to.is_none_or(|to| put.version <= to)
        }
        Rule::Release { product, below } => {
            match (put.releases.get(product), semver::Version::parse(below)) {
                (Some(version), Ok(below)) => match semver::Version::parse(version) {
                    Ok(version) => version.cmp_precedence(&below) == Ordering::Less,
                    // A version that cannot be compared counts as old.
                    Err(_) => true,
                },
                _ => false,
            }
        }
        Rule::Input { digest } if put.base == *digest => true,
        Rule::Input { .. } | Rule::Package { .. } => return RuleMatch::NeedsManifest,
    };
    if matched {
        RuleMatch::Yes
    } else {
        RuleMatch::No
    }
}

enum RuleMatch {
    Yes,
    No,
    NeedsManifest,
}

/// The revocations that apply to a manifest at some time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RevocationStatus {
    /// The revocations in force.
    pub revoked: Vec<Revocation>,
    /// The revocations that come into force later.
    pub scheduled: Vec<Revocation>,
    /// The manifest whose revocations it inherits, if no rule applies to the manifest itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inherited_from: Option<Digest>,
}

impl RevocationStatus {
    /// Returns whether no revocation is in force.
    pub fn is_good(&self) -> bool {
        self.revoked.is_empty()
    }
}

impl Revocation {
    /// Whether it is in force at the time `now`.
    pub(crate) fn is_in_force(&self, now: Timestamp) -> bool {
        self.restored.is_none() && self.revoke.effective_at.timestamp() <= now
    }
}

impl<B: Backend> Store<B> {
    /// Returns the revocations that apply to a recorded manifest at the time `now`.
    pub async fn revocation_status(
        &self,
        history: &History,
        manifest: &Digest,
        now: Timestamp,
    ) -> Result<RevocationStatus, StoreError> {
        let mut status = RevocationStatus::default();
        let mut next = history.by_digest(manifest);
        let mut seen = BTreeSet::new();
        while let Some(recorded) = next.filter(|one| seen.insert(one.put.manifest)) {
            let is_first_hit = status.revoked.is_empty();
            for revocation in history.revocations() {
                let Revocation { revoke, .. } = revocation;
                if revocation.restored.is_some()
                    || !self.rule_applies(&revoke.rule, recorded).await?
                {
                    continue;
                }
                let list = if revoke.effective_at.timestamp() <= now {
                    &mut status.revoked
                } else {
                    &mut status.scheduled
                };
                if !list.contains(revocation) {
                    list.push(revocation.clone());
                }
            }
            if is_first_hit && !status.revoked.is_empty() && recorded.put.manifest != *manifest {
                status.inherited_from = Some(recorded.put.manifest);
            }
            next = parent(history, recorded);
        }
        Ok(status)
    }

    /// Returns all manifests that are revoked at the time `now`, with the reason.
    pub(super) async fn revoked(
        &self,
        history: &History,
        now: Timestamp,
    ) -> Result<HashMap<Digest, String>, StoreError> {
        let mut revoked = HashMap::new();
        let all = history.revocations().iter();
        for revocation in all.filter(|one| one.is_in_force(now)) {
            let revoke = &revocation.revoke;
            for recorded in self.affected(history, &revoke.rule).await? {
                let why = revoked.entry(recorded.put.manifest);
                why.or_insert_with(|| revoke.why.clone());
            }
        }
        Ok(revoked)
    }

    /// Returns all manifests that match `rule`, and those that were built from them.
    pub async fn affected<'a>(
        &self,
        history: &'a History,
        rule: &Rule,
    ) -> Result<Vec<&'a RecordedManifest>, StoreError> {
        let mut artifacts = BTreeSet::new();
        let mut affected = Vec::new();
        // A base image is recorded before the images built from it.
        for recorded in history.recorded() {
            if artifacts.contains(&recorded.put.base) || self.rule_applies(rule, recorded).await? {
                artifacts.insert(recorded.put.artifact);
                affected.push(recorded);
            }
        }
        Ok(affected)
    }

    /// Explains why `rule` matches no recorded image, if it contains a name that no image ever had.
    pub async fn explain_no_match(
        &self,
        history: &History,
        rule: &Rule,
    ) -> Result<Option<String>, StoreError> {
        let recorded = history.recorded().iter();
        let (what, name, known) = match rule {
            Rule::Versions { image, .. } => {
                let known = recorded.map(|one| one.put.image.clone());
                ("recorded image has the name", image, known.collect())
            }
            Rule::Release { product, .. } => {
                let known = recorded.flat_map(|one| one.put.releases.keys().cloned());
                ("recorded image has a release of", product, known.collect())
            }
            Rule::Package { name, .. } => {
                let known = self.package_names(history).await?;
                ("recorded image has the package", name, known)
            }
            Rule::Manifests { .. } | Rule::Input { .. } => return Ok(None),
        };
        Ok(unknown_note(what, name, &known))
    }

    /// Returns the names of all packages of all images, and of their source packages.
    async fn package_names(&self, history: &History) -> Result<BTreeSet<String>, StoreError> {
        let (mut lists, mut names) = (BTreeSet::new(), BTreeSet::new());
        for recorded in history.recorded() {
            let manifest = self.manifest(&recorded.put.manifest).await?;
            if lists.insert(manifest.packages.digest) {
                let packages = self.packages(&manifest).await?.into_iter();
                names.extend(packages.flat_map(|one| [one.name, one.source]));
            }
        }
        Ok(names)
    }

    async fn rule_applies(
        &self,
        rule: &Rule,
        recorded: &RecordedManifest,
    ) -> Result<bool, StoreError> {
        match match_recorded(rule, recorded) {
            RuleMatch::Yes => return Ok(true),
            RuleMatch::No => return Ok(false),
            RuleMatch::NeedsManifest => {}
        }
        let manifest = self.manifest(&recorded.put.manifest).await?;
        Ok(match rule {
            Rule::Input { digest } => {
                let inputs = manifest.inputs.iter().any(|input| input.digest == *digest);
                inputs
                    || manifest
                        .releases
                        .iter()
                        .any(|one| one.binary_sha256 == *digest)
            }
            Rule::Package { name, below } => {
                let packages = self.packages(&manifest).await?;
                packages.iter().any(|package| {
                    (package.name == *name || package.source == *name)
                        && debian::compare(&package.version, below) == Ordering::Less
                })
            }
            _ => false,
        })
    }
}

fn unknown_note(what: &str, name: &str, known: &BTreeSet<String>) -> Option<String> {
    if known.iter().any(|one| matches(name, one)) {
        return None;
    }
    let distance = |one: &&String| strsim::damerau_levenshtein(one, name);
    let near = known.iter().filter(|one| distance(one) <= name.len() / 3);
    let near = near.min_by_key(distance);
    let near = near.map_or(String::new(), |near| {
        format!("; the most similar name is `{near}`")
    });
    Some(format!("no {what} `{name}`{near}"))
}

/// Returns the recorded image that `recorded` was built from.
fn parent<'a>(history: &'a History, recorded: &RecordedManifest) -> Option<&'a RecordedManifest> {
    let mut images = history.recorded().iter();
    images.find(|one| one.put.artifact == recorded.put.base)
}
