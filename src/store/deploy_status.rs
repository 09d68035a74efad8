//! Evaluates whether a recorded image may be deployed, by one rule for all commands.
//! Returns a [`DeployStatus`] with all obstacles. The caller accepts some of them with [`Allow`].

use jiff::Timestamp;
use serde::Serialize;

use super::backend::{Backend, BackendError};
use super::history::{History, RecordedManifest};
use super::revocation::RevocationStatus;
use super::verify::Signed;
use super::{Store, StoreError, TestState};
use crate::digest::Digest;
use crate::manifest::{Output, Reference};

/// The number of failed checks that a message lists.
const MOST_CHECKS: usize = 3;

/// The deploy status, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployState {
    /// No obstacle.
    Good,
    /// It will be revoked.
    Scheduled,
    /// It is revoked.
    Revoked,
    /// Its artifact was removed by `gc`.
    Removed,
    /// Its artifact is not in the store, although no event removed it.
    Missing,
    /// Its last test failed.
    Failed,
    /// It was never tested.
    Untested,
    /// Unknown: a pin file alone has no later events.
    NotChecked,
}

impl DeployState {
    /// Returns the word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Scheduled => "scheduled",
            Self::Revoked => "revoked",
            Self::Removed => "removed",
            Self::Missing => "missing",
            Self::Failed => "failed",
            Self::Untested => "untested",
            Self::NotChecked => "not-checked",
        }
    }
}

/// One reason not to deploy an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The kind of obstacle.
    pub state: DeployState,
    /// The obstacle in words, with the name of the image.
    pub why: String,
    /// The way out, as an imperative.
    pub hint: String,
}

impl Obstacle {
    /// Returns the option that accepts this obstacle, if there is one.
    pub fn option(&self) -> Option<&'static str> {
        match self.state {
            DeployState::Revoked => Some("--allow-revoked"),
            DeployState::Failed | DeployState::Untested => Some("--allow-untested"),
            _ => None,
        }
    }
}

/// The obstacles that the caller accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// A revocation.
    pub revoked: bool,
    /// A missing or failed test.
    pub untested: bool,
}

impl Allow {
    fn accepts(self, obstacle: &Obstacle) -> bool {
        match obstacle.state {
            DeployState::Revoked => self.revoked,
            DeployState::Failed | DeployState::Untested => self.untested,
            _ => false,
        }
    }
}

/// The obstacles of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployStatus {
    /// `image@version`.
    pub name: String,
    /// The obstacles, the most serious first.
    pub obstacles: Vec<Obstacle>,
    /// The scheduled revocation, in words.
    pub scheduled: Option<String>,
}

impl DeployStatus {
    /// Returns the status in one word.
    pub fn state(&self) -> DeployState {
        match (self.obstacles.first(), &self.scheduled) {
            (Some(obstacle), _) => obstacle.state,
            (None, Some(_)) => DeployState::Scheduled,
            (None, None) => DeployState::Good,
        }
    }

    /// Returns the first obstacle that `allow` does not accept.
    pub fn refusal(&self, allow: Allow) -> Option<&Obstacle> {
        self.obstacles.iter().find(|one| !allow.accepts(one))
    }

    /// Returns warnings for an accepted image: its obstacles and its scheduled revocation.
    pub fn warnings(&self) -> Vec<String> {
        let accepted = self.obstacles.iter().map(|one| one.why.clone());
        accepted.chain(self.scheduled.clone()).collect()
    }

    /// Returns the first obstacle or the scheduled revocation, in words. `None` for a good image.
    pub fn first_remark(&self) -> Option<String> {
        let first = self.obstacles.first().map(|one| one.why.clone());
        first.or_else(|| self.scheduled.clone())
    }
}

/// The image that a reference means, with its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenImage {
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Its status.
    pub status: DeployStatus,
    /// The newest image, if it was skipped because of its obstacles.
    pub skipped_newest: Option<DeployStatus>,
}

impl<B: Backend> Store<B> {
    /// Evaluates whether a recorded manifest may be deployed at the time `now`. An invalid
    /// signature is an error.
    pub async fn evaluate(
        &self,
        history: &History,
        manifest: &Digest,
        now: Timestamp,
    ) -> Result<DeployStatus, StoreError> {
        let recorded = history.known(manifest)?;
        let name = recorded.put.name();
        let signed: Vec<Signed<'_>> = Signed::with_tests(recorded).collect();
        for checked in self.check_envelopes(history, &signed).await {
            checked?;
        }
        let revocations = self.revocation_status(history, manifest, now).await?;
        let mut obstacles = Vec::new();
        obstacles.extend(revoked(history, &name, &revocations));
        obstacles.extend(self.artifact_obstacle(recorded, &name).await?);
        obstacles.extend(self.test_obstacle(recorded, &name).await?);
        Ok(DeployStatus {
            scheduled: scheduled(history, &name, &revocations),
            name,
            obstacles,
        })
    }

