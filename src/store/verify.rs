//! Checks all that is stored, against itself.
//!
//! Sees every changed, swapped or dropped record but one: where the last entries of the log are gone together with
//! nothing else, what they named stays behind and is reported as left over. Only somebody who remembers the head can
//! say more.

mod artifacts;

use std::collections::HashSet;
use std::iter;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::backend::{ARTIFACTS, Backend, BackendError, is_store_name};
use super::event::ManifestPut;
use super::history::{History, Recorded};
use super::log::{self, LogView, entry_seq};
use super::parallel::{in_order, of_task};
use super::report::Report;
use super::{Store, StoreError, object_digest, object_name};
use crate::digest::Digest;
use crate::manifest::CHECKS_ROLE;
use crate::sign::{Envelope, Role, Trust};

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The log and every object.
    Records,
    /// The artifacts as well.
    Artifacts,
}

/// What some of the records name: each is looked at once, however many name it.
#[derive(Default)]
struct Named {
    /// Manifests, tests and envelopes, which were read where they were named.
    records: Vec<Digest>,
    packages: HashSet<Digest>,
    artifacts: HashSet<(String, Digest)>,
    /// Names of artifacts that the log says were removed; other images may still have them.
    removed: HashSet<String>,
}

/// A record in its envelope.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    /// The entry that names it.
    seq: u64,
    payload: Digest,
    envelope: Digest,
    image: &'a str,
}

impl<'a> Signed<'a> {
    /// A manifest.
    pub(super) fn manifest(recorded: &'a Recorded) -> Self {
        Self {
            seq: recorded.seq,
            payload: recorded.put.manifest,
            envelope: recorded.put.envelope,
            image: &recorded.put.image,
        }
    }

    /// A manifest and its tests.
    pub(super) fn of(recorded: &'a Recorded) -> impl Iterator<Item = Self> {
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
    /// Reads and checks everything, on all processors. An error means that it could not be read; what is wrong is in the
    /// report, in the same order every time.
    pub async fn verify(&self, depth: Depth) -> Result<Report, StoreError> {
        let mut report = Report::default();
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
        let mut named = self.check_manifests(history, &mut report).await?;
        check_entries(of_task(entries.await)?, &mut report);
        // The names of a large store take as much memory as a part of its history, which is gone by now.
        let objects = self.kept_objects().await?;
        let mut there = self.backend.list(ARTIFACTS).await?;
        there.retain(|name| !is_store_name(name));
        report.stray = there;
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
        report: &mut Report,
    ) -> Result<Named, StoreError> {
        let history = Arc::new(history);
        let mut named = Named::default();
        let starts = (0..history.recorded().len()).step_by(AT_A_TIME);
        let pieces = starts.map(|from| {
            let (store, history) = (self.share(), history.clone());
            async move {
                let (mut report, mut named) = (Report::default(), Named::default());
                let end = history.recorded().len().min(from + AT_A_TIME);
                let recorded = &history.recorded()[from..end];
                let signed: Vec<Signed> = recorded.iter().flat_map(Signed::of).collect();
                let mut checked = store.check_envelopes(&history, &signed).await.into_iter();
                for recorded in recorded {
                    let mut payload = None;
                    for (signed, checked) in Signed::of(recorded).zip(&mut checked) {
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
        .await?;
        Ok(named)
    }

    /// `payload` is what is signed as the manifest, where it is that.
    async fn check_recorded(
        &self,
        recorded: &Recorded,
        payload: Option<Vec<u8>>,
        named: &mut Named,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        report.manifests += 1;
        let put = &recorded.put;
        for tested in &recorded.tests {
            report.tests += 1;
            if let Some(record) = report.keep(self.test(&tested.test).await)?
                && (record.manifest, record.passed) != (put.manifest, tested.passed)
            {
                report.find(object_name(&tested.test), "says another thing than the log");
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
        if ManifestPut::of(&manifest, put.manifest, put.envelope) != *put {
            let why = format!(
                "the log says other things of it than {} itself",
                manifest.name()
            );
            report.find(object_name(&put.manifest), why);
        }
        named.packages.insert(manifest.packages.digest);
        // Read here, at the manifest that names its size too; few share one.
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
        report: &mut Report,
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

    /// Whether `bytes`, which have the digest `digest`, are kept as that object.
    async fn keeps(&self, digest: &Digest, bytes: &[u8]) -> Result<bool, StoreError> {
        let kept = self.backend.get(&object_name(digest)).await?;
        Ok(kept.as_deref() == Some(bytes))
    }

    /// Whether records are signed by those who may, judged as the log judged the events that name them; in their order. Gives
    /// what is signed.
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
            match trust.allows(Role::Builder, &signers, one.image, None) {
                true => Ok(envelope.payload),
                false => Err(broken("none of its keys may record this image".to_owned())),
            }
        })
        .collect()
    }

    /// All objects that there are, sorted; and names that are none of an object.
    async fn kept_objects(&self) -> Result<(Vec<Digest>, Vec<String>), BackendError> {
        let mut kept = Vec::new();
        let mut strange = self.backend.list("objects/").await?;
        strange.retain(|name| match object_digest(name) {
            Some(digest) => {
                kept.push(digest);
                false
            }
            None => true,
        });
        kept.sort_unstable();
        Ok((kept, strange))
    }

    /// Every object is what its name says, and every name is one of an object.
    async fn check_objects(
        &self,
        (kept, strange): (Vec<Digest>, Vec<String>),
        mut named: Vec<Digest>,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        for name in strange {
            report.find(name, "is no object");
        }
        named.sort_unstable();
        let mut named = named.into_iter().peekable();
        for digest in kept {
            report.objects += 1;
            while named.next_if(|named| *named < digest).is_some() {}
            if named.peek() != Some(&digest) {
                // What is named was hashed when it was read.
                report.keep(self.object(&digest).await)?;
                report.left_over.push(object_name(&digest));
            }
        }
        Ok(())
    }
}

/// Nothing but entries in the log.
fn check_entries(names: Vec<String>, report: &mut Report) {
    for name in names {
        // What comes after the head was judged by the replay.
        if entry_seq(&name).is_none_or(|seq| seq == 0) {
            report.find(name, "is no entry of the log: move it out of the store");
        }
    }
}
