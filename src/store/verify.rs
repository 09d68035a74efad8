//! Checks the records of a store for consistency, and reports every missing, altered or swapped
//! one.
//! If only the last log entries are gone, their records are reported as left over. A reader with an
//! older head can prove more.

mod artifacts;
mod rollouts;

use std::collections::HashSet;
use std::iter;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::backend::{ARTIFACTS, Backend, BackendError, is_store_name};
use super::event::{ManifestPut, entry_seq};
use super::history::{History, RecordedManifest};
use super::log::{self, LogView};
use super::parallel::{in_order, join};
use super::report::{Depth, VerifyReport};
use super::{Store, StoreError, object_digest, object_name};
use crate::digest::Digest;
use crate::manifest::CHECKS_ROLE;
use crate::sign::{Envelope, Role, Trust};

/// The objects and artifacts that records refer to. Each is checked once.
#[derive(Default)]
struct Named {
    /// Manifests, tests and envelopes. They were checked when they were read.
    records: Vec<Digest>,
    packages: HashSet<Digest>,
    /// Plans of rollouts.
    plans: HashSet<Digest>,
    artifacts: HashSet<(String, Digest)>,
    /// Artifacts whose removal is logged. Other images may still need them.
    removed: HashSet<String>,
}

/// A record in its envelope.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    /// The entry that refers to it.
    seq: u64,
    payload: Digest,
    envelope: Digest,
    /// The role that its keys must have.
    role: Role,
    /// The name of the image, or of the cluster.
    of: &'a str,
}

impl<'a> Signed<'a> {
    /// Returns a manifest.
    pub(super) fn manifest(recorded: &'a RecordedManifest) -> Self {
        Self {
            seq: recorded.seq,
            payload: recorded.put.manifest,
            envelope: recorded.put.envelope,
            role: Role::Builder,
            of: &recorded.put.image,
        }
    }

    /// Returns a record by an operator of the cluster `of`.
    pub(super) fn operator(seq: u64, payload: Digest, envelope: Digest, of: &'a str) -> Self {
        Self {
            seq,
            payload,
            envelope,
            role: Role::Operator,
            of,
        }
    }

    /// Returns a manifest and its tests.
    pub(super) fn with_tests(recorded: &'a RecordedManifest) -> impl Iterator<Item = Self> {
        let manifest = Self::manifest(recorded);
        let tests = recorded.tests.iter().map(move |one| Self {
            seq: one.seq,
            payload: one.test,
            envelope: one.envelope,
            ..manifest
        });
        iter::once(manifest).chain(tests)
    }
}

/// How many manifests one task reads.
const AT_A_TIME: usize = 128;

