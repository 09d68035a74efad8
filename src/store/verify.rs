//! Checks all that is stored, against itself.
//!
//! Sees every changed, swapped or dropped record but one: where the last entries of the log are gone together with
//! nothing else, what they named stays behind and is reported as left over. Only somebody who remembers the head can
//! say more.

use std::collections::BTreeSet;

use serde::Serialize;

use super::backend::Backend;
use super::event::ManifestPut;
use super::history::{History, Recorded, Void};
use super::log::{self, ENTRIES, entry_name};
use super::{Store, StoreError, object_name};
use crate::digest::Digest;
use crate::sign::Role;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The log and every object.
    Records,
    /// The artifacts as well.
    Artifacts,
}

/// What a check of the whole store found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Entries of the log.
    pub entries: u64,
    /// Manifests in force.
    pub manifests: u64,
    /// Test records in force.
    pub tests: u64,
    /// Objects that were hashed.
    pub objects: u64,
    /// Artifacts that were hashed.
    pub artifacts: u64,
    /// What is not as it was stored. Empty: the store is sound.
    pub findings: Vec<Finding>,
    /// Entries without effect.
    pub voids: Vec<Void>,
    /// Objects that nothing names: left by a writer that was killed, or by a log whose end is gone.
    pub left_over: Vec<String>,
    /// Artifacts of recorded images that are not there.
    pub artifacts_missing: Vec<String>,
}

/// Something that is not as it was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the object, entry or file.
    pub what: String,
    /// What is wrong.
    pub why: String,
}

