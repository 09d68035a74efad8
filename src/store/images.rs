//! Finding what was recorded: by name, by digest, all of it.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::backend::Backend;
use super::history::{History, Recorded, Removal, Revocation};
use super::{Store, StoreError, object_name};
use crate::digest::Digest;
use crate::manifest::{ImageVersion, Manifest, Moment, Reference, TestRecord};

/// A recorded image in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageRow {
    /// Its name.
    pub image: String,
    /// Its version.
    pub version: ImageVersion,
    /// Of its manifest.
    pub digest: Digest,
    /// When it was captured.
    pub created_at: Moment,
    /// What its last test said.
    pub state: TestState,
    /// Whether its artifacts are where the manifest says.
    pub artifact_present: bool,
    /// Of its files, in bytes.
    pub size: u64,
    /// Whether a release in it is a stand-in.
    pub fixture: bool,
    /// Why it is revoked, where it is.
    pub revoked: Option<String>,
    /// The removal of its artifact, where it was removed.
    pub removed: Option<Removal>,
    /// The channels that hold it.
    pub channels: Vec<String>,
}

/// What is known of whether an image works: its last test counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestState {
    /// It passed.
    Tested,
    /// It did not.
    Failed,
    /// There was none.
    Untested,
}

impl std::fmt::Display for TestState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Tested => "tested",
            Self::Failed => "failed",
            Self::Untested => "untested",
        })
    }
}

impl Recorded {
    /// What the last test said.
    pub fn state(&self) -> TestState {
        match self.tests.last() {
            Some(test) if test.passed => TestState::Tested,
            Some(_) => TestState::Failed,
            None => TestState::Untested,
        }
    }
}

impl<B: Backend> Store<B> {
    /// The digest of the manifest that people mean. A name alone means the one that was recorded last.
    pub async fn resolve(&self, reference: &Reference) -> Result<Digest, StoreError> {
        let (history, _) = self.history_about(Some(reference)).await?;
        let recorded = history.recorded();
        let found: Vec<&Recorded> = match reference {
            Reference::Version { image, version } => {
                history.by_name(image, *version).into_iter().collect()
            }
            Reference::Newest { image } => {
                let of_image = recorded.iter().rev().filter(|one| one.put.image == *image);
                of_image.take(1).collect()
            }
            Reference::Digest { hex } => {
                let with = |one: &&Recorded| one.put.manifest.hex().starts_with(hex);
                recorded.iter().filter(with).collect()
            }
            Reference::Channel { image, channel } => {
                let now = history.channel(image, channel).last();
                let now = now.ok_or_else(|| StoreError::NoChannel(reference.to_string()))?;
                history.by_digest(&now.to).into_iter().collect()
            }
        };
        match found[..] {
            [] => Err(StoreError::NotFound(reference.to_string())),
            [one] => Ok(one.put.manifest),
            _ => Err(StoreError::Ambiguous {
                reference: reference.to_string(),
                candidates: found
                    .iter()
                    .map(|one| one.put.manifest.to_string())
                    .collect(),
            }),
        }
    }

    /// The manifest with this digest, checked.
    pub async fn manifest(&self, digest: &Digest) -> Result<Manifest, StoreError> {
        self.read_manifest(digest, &self.object(digest).await?)
    }

