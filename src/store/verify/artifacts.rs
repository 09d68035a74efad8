//! Checks that the files of artifacts exist and have the digests in the records.

use std::collections::HashSet;

use crate::digest::Digest;
use crate::store::Depth;
use crate::store::backend::{Backend, BackendError};
use crate::store::report::{MissingArtifact, VerifyReport};
use crate::store::{Store, StoreError, log};

impl<B: Backend> Store<B> {
    /// Reports files whose removal is logged. The event is written first, so a removal may be
    /// unfinished.
    pub(super) async fn check_removed(
        &self,
        names: HashSet<String>,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        for name in names {
            if self.backend.exists(&name).await? {
                report.removals_unfinished.push(name);
            }
        }
        report.removals_unfinished.sort_unstable();
        Ok(())
    }

    pub(super) async fn check_artifacts(
        &self,
        artifacts: HashSet<(String, Digest)>,
        depth: Depth,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let mut artifacts: Vec<(String, Digest)> = artifacts.into_iter().collect();
        artifacts.sort_unstable();
        for (name, digest) in artifacts {
            let found = match depth {
                Depth::Records => {
                    let size = self.backend.size(&name).await;
                    size.map(|size| size.map(|_| digest))
                }
                Depth::Artifacts => self.backend.digest(&name).await,
            };
            let found = match found {
                Err(BackendError::NoFile(_)) => {
                    report.find(name, "is not a file: move it out of the store");
                    continue;
                }
                found => found?,
            };
            let Some(found) = found else {
                report.artifacts_missing.push(MissingArtifact::new(name));
                continue;
            };
            report.artifacts += u64::from(depth == Depth::Artifacts);
            if found != digest {
                report.find(name, format!("its content has the digest {found}"));
            }
        }
        Ok(())
    }

    /// Adds the images and channels of missing artifacts. An artifact that a channel needs must not
    /// be missing.
    pub(super) async fn name_missing(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        if report.artifacts_missing.is_empty() {
            return Ok(());
        }
        // Read again, since keeping the history for the whole check would need memory that is
        // rarely used.
        let mut history = self.empty_history();
        let read = log::advance(&mut history, &self.backend).await;
        report.keep(read)?;
        let mut missing = std::mem::take(&mut report.artifacts_missing);
        for recorded in history
            .recorded()
            .iter()
            .filter(|one| one.deleted.is_none())
        {
            let Some(manifest) = report.keep(self.manifest(&recorded.put.manifest).await)? else {
                continue;
            };
            let files = manifest.outputs.iter().map(|output| &output.id);
            let files: Vec<&String> = files.collect();
            for one in missing.iter_mut().filter(|one| files.contains(&&one.file)) {
                let name = recorded.put.name();
                let holders = history.holders(&recorded.put.manifest);
                for (image, channel, _) in holders {
                    let channel = format!("{image}:{channel}");
                    report.find(&one.file, format!("missing: {channel} points to {name}"));
                    one.channels.push(channel);
                }
                one.images.push(name);
            }
        }
        report.artifacts_missing = missing;
        Ok(())
    }
}