    /// Returns the image to deploy for `reference` at the time `now`. A name alone means the newest
    /// image without an obstacle that `allow` rejects. If all images have one, it means the newest.
    pub async fn choose(
        &self,
        history: &History,
        reference: &Reference,
        allow: Allow,
        now: Timestamp,
    ) -> Result<ChosenImage, StoreError> {
        let Reference::Newest { image } = reference else {
            let manifest = self.resolve(reference).await?;
            return Ok(ChosenImage {
                status: self.evaluate(history, &manifest, now).await?,
                manifest,
                skipped_newest: None,
            });
        };
        let mut newest: Option<ChosenImage> = None;
        let of_image = history.recorded().iter().rev();
        for recorded in of_image.filter(|one| one.put.image == *image) {
            let manifest = recorded.put.manifest;
            let status = self.evaluate(history, &manifest, now).await?;
            if status.refusal(allow).is_none() {
                return Ok(ChosenImage {
                    manifest,
                    status,
                    skipped_newest: newest.map(|newest| newest.status),
                });
            }
            newest.get_or_insert(ChosenImage {
                manifest,
                status,
                skipped_newest: None,
            });
        }
        newest.ok_or_else(|| StoreError::NotFound(reference.to_string()))
    }

    async fn artifact_obstacle(
        &self,
        recorded: &RecordedManifest,
        name: &str,
    ) -> Result<Option<Obstacle>, StoreError> {
        if let Some(removal) = &recorded.deleted {
            return Ok(Some(Obstacle {
                state: DeployState::Removed,
                why: format!("the artifact of {name} was removed {removal}"),
                hint: "Build it again, or choose another version.".to_owned(),
            }));
        }
        let manifest = self.manifest(&recorded.put.manifest).await?;
        for output in manifest.outputs.iter().filter(|one| one.target == "local") {
            if let Some(why) = self.file_obstacle(output).await? {
                return Ok(Some(Obstacle {
                    state: DeployState::Missing,
                    why: format!("the artifact of {name} is {why}: {}", output.id),
                    hint: "Restore the file from a copy of the store, or build the image again."
                        .to_owned(),
                }));
            }
        }
        Ok(None)
    }

    /// Returns why the file of an output is not the recorded one, without reading it.
    async fn file_obstacle(&self, output: &Output) -> Result<Option<String>, StoreError> {
        let found = match self.backend.size(&output.id).await {
            Err(BackendError::NoFile(_)) => return Ok(Some("not a file".to_owned())),
            found => found?,
        };
        let expected = output.local_file().map(|file| file.size);
        Ok(match (found, expected) {
            (None, _) => Some("missing".to_owned()),
            (Some(found), Some(expected)) if found != expected => Some(format!(
                "a different file, {found} bytes instead of {expected}"
            )),
            _ => None,
        })
    }

    async fn test_obstacle(
        &self,
        recorded: &RecordedManifest,
        name: &str,
    ) -> Result<Option<Obstacle>, StoreError> {
        Ok(match (recorded.state(), recorded.tests.last()) {
            (TestState::Tested, _) => None,
            (TestState::Failed, Some(last)) => Some(Obstacle {
                state: DeployState::Failed,
                why: format!("{name} failed its test{}", self.failure(&last.test).await?),
                hint: format!(
                    "Run `vault-bake show {name}` to see the test. Choose another version, or build one."
                ),
            }),
            _ => Some(Obstacle {
                state: DeployState::Untested,
                why: format!("{name} is untested"),
                hint: format!("Run `vault-bake test {name}`."),
            }),
        })
    }

    /// Returns the failed checks of a test, in parentheses.
    async fn failure(&self, test: &Digest) -> Result<String, StoreError> {
        let record = self.test(test).await?;
        let failed = record.checks.iter().filter(|check| !check.ok);
        let failed: Vec<&str> = failed.map(|check| check.id.as_str()).collect();
        let more = match failed.len().saturating_sub(MOST_CHECKS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = failed[..failed.len().min(MOST_CHECKS)].join(", ");
        Ok(match (named.is_empty(), record.failure) {
            (false, _) => format!(" ({named}{more})"),
            (true, Some(failure)) => format!(" ({failure})"),
            (true, None) => String::new(),
        })
    }
}

fn revoked(history: &History, name: &str, status: &RevocationStatus) -> Option<Obstacle> {
    let (one, others) = status.revoked.split_first()?;
    let inherited = status.inherited_from.as_ref().map(|from| {
        let from = history.by_digest(from);
        from.map_or_else(String::new, |one| {
            format!(", inherited from {}", one.put.name())
        })
    });
    let others = others.iter();
    let others = others.map(|one| format!("; and by entry {} ({})", one.seq, one.revoke.why));
    let restores = status.revoked.iter();
    let restores = restores.map(|one| format!("`vault-bake restore {} --reason \"…\"`", one.seq));
    let restores: Vec<String> = restores.collect();
    Some(Obstacle {
        state: DeployState::Revoked,
        why: format!(
            "{name} is revoked by entry {}{} ({}){}{}",
            one.seq,
            inherited.unwrap_or_default(),
            one.revoke.why,
            replacement_note(history, one.revoke.replacement),
            others.collect::<String>()
        ),
        hint: format!(
            "Choose another version. To withdraw the revocation, run {}.",
            restores.join(" and ")
        ),
    })
}

fn scheduled(history: &History, name: &str, status: &RevocationStatus) -> Option<String> {
    let one = status.scheduled.first()?;
    Some(format!(
        "{name} will be revoked on {} by entry {} ({}){}",
        one.revoke.effective_at,
        one.seq,
        one.revoke.why,
        replacement_note(history, one.revoke.replacement)
    ))
}

fn replacement_note(history: &History, replacement: Option<Digest>) -> String {
    let named = replacement.and_then(|digest| history.by_digest(&digest));
    named.map_or_else(String::new, |one| {
        let put = &one.put;
        format!("; use {} ({}) instead", put.name(), put.manifest)
    })
}
