//! What a check of a whole store found: what is wrong, what is known now, and what is not.

use serde::Serialize;

use super::history::Void;
use super::{Depth, StoreError};
use crate::terminal::visible_line;

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
    pub findings: Vec<Defect>,
    /// Entries without effect.
    pub voids: Vec<Void>,
    /// Objects that nothing names: left by a writer that was killed, or by a log whose end is gone.
    pub left_over: Vec<String>,
    /// Artifacts of recorded images that are not there.
    pub artifacts_missing: Vec<Missing>,
    /// Artifacts that were removed by the log's word, and are still there: a removal was cut short.
    pub removals_unfinished: Vec<String>,
    /// Files beside the artifacts whose names no store gives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stray: Vec<String>,
    /// What is known now, in words. Nothing where the store is not sound.
    pub proved: Vec<&'static str>,
    /// What is not, and what would tell.
    pub not_proved: Vec<&'static str>,
}

/// An artifact that is not there, although the log does not say that it was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Its file in the store.
    pub file: String,
    /// The images that it belongs to, as `image@version`.
    pub images: Vec<String>,
    /// The channels that hold one of them: then the store is not sound.
    pub channels: Vec<String>,
}

impl Missing {
    pub(super) fn of(file: String) -> Self {
        Self {
            file,
            images: Vec::new(),
            channels: Vec::new(),
        }
    }
}

/// Something that is not as it was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defect {
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

    /// Says what a check of this `depth` proves, and what it cannot. `pinned`: the reader's own policy was held against the
    /// store.
    pub(super) fn record_proof(&mut self, depth: Depth, pinned: bool) {
        let (own, open) = match pinned {
            true => (
                &["the trust policy that you gave is, or was, in force"][..],
                &[][..],
            ),
            false => (
                &[][..],
                &["that its trust policy is the right one: give your own copy with --trust"][..],
            ),
        };
        self.not_proved.extend(open);
        if depth == Depth::Records {
            self.not_proved
                .push("what the image files hold: leave out --records-only");
        }
        self.not_proved.extend([
            "that this is not an older copy: a pin file, or having read the store before, tells",
            "that an image still does what its record says: `vault-bake test` boots it again",
        ]);
        if !self.is_sound() {
            return;
        }
        self.proved.extend([
            "every entry of the log follows the one before, signed by a key of the store's trust policy",
            "every manifest and test record is signed by somebody who may record its image",
            "every object is what its name says, and all that records name are there",
        ]);
        if depth == Depth::Artifacts {
            self.proved
                .push("every image file that is there is the one that its manifest names");
        }
        self.proved.extend(own);
    }

    /// Keeps an integrity error as a finding; others end the check.
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
            objects,
            artifacts,
            findings,
            voids,
            left_over,
            artifacts_missing,
            removals_unfinished,
            // Said of the whole alone.
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
        for Defect { what, why } in &self.findings {
            writeln!(f, "WRONG     {what}: {why}")?;
        }
        for void in &self.voids {
            writeln!(f, "void      entry {}: {}", void.seq, void.why)?;
        }
        let not_held = |one: &&Missing| one.channels.is_empty();
        for one in self.artifacts_missing.iter().filter(not_held) {
            let Missing { file, images, .. } = one;
            writeln!(f, "missing   {file}: {}; in no channel", images.join(", "))?;
        }
        for what in &self.removals_unfinished {
            let hint = "removed by the log, and still there; `vault-bake gc --apply` finishes it";
            writeln!(f, "unfinished {what}: {hint}")?;
        }
        for what in &self.stray {
            let what = visible_line(what);
            writeln!(
                f,
                "stray     {what}: no file of the store: move it out of it"
            )?;
        }
        for what in &self.left_over {
            writeln!(f, "left over {what}")?;
        }
        let verdict = if self.is_sound() {
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
            "{verdict}: {entries} log entries, {manifests} manifests, {tests} tests, {objects} objects and {artifacts} image files read"
        )
    }
}
