//! The result of checking a whole store: defects, void entries, leftovers, and the limits of the
//! check.

use serde::Serialize;

use super::StoreError;
use super::history::VoidEntry;
use crate::terminal::visible_line;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The log and all objects.
    Records,
    /// The artifacts as well.
    Artifacts,
}

/// The result of checking a whole store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The number of log entries.
    pub entries: u64,
    /// The number of manifests in force.
    pub manifests: u64,
    /// The number of test records in force.
    pub tests: u64,
    /// The number of rollouts in force.
    pub rollouts: u64,
    /// The number of hashed objects.
    pub objects: u64,
    /// The number of hashed artifacts.
    pub artifacts: u64,
    /// Missing or altered records. If empty, the store is sound.
    pub findings: Vec<Defect>,
    /// Log entries without effect.
    pub voids: Vec<VoidEntry>,
    /// Objects that no record refers to: a killed writer left them, or the end of the log is gone.
    pub left_over: Vec<String>,
    /// Artifacts of recorded images that are not in the store.
    pub artifacts_missing: Vec<MissingArtifact>,
    /// Artifacts whose removal is logged but whose files still exist.
    pub removals_unfinished: Vec<String>,
    /// Files next to the artifacts whose names are not valid in a store.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stray: Vec<String>,
    /// What the check proves. Empty if the store is not sound.
    pub proved: Vec<&'static str>,
    /// What the check cannot prove, and what would.
    pub not_proved: Vec<&'static str>,
}

/// An artifact that is not in the store, although no event removed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingArtifact {
    /// The name of its file in the store.
    pub file: String,
    /// The images with this artifact, as `image@version`.
    pub images: Vec<String>,
    /// The channels that point to one of them. If there is one, the store is not sound.
    pub channels: Vec<String>,
}

impl MissingArtifact {
    pub(super) fn new(file: String) -> Self {
        Self {
            file,
            images: Vec::new(),
            channels: Vec::new(),
        }
    }
}

/// A missing or altered record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defect {
    /// The name of the object, entry or file.
    pub what: String,
    /// The defect.
    pub why: String,
}

impl VerifyReport {
    /// Whether there are no defects.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// Adds what a check of this `depth` proves, and what it cannot. `pinned`: the caller gave a
    /// trust policy.
    pub(super) fn record_proof(&mut self, depth: Depth, pinned: bool) {
        if !pinned {
            self.not_proved
                .push("that the trust policy is the right one: pass your own copy with --trust");
        }
        if depth == Depth::Records {
            self.not_proved
                .push("the content of the image files: leave out --records-only");
        }
        self.not_proved.extend([
            "that this is not an older copy: a pin file, or an earlier read by this user, shows that",
            "that an image still passes its checks: `vault-bake test` boots it again",
        ]);
        if !self.is_sound() {
            return;
        }
        self.proved.extend([
            "every log entry follows the one before, and a key of the trust policy signed it",
            "every manifest and test record is signed by a key that may record its image",
            "every rollout record is signed by a key that may operate its cluster",
            "every object has the digest in its name, and no record refers to a missing one",
        ]);
        if depth == Depth::Artifacts {
            self.proved
                .push("every image file has the digest in its manifest");
        }
        if pinned {
            self.proved
                .push("the given trust policy is, or was, in force");
        }
    }

    /// Turns an integrity error into a defect. Other errors end the check.
    pub(super) fn keep<T>(
        &mut self,
        result: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(StoreError::Integrity { what, why }) => {
                self.findings.push(Defect { what, why });
                Ok(None)
            }
            Err(error @ StoreError::Unreadable { .. }) if error.is_integrity() => {
                self.find("manifest", error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn add(&mut self, part: Self) {
        let Self {
            entries,
            manifests,
            tests,
            // Counted for the whole store alone.
            rollouts: _,
            objects,
            artifacts,
            findings,
            voids,
            left_over,
            artifacts_missing,
            removals_unfinished,
            // Set for the whole store alone.
            stray: _,
            proved: _,
            not_proved: _,
        } = part;
        self.entries += entries;
        self.manifests += manifests;
        self.tests += tests;
        self.objects += objects;
        self.artifacts += artifacts;
        self.findings.extend(findings);
        self.voids.extend(voids);
        self.left_over.extend(left_over);
        self.artifacts_missing.extend(artifacts_missing);
        self.removals_unfinished.extend(removals_unfinished);
    }

    pub(super) fn find(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.findings.push(Defect {
            what: what.into(),
            why: why.into(),
        });
    }
}

impl std::fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            entries,
            manifests,
            tests,
            rollouts,
            objects,
            artifacts,
            ..
        } = self;
        for Defect { what, why } in &self.findings {
            writeln!(f, "WRONG     {what}: {why}")?;
        }
        for void in &self.voids {
            writeln!(f, "void      entry {}: {}", void.seq, void.why)?;
        }
        let in_no_channel = |one: &&MissingArtifact| one.channels.is_empty();
        for one in self.artifacts_missing.iter().filter(in_no_channel) {
            let MissingArtifact { file, images, .. } = one;
            writeln!(f, "missing   {file}: {}; in no channel", images.join(", "))?;
        }
        for what in &self.removals_unfinished {
            let hint =
                "the removal is logged, but the file exists; `vault-bake gc --apply` removes it";
            writeln!(f, "unfinished {what}: {hint}")?;
        }
        for what in &self.stray {
            let what = visible_line(what);
            writeln!(
                f,
                "stray     {what}: not a file of the store: move it elsewhere"
            )?;
        }
        for what in &self.left_over {
            writeln!(f, "left over {what}")?;
        }
        let result = if self.is_sound() {
            "sound"
        } else {
            "NOT SOUND"
        };
        for what in &self.proved {
            writeln!(f, "proved     {what}")?;
        }
        for what in &self.not_proved {
            writeln!(f, "NOT PROVED {what}")?;
        }
        write!(
            f,
            "{result}: {entries} log entries, {manifests} manifests, {tests} tests, {rollouts} rollouts, {objects} objects and {artifacts} image files read"
        )
    }
}