impl<B: Backend> Store<B> {
    /// Reads and checks all records, on all processors. Fails if the store cannot be read. Defects
    /// are in the report, in a stable order.
    pub async fn verify(&self, depth: Depth) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        let mut history = self.empty_history();
        let replayed = log::advance(&mut history, &self.backend).await;
        let replayed = match replayed {
            Ok(()) => log::check_end(&mut history, &self.backend, LogView::Everywhere).await,
            broken => broken,
        };
        report.keep(replayed)?;
        report.keep(self.check_pinned(&history))?;
        report.entries = history.head();
        report.voids = history.voids().to_vec();
        let backend = self.backend.clone();
        let entries = tokio::spawn(async move { backend.list("log/").await });
        let mut named = Named::default();
        self.check_rollouts(&history, &mut named, &mut report)
            .await?;
        self.check_manifests(history, &mut named, &mut report)
            .await?;
        check_entries(join(entries.await)?, &mut report);
        // Listed only now: the history, which needs as much memory, has been dropped.
        let objects = self.list_objects().await?;
        let mut names = self.backend.list(ARTIFACTS).await?;
        names.retain(|name| !is_store_name(name));
        report.stray = names;
        let packages = std::mem::take(&mut named.packages);
        named.records.extend(&packages);
        self.check_packages(packages, &mut report).await?;
        let kept = named.artifacts.iter().map(|(name, _)| name);
        kept.for_each(|name| _ = named.removed.remove(name));
        self.check_removed(named.removed, &mut report).await?;
        self.check_artifacts(named.artifacts, depth, &mut report)
            .await?;
        self.name_missing(&mut report).await?;
        self.check_objects(objects, named.records, &mut report)
            .await?;
        report.record_proof(depth, self.pinned.is_some());
        Ok(report)
    }

    async fn check_manifests(
        &self,
        history: History,
        named: &mut Named,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let history = Arc::new(history);
        let starts = (0..history.recorded().len()).step_by(AT_A_TIME);
        let pieces = starts.map(|from| {
            let (store, history) = (self.share(), history.clone());
            async move {
                let (mut report, mut named) = (VerifyReport::default(), Named::default());
                let end = history.recorded().len().min(from + AT_A_TIME);
                let recorded = &history.recorded()[from..end];
                let signed: Vec<Signed> = recorded.iter().flat_map(Signed::with_tests).collect();
                let mut checked = store.check_envelopes(&history, &signed).await.into_iter();
                for recorded in recorded {
                    let mut payload = None;
                    for (signed, checked) in Signed::with_tests(recorded).zip(&mut checked) {
                        named.records.extend([signed.payload, signed.envelope]);
                        let bytes = report.keep(checked)?;
                        if signed.payload == recorded.put.manifest {
                            payload = bytes;
                        }
                    }
                    let checked = store.check_recorded(recorded, payload, &mut named, &mut report);
                    checked.await?;
                }
                Ok::<_, StoreError>((report, named))
            }
        });
        in_order(pieces, |part| {
            let (part, of_part) = part?;
            report.add(part);
            named.records.extend(of_part.records);
            named.packages.extend(of_part.packages);
            named.artifacts.extend(of_part.artifacts);
            named.removed.extend(of_part.removed);
            Ok::<_, StoreError>(ControlFlow::Continue(()))
        })
        .await
    }

    /// Checks a manifest and the objects that it refers to. `payload` is its signed content, if
    /// that was readable.
    async fn check_recorded(
        &self,
        recorded: &RecordedManifest,
        payload: Option<Vec<u8>>,
        named: &mut Named,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        report.manifests += 1;
        let put = &recorded.put;
        for tested in &recorded.tests {
            report.tests += 1;
            if let Some(record) = report.keep(self.test(&tested.test).await)?
                && (record.manifest, record.passed) != (put.manifest, tested.passed)
            {
                report.find(object_name(&tested.test), "contradicts the log");
            }
        }
        let manifest = match &payload {
            Some(payload) if self.keeps(&put.manifest, payload).await? => {
                self.read_manifest(&put.manifest, payload)
            }
            _ => self.manifest(&put.manifest).await,
        };
        let Some(manifest) = report.keep(manifest)? else {
            return Ok(());
        };
        if ManifestPut::from_manifest(&manifest, put.manifest, put.envelope) != *put {
            let why = format!("the log contradicts {}", manifest.name());
            report.find(object_name(&put.manifest), why);
        }
        named.packages.insert(manifest.packages.digest);
        // Checked here, since the manifest has its size. Few manifests share one.
        named
            .records
            .extend(manifest.sbom.iter().map(|sbom| sbom.digest));
        let inputs = manifest.inputs.iter();
        for checks in inputs.filter(|input| input.role == CHECKS_ROLE) {
            named.records.push(checks.digest);
            report.keep(self.object(&checks.digest).await)?;
        }
        report.keep(self.sbom(&manifest).await)?;
        let outputs = manifest.outputs.into_iter();
        let local = outputs.filter_map(|one| Some((one.local_file()?.digest, one.id)));
        match recorded.deleted {
            None => (named.artifacts).extend(local.map(|(digest, id)| (id, digest))),
            Some(_) => named.removed.extend(local.map(|(_, id)| id)),
        }
        Ok(())
    }

    async fn check_packages(
        &self,
        packages: HashSet<Digest>,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let mut packages: Vec<Digest> = packages.into_iter().collect();
        packages.sort_unstable();
        let pieces = packages.into_iter().map(|digest| {
            let store = self.share();
            async move { store.package_list(&digest).await }
        });
        in_order(pieces, |list| {
            report.keep(list)?;
            Ok(ControlFlow::Continue(()))
        })
        .await
    }

    /// Whether the object `digest` has exactly these bytes.
    async fn keeps(&self, digest: &Digest, bytes: &[u8]) -> Result<bool, StoreError> {
        let kept = self.backend.get(&object_name(digest)).await?;
        Ok(kept.as_deref() == Some(bytes))
    }

    /// Checks that records are signed under the policy of the entries that refer to them. Returns
    /// their payloads, in the same order.
    pub(super) async fn check_envelopes(
        &self,
        history: &History,
        signed: &[Signed<'_>],
    ) -> Vec<Result<Vec<u8>, StoreError>> {
        let mut envelopes = Vec::new();
        for one in signed {
            envelopes.push(self.envelope(&one.envelope, &one.payload).await);
        }
        let policies = signed.iter().map(|one| history.trust_at(one.seq));
        let policies: Vec<&Trust> = policies.collect();
        let read = envelopes.iter().zip(&policies);
        let read: Vec<_> = read
            .filter_map(|(envelope, trust)| Some((envelope.as_ref().ok()?, *trust)))
            .collect();
        let mut signers = Envelope::signers_of(&read).into_iter();
        let each = signed.iter().zip(policies).zip(envelopes);
        each.map(|((one, trust), envelope)| {
            let envelope = envelope?;
            let broken = |why: String| StoreError::integrity(object_name(&one.envelope), why);
            let signers = signers.next().expect("as many as envelopes were read");
            let signers = signers.map_err(|error| broken(error.to_string()))?;
            if trust.allows(one.role, &signers, one.of, None) {
                Ok(envelope.payload)
            } else {
                let what = match one.role {
                    Role::Operator => "the rollouts of this cluster",
                    _ => "this image",
                };
                Err(broken(format!("none of its keys may record {what}")))
            }
        })
        .collect()
    }

    /// Lists all objects, sorted, and the names in their folder that are not objects.
    async fn list_objects(&self) -> Result<(Vec<Digest>, Vec<String>), BackendError> {
        let mut kept = Vec::new();
        let mut invalid = self.backend.list("objects/").await?;
        invalid.retain(|name| match object_digest(name) {
            Some(digest) => {
                kept.push(digest);
                false
            }
            None => true,
        });
        kept.sort_unstable();
        Ok((kept, invalid))
    }

    /// Checks that every object has the digest in its name, and that every name is one of an
    /// object.
    async fn check_objects(
        &self,
        (kept, invalid): (Vec<Digest>, Vec<String>),
        mut named: Vec<Digest>,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        for name in invalid {
            report.find(name, "is not an object");
        }
        named.sort_unstable();
        let mut named = named.into_iter().peekable();
        for digest in kept {
            report.objects += 1;
            while named.next_if(|named| *named < digest).is_some() {}
            if named.peek() != Some(&digest) {
                // Objects with a reference were hashed when they were read.
                report.keep(self.object(&digest).await)?;
                report.left_over.push(object_name(&digest));
            }
        }
        Ok(())
    }
}

/// Reports all files in the log that are not entries.
fn check_entries(names: Vec<String>, report: &mut VerifyReport) {
    for name in names {
        // Entries after the head were checked by the replay.
        if entry_seq(&name).is_none_or(|seq| seq == 0) {
            report.find(name, "is not an entry of the log: move it out of the store");
        }
    }
}