impl Report {
    /// Whether everything is as it was stored.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// Keeps an integrity error as a finding; others end the check.
    fn keep<T>(&mut self, result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(StoreError::Integrity { what, why }) => {
                self.findings.push(Finding { what, why });
                Ok(None)
            }
            Err(error @ StoreError::Unreadable { .. }) if error.is_integrity() => {
                self.find("manifest", error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn find(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.findings.push(Finding {
            what: what.into(),
            why: why.into(),
        });
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            entries,
            manifests,
            tests,
            objects,
            artifacts,
            ..
        } = self;
        for Finding { what, why } in &self.findings {
            writeln!(f, "WRONG     {what}: {why}")?;
        }
        for void in &self.voids {
            writeln!(f, "void      entry {}: {}", void.seq, void.why)?;
        }
        for what in &self.artifacts_missing {
            writeln!(f, "missing   {what}")?;
        }
        for what in &self.left_over {
            writeln!(f, "left over {what}")?;
        }
        let verdict = if self.is_sound() {
            "sound"
        } else {
            "NOT SOUND"
        };
        write!(
            f,
            "{verdict}: {entries} log entries, {manifests} manifests, {tests} tests, {objects} objects and {artifacts} image files read"
        )
    }
}

impl<B: Backend> Store<B> {
    /// Reads and checks everything. An error means that it could not be read; what is wrong is in the report.
    pub async fn verify(&self, depth: Depth) -> Result<Report, StoreError> {
        let mut report = Report::default();
        let mut history = self.empty_history();
        let replayed = log::advance(&mut history, &self.backend).await;
        let replayed = match replayed {
            Ok(()) => log::check_end(&mut history, &self.backend).await,
            broken => broken,
        };
        report.keep(replayed)?;
        report.keep(self.check_pinned(&history))?;
        report.entries = history.head();
        report.voids = history.voids().to_vec();
        self.check_entries(&history, &mut report).await?;
        let mut named = BTreeSet::new();
        for recorded in history.recorded() {
            self.check_recorded(&history, recorded, depth, &mut named, &mut report)
                .await?;
        }
        self.check_objects(&named, &mut report).await?;
        Ok(report)
    }

    /// Nothing but entries in the log.
    async fn check_entries(
        &self,
        history: &History,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let known: BTreeSet<String> = (1..=history.head()).map(entry_name).collect();
        // What comes after the head was judged by the replay.
        let next = entry_name(history.head() + 1);
        for name in self.backend.list("log/").await? {
            let judged = name.starts_with(ENTRIES) && name >= next;
            if !judged && !known.contains(&name) {
                report.find(name, "is no entry of the log");
            }
        }
        Ok(())
    }

    async fn check_recorded(
        &self,
        history: &History,
        recorded: &Recorded,
        depth: Depth,
        named: &mut BTreeSet<String>,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        report.manifests += 1;
        let put = &recorded.put;
        let signed = [(recorded.seq, put.manifest, put.envelope)].into_iter();
        let tests = recorded.tests.iter();
        let signed = signed.chain(tests.map(|one| (one.seq, one.test, one.envelope)));
        for (seq, payload, envelope) in signed {
            named.extend([object_name(&payload), object_name(&envelope)]);
            let checked = self.check_envelope(history, seq, &payload, &envelope, &put.image);
            report.keep(checked.await)?;
        }
        for tested in &recorded.tests {
            report.tests += 1;
            if let Some(record) = report.keep(self.test(&tested.test).await)?
                && (record.manifest, record.passed) != (put.manifest, tested.passed)
            {
                report.find(object_name(&tested.test), "says another thing than the log");
            }
        }
        let Some(manifest) = report.keep(self.manifest(&put.manifest).await)? else {
            return Ok(());
        };
        if ManifestPut::of(&manifest, put.manifest, put.envelope) != *put {
            let why = format!(
                "the log says other things of it than {} itself",
                manifest.name()
            );
            report.find(object_name(&put.manifest), why);
        }
        named.insert(object_name(&manifest.packages.digest));
        report.keep(self.packages(&manifest).await)?;
        named.extend(manifest.sbom.iter().map(|sbom| object_name(&sbom.digest)));
        report.keep(self.sbom(&manifest).await)?;
        for output in manifest.outputs.iter().filter(|one| one.target == "local") {
            if recorded.deleted.is_some() {
                continue;
            }
            self.check_artifact(&output.id, &output.file.digest, depth, report)
                .await?;
        }
        Ok(())
    }

    /// A record is signed by those who may, judged as the log judged the event that names it.
    pub(super) async fn check_envelope(
        &self,
        history: &History,
        seq: u64,
        payload: &Digest,
        envelope: &Digest,
        image: &str,
    ) -> Result<(), StoreError> {
        let trust = history.trust_at(seq);
        let broken = |why: String| StoreError::integrity(object_name(envelope), why);
        let signers = self.envelope(envelope, payload).await?.signers(trust);
        let signers = signers.map_err(|error| broken(error.to_string()))?;
        if !trust.allows(Role::Builder, &signers, image, None) {
            return Err(broken("none of its keys may record this image".to_owned()));
        }
        Ok(())
    }

    async fn check_artifact(
        &self,
        name: &str,
        digest: &Digest,
        depth: Depth,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        if depth == Depth::Records {
            if !self.backend.exists(name).await? {
                report.artifacts_missing.push(name.to_owned());
            }
            return Ok(());
        }
        match self.backend.digest(name).await? {
            None => report.artifacts_missing.push(name.to_owned()),
            Some(found) => {
                report.artifacts += 1;
                if found != *digest {
                    report.find(name, format!("its content has the digest {found}"));
                }
            }
        }
        Ok(())
    }

    /// Every object is what its name says, and every name is one of an object.
    async fn check_objects(
        &self,
        named: &BTreeSet<String>,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        for name in self.backend.list("objects/").await? {
            let hex = name
                .strip_prefix("objects/sha256/")
                .map(|hex| hex.replacen('/', "", 1));
            let digest = hex.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
            let Some(digest) = digest.filter(|digest| object_name(digest) == name) else {
                report.find(name, "is no object");
                continue;
            };
            report.objects += 1;
            if !named.contains(&name) {
                // What is named was hashed when it was read.
                report.keep(self.object(&digest).await)?;
                report.left_over.push(name);
            }
        }
        Ok(())
    }
}
