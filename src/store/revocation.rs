//! Evaluates revocation rules: which manifests must not be deployed, and why.
//! A rule also applies to later manifests, and to images that were built from a revoked one.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::history::{History, RecordedManifest, Revocation};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::manifest::{ImageVersion, debian};
use crate::sign::matches;

/// The condition under which a manifest is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule {
    /// Listed manifests.
    Manifests {
        /// Their digests.
        manifests: BTreeSet<Digest>,
    },
    /// A range of versions of images.
    Versions {
        /// The name of the image, in which `*` matches any text.
        image: String,
        /// The first revoked version. Absent: from the first one on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ImageVersion>,
        /// The last revoked version. Absent: including all later ones.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<ImageVersion>,
    },
    /// Images with an old release of a product.
    Release {
        /// The product, for example `vault`.
        product: String,
        /// The first version that is not revoked.
        below: String,
    },
    /// Images with this input: a release archive, a file, a script or a base.
    Input {
        /// The digest of the input.
        digest: Digest,
    },
    /// Images with an old Debian package.
    Package {
        /// The name of the package, or of its source package.
        name: String,
        /// The first version that is not revoked, in the order of Debian.
        below: String,
    },
}

impl Rule {
    /// Checks that the rule can match. Returns the defect otherwise.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Manifests { manifests } if manifests.is_empty() => {
                Err("it lists no manifest".to_owned())
            }
            Self::Versions {
                from: Some(from),
                to: Some(to),
                ..
            } if from > to => Err(format!("{from} comes after {to}")),
            Self::Release { below, .. } => match semver::Version::parse(below) {
                Ok(_) => Ok(()),
                Err(_) if semver::Version::parse(&format!("{below}.0")).is_ok() => Err(format!(
                    "`{below}` is not a complete version of a release, expected {below}.0"
                )),
                Err(error) => Err(format!(
                    "`{below}` is not a version of a release, expected for example 1.16.0: {error}"
                )),
            },
            _ => Ok(()),
        }
    }

    /// Evaluates the rule with the fields in the log.
    fn match_recorded(&self, recorded: &RecordedManifest) -> RuleMatch {
        let put = &recorded.put;
        let matched = match self {
            Self::Manifests { manifests } => manifests.contains(&put.manifest),
            Self::Versions { image, from, to } => {
                matches(image, &put.image)
                    && from.is_none_or(|from| put.version >= from)
                    && to.is_none_or(|to| put.version <= to)
            }
            Self::Release { product, below } => {
                match (put.releases.get(product), semver::Version::parse(below)) {
                    (Some(version), Ok(below)) => match semver::Version::parse(version) {
                        Ok(version) => version.cmp_precedence(&below) == Ordering::Less,
                        // A version that cannot be compared counts as old.
                        Err(_) => true,
                    },
                    _ => false,
                }
            }
            Self::Input { digest } if put.base == *digest => true,
            Self::Input { .. } | Self::Package { .. } => return RuleMatch::NeedsManifest,
        };
        if matched {
            RuleMatch::Yes
        } else {
            RuleMatch::No
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Manifests { manifests } => {
                let digests: Vec<String> = manifests.iter().map(Digest::to_string).collect();
                f.write_str(&digests.join(", "))
            }
            Self::Versions { image, from, to } => {
                write!(f, "{image}")?;
                if let Some(from) = from {
                    write!(f, " from {from}")?;
                }
                to.map_or(Ok(()), |to| write!(f, " up to {to}"))
            }
            Self::Release { product, below } => write!(f, "images with {product} below {below}"),
            Self::Input { digest } => write!(f, "images that {digest} went into"),
            Self::Package { name, below } => {
                write!(f, "images with the package {name} below {below}")
            }
        }
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
        match rule.match_recorded(recorded) {
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
