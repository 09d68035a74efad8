//! Finds recorded manifests: by name, by digest, or all of them.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::backend::Backend;
use super::history::{History, RecordedManifest, Removal, Revocation};
use super::{Store, StoreError, object_name};
use crate::digest::Digest;
use crate::manifest::{ImageVersion, Manifest, Moment, Reference, TestRecord};

/// One row of the list of images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageRow {
    /// The name of the image.
    pub image: String,
    /// The version of the image.
    pub version: ImageVersion,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The time of capture.
    pub created_at: Moment,
    /// The result of its last test.
    pub state: TestState,
    /// Whether its artifact is in the store.
    pub artifact_present: bool,
    /// The size of its files, in bytes.
    pub size: u64,
    /// Whether it contains a fixture release.
    pub fixture: bool,
    /// The reason of its revocation, if it is revoked.
    pub revoked: Option<String>,
    /// The removal of its artifact, if it was removed.
    pub removed: Option<Removal>,
    /// The channels that point to it.
    pub channels: Vec<String>,
}

/// The result of the last test of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestState {
    /// The last test passed.
    Tested,
    /// The last test failed.
    Failed,
    /// There is no test.
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

impl RecordedManifest {
    /// Returns the result of the last test.
    pub fn state(&self) -> TestState {
        match self.tests.last() {
            Some(test) if test.passed => TestState::Tested,
            Some(_) => TestState::Failed,
            None => TestState::Untested,
        }
    }
}

impl<B: Backend> Store<B> {
    /// Returns the digest of the manifest that a reference means. A name alone means the manifest
    /// that was recorded last.
    pub async fn resolve(&self, reference: &Reference) -> Result<Digest, StoreError> {
        let (history, _) = self.history_about(Some(reference)).await?;
        let recorded = history.recorded();
        let found: Vec<&RecordedManifest> = match reference {
            Reference::Version { image, version } => {
                history.by_name(image, *version).into_iter().collect()
            }
            Reference::Newest { image } => {
                let of_image = recorded.iter().rev().filter(|one| one.put.image == *image);
                of_image.take(1).collect()
            }
            Reference::Digest { hex } => {
                let with = |one: &&RecordedManifest| one.put.manifest.hex().starts_with(hex);
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

    /// Reads and checks the manifest with this digest.
    pub async fn manifest(&self, digest: &Digest) -> Result<Manifest, StoreError> {
        self.read_manifest(digest, &self.object(digest).await?)
    }

    /// Parses and checks the bytes of a manifest.
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

    /// Returns the recorded fields of a manifest.
    pub async fn recorded(&self, manifest: &Digest) -> Result<RecordedManifest, StoreError> {
        let about = Reference::Digest {
            hex: manifest.hex(),
        };
        let (history, _) = self.history_about(Some(&about)).await?;
        history.known(manifest).cloned()
    }

    /// Reads and checks the tests of a manifest, oldest first.
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

    /// Returns the first free version of the scheme `YYYY.MMDD.N` on `date`, above all existing
    /// ones.
    pub async fn next_version(&self, image: &str, date: Date) -> Result<ImageVersion, StoreError> {
        let first = ImageVersion::first_of(date);
        let history = self.history().await?;
        let of_day =
            |one: &&RecordedManifest| one.put.image == image && one.put.version.same_series(first);
        let taken = history.recorded().iter().filter(of_day);
        match taken.map(|one| one.put.version).max() {
            None => Ok(first),
            Some(last) => last
                .next()
                .ok_or_else(|| StoreError::NoVersionLeft(image.to_owned())),
        }
    }

    /// Returns all recorded images, by name and then in the order of recording. Revocations are
    /// those in force at `now`.
    pub async fn images(&self, now: Timestamp) -> Result<Vec<ImageRow>, StoreError> {
        let (mut history, mut cache) = self.history_about(None).await?;
        let is_in_force = |one: &Revocation| one.is_in_force(now);
        let any_revoked = history.revocations().iter().any(is_in_force);
        if any_revoked {
            // A rule may concern any manifest.
            (history, cache) = (self.history().await?, None);
        }
        // Listed after the history: artifacts are stored before the records that refer to them.
        let mut artifacts = self.backend.list("artifacts/").await?;
        let mut rows = Vec::new();
        if let Some(mut cache) = cache {
            let head = cache.frame().head;
            let complete = cache.for_each(|one| {
                // Newer entries may have changed it.
                let one = history.by_digest(&one.put.manifest).unwrap_or(&one);
                rows.push(row(one, &artifacts));
            });
            match complete {
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

/// Fills in the channels of each row.
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

/// Returns the row of a manifest. `artifacts` are the names of the artifacts in the store, sorted.
fn row(recorded: &RecordedManifest, artifacts: &[String]) -> ImageRow {
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