    /// The same of its bytes.
    pub(super) fn read_manifest(
        &self,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<Manifest, StoreError> {
        Manifest::parse(bytes).map_err(|error| StoreError::Unreadable {
            digest: *digest,
            error,
        })
    }

    /// What the log says of the manifest with this digest.
    pub async fn recorded(&self, manifest: &Digest) -> Result<Recorded, StoreError> {
        let about = Reference::Digest {
            hex: manifest.hex(),
        };
        let (history, _) = self.history_about(Some(&about)).await?;
        history.known(manifest).cloned()
    }

    /// The tests of the manifest with this digest, in order, checked.
    pub async fn tests(&self, manifest: &Digest) -> Result<Vec<TestRecord>, StoreError> {
        let recorded = self.recorded(manifest).await?;
        let mut tests = Vec::new();
        for tested in &recorded.tests {
            tests.push(self.test(&tested.test).await?);
        }
        Ok(tests)
    }

    pub(super) async fn test(&self, digest: &Digest) -> Result<TestRecord, StoreError> {
        let bytes = self.object(digest).await?;
        TestRecord::parse(&bytes)
            .map_err(|error| StoreError::integrity(object_name(digest), error.to_string()))
    }

    /// The first version of the scheme `YYYY.MMDD.N` that is free on `date`, above all that were taken.
    pub async fn next_version(&self, image: &str, date: Date) -> Result<ImageVersion, StoreError> {
        let first = ImageVersion::first_of(date);
        let history = self.history().await?;
        let of_day = |one: &&Recorded| one.put.image == image && one.put.version.same_series(first);
        let taken = history.recorded().iter().filter(of_day);
        match taken.map(|one| one.put.version).max() {
            None => Ok(first),
            Some(last) => last
                .next()
                .ok_or_else(|| StoreError::NoVersionLeft(image.to_owned())),
        }
    }

    /// Every recorded image, by name and then in the order of recording; revoked are those that are at the time `now`.
    pub async fn images(&self, now: Timestamp) -> Result<Vec<ImageRow>, StoreError> {
        let (mut history, mut memory) = self.history_about(None).await?;
        let is_in_force = |one: &Revocation| one.is_in_force(now);
        let any_revoked = history.revocations().iter().any(is_in_force);
        if any_revoked {
            // What a rule is about has to be looked for among all.
            (history, memory) = (self.history().await?, None);
        }
        // After the history: artifacts are there before the records that name them.
        let mut artifacts = self.backend.list("artifacts/").await?;
        let mut rows = Vec::new();
        if let Some(mut memory) = memory {
            let head = memory.frame().head;
            let whole = memory.each(|one| {
                // What has been said of it since counts.
                let one = history.by_digest(&one.put.manifest).unwrap_or(&one);
                rows.push(row(one, &artifacts));
            });
            match whole {
                Some(()) => {
                    let new = history.recorded().iter().filter(|one| one.seq > head);
                    rows.extend(new.map(|one| row(one, &artifacts)));
                }
                None => {
                    rows.clear();
                    history = self.history().await?;
                    artifacts = self.backend.list("artifacts/").await?;
                }
            }
        }
        if rows.is_empty() {
            let all = history.recorded().iter();
            rows.extend(all.map(|one| row(one, &artifacts)));
        }
        if any_revoked {
            let revoked = self.revoked(&history, now).await?;
            for row in &mut rows {
                row.revoked = revoked.get(&row.digest).cloned();
            }
        }
        name_channels(&history, &mut rows);
        rows.sort_by(|a, b| a.image.cmp(&b.image));
        Ok(rows)
    }
}

/// Says of each row which channels hold it.
fn name_channels(history: &History, rows: &mut [ImageRow]) {
    let mut holders: HashMap<Digest, Vec<String>> = HashMap::new();
    for (_, channel, generations) in history.channels() {
        if let Some(last) = generations.last() {
            holders.entry(last.to).or_default().push(channel.to_owned());
        }
    }
    for row in rows {
        row.channels = holders.remove(&row.digest).unwrap_or_default();
    }
}

/// One line; `artifacts` are the names of those that are there, sorted.
fn row(recorded: &Recorded, artifacts: &[String]) -> ImageRow {
    let put = &recorded.put;
    let artifact = format!("artifacts/sha256/{}.qcow2", put.artifact.hex());
    ImageRow {
        image: put.image.clone(),
        version: put.version,
        digest: put.manifest,
        created_at: put.created_at,
        state: recorded.state(),
        artifact_present: artifacts.binary_search(&artifact).is_ok(),
        size: put.size,
        fixture: put.fixture,
        revoked: None,
        removed: recorded.deleted.clone(),
        channels: Vec::new(),
    }
}
