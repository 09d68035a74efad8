//! Revocations: which manifests must not be deployed any more, and why.
//!
//! A revocation is a rule, not a list: it holds for manifests that are recorded later as well, and for every image that was
//! made from the artifact of a revoked one. In: the history, and where a rule asks for it, manifests and package lists.
//! Out: what applies to a manifest at some time.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::history::{History, Recorded, Revocation};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::manifest::{ImageVersion, debian};
use crate::sign::matches;

/// What a revocation is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule {
    /// These manifests.
    Manifests {
        /// Their digests.
        manifests: BTreeSet<Digest>,
    },
    /// Versions of images.
    Versions {
        /// The image's name; `*` stands for any text.
        image: String,
        /// The first that is meant; absent for the very first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ImageVersion>,
        /// The last that is meant; absent for all to come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<ImageVersion>,
    },
    /// Images with an old release of a product in them.
    Release {
        /// As in `vault`.
        product: String,
        /// The first good version.
        below: String,
    },
    /// Images that something went into: a release archive, a file, a script, a base.
    Input {
        /// Of its content.
        digest: Digest,
    },
    /// Images with an old package in them.
    Package {
        /// The name of the package, or of the source package that it was built from.
        name: String,
        /// The first good version, as Debian orders versions.
        below: String,
    },
}

impl Rule {
    /// What is wrong with it, where something is.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Manifests { manifests } if manifests.is_empty() => {
                Err("no manifest is named".to_owned())
            }
            Self::Versions {
                from: Some(from),
                to: Some(to),
                ..
            } if from > to => Err(format!("{from} comes after {to}")),
            Self::Release { below, .. } => match semver::Version::parse(below) {
                Ok(_) => Ok(()),
                Err(_) if semver::Version::parse(&format!("{below}.0")).is_ok() => Err(format!(
                    "`{below}` is no whole version of a release: write {below}.0"
                )),
                Err(error) => Err(format!(
                    "`{below}` is no version of a release ({error}): write one as in 1.16.0"
                )),
            },
            _ => Ok(()),
        }
    }

    /// Whether it is about `recorded`, as far as the log alone can tell.
    fn holds(&self, recorded: &Recorded) -> RuleMatch {
        let put = &recorded.put;
        let holds = match self {
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
                        // What cannot be ordered is not called good.
                        Err(_) => true,
                    },
                    _ => false,
                }
            }
            Self::Input { digest } if put.base == *digest => true,
            Self::Input { .. } | Self::Package { .. } => return RuleMatch::AskManifest,
        };
        if holds { RuleMatch::Yes } else { RuleMatch::No }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Manifests { manifests } => {
                let shown: Vec<String> = manifests.iter().map(Digest::to_string).collect();
                f.write_str(&shown.join(", "))
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
    AskManifest,
}

/// What revocations say of a manifest at some time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RevocationStatus {
    /// In force.
    pub revoked: Vec<Revocation>,
    /// Not yet in force.
    pub scheduled: Vec<Revocation>,
    /// The manifest that it inherits its revocations from, where none is about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inherited_from: Option<Digest>,
}

impl RevocationStatus {
    /// Whether it may be deployed.
    pub fn is_good(&self) -> bool {
        self.revoked.is_empty()
    }
}

impl Revocation {
    /// Whether it counts at the time `now`.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.restored.is_none() && self.revoke.effective_at.timestamp() <= now
    }
}

impl<B: Backend> Store<B> {
    /// What revocations say of a recorded manifest at the time `now`.
    pub async fn revocation_status(
        &self,
        history: &History,
        manifest: &Digest,
        now: Timestamp,
    ) -> Result<RevocationStatus, StoreError> {
        let mut standing = RevocationStatus::default();
        let mut next = history.by_digest(manifest);
        let mut seen = BTreeSet::new();
        while let Some(recorded) = next.filter(|one| seen.insert(one.put.manifest)) {
            let own = standing.revoked.is_empty();
            for revocation in history.revocations() {
                let Revocation { revoke, .. } = revocation;
                if revocation.restored.is_some() || !self.holds(&revoke.rule, recorded).await? {
                    continue;
                }
                let list = if revoke.effective_at.timestamp() <= now {
                    &mut standing.revoked
                } else {
                    &mut standing.scheduled
                };
                if !list.contains(revocation) {
                    list.push(revocation.clone());
                }
            }
            if own && !standing.revoked.is_empty() && recorded.put.manifest != *manifest {
                standing.inherited_from = Some(recorded.put.manifest);
            }
            next = parent(history, recorded);
        }
        Ok(standing)
    }

    /// Every manifest that is revoked at the time `now`, and why.
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

    /// Every manifest that `rule` is about, or that was made from one of those.
    pub async fn affected<'a>(
        &self,
        history: &'a History,
        rule: &Rule,
    ) -> Result<Vec<&'a Recorded>, StoreError> {
        let mut artifacts = BTreeSet::new();
        let mut affected = Vec::new();
        // What an image was made from is recorded before it.
        for recorded in history.recorded() {
            if artifacts.contains(&recorded.put.base) || self.holds(rule, recorded).await? {
                artifacts.insert(recorded.put.artifact);
                affected.push(recorded);
            }
        }
        Ok(affected)
    }

    /// Why a rule is about no recorded image, where it names something that none of them ever had; for people who misspelt it.
    pub async fn unknown_to(
        &self,
        history: &History,
        rule: &Rule,
    ) -> Result<Option<String>, StoreError> {
        let recorded = history.recorded().iter();
        let (what, name, known) = match rule {
            Rule::Versions { image, .. } => {
                let known = recorded.map(|one| one.put.image.clone());
                (
                    "image was ever recorded with the name",
                    image,
                    known.collect(),
                )
            }
            Rule::Release { product, .. } => {
                let known = recorded.flat_map(|one| one.put.releases.keys().cloned());
                ("image ever had a release of", product, known.collect())
            }
            Rule::Package { name, .. } => {
                let known = self.package_names(history).await?;
                ("image ever had a package of the name", name, known)
            }
            Rule::Manifests { .. } | Rule::Input { .. } => return Ok(None),
        };
        Ok(unknown_note(what, name, &known))
    }

    /// The names of all packages of all images, and of what they were built from.
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

    async fn holds(&self, rule: &Rule, recorded: &Recorded) -> Result<bool, StoreError> {
        match rule.holds(recorded) {
            RuleMatch::Yes => return Ok(true),
            RuleMatch::No => return Ok(false),
            RuleMatch::AskManifest => {}
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
    let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    Some(format!("no {what} `{name}`{near}"))
}

/// The recorded image whose artifact `recorded` was made from.
fn parent<'a>(history: &'a History, recorded: &Recorded) -> Option<&'a Recorded> {
    let mut images = history.recorded().iter();
    images.find(|one| one.put.artifact == recorded.put.base)
}
