//! What holds artifacts outside of the log: pins, and nodes that run.
//!
//! In: what the caller has read (pin files that were verified, lists of what nodes use, the processes of this machine). Out:
//! who uses a manifest or a file. Deliberately believes every list: a line that fits two images holds both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::digest::Digest;
use crate::process;
use crate::store::backend::{ARTIFACTS, ArtifactName, Backend, BackendError, is_store_name};
use crate::store::event::Keep;
use crate::store::{Store, StoreError};

/// The least hex digits that a line names an image by.
const LEAST_DIGITS: usize = 12;

/// Who holds what, as far as the caller has looked.
#[derive(Clone, Debug, Default)]
pub struct ExternalUses {
    /// By manifest.
    pins: BTreeMap<Digest, BTreeSet<String>>,
    pin_files: u64,
    /// Lines of lists, lower case, and as they stand.
    lines: Vec<(String, String)>,
    lists: u64,
    /// By file in the store.
    open: BTreeMap<ArtifactName, BTreeSet<String>>,
    not_seen: Vec<String>,
    stray: Vec<String>,
}

/// What an image may be called in a list.
pub(super) struct Names<'a> {
    pub image: &'a str,
    /// `image@version`.
    pub name: &'a str,
    /// What targets know its outputs by.
    pub ids: &'a [String],
    /// Hex digits: of its manifest, of its files.
    pub hex: Vec<String>,
}

impl ExternalUses {
    /// A pin file was read and proved: it holds these manifests, each by the name that people are shown.
    pub fn pinned(&mut self, pins: impl IntoIterator<Item = (Digest, String)>) {
        self.pin_files += 1;
        for (manifest, by) in pins {
            self.pins.entry(manifest).or_default().insert(by);
        }
    }

    /// A list of what running nodes use was read: in each line an image's name, `name@version`, an id that a target knows it
    /// by, or anything with at least 12 hex digits of its digest or its file's, as paths and `sha256:…` have. Empty lines and
    /// those that begin with `#` say nothing.
    pub fn in_use(&mut self, list: &str) {
        self.lists += 1;
        let lines = list.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        self.lines
            .extend(lines.map(|line| (line.to_lowercase(), line.to_owned())));
    }

    /// What could not be looked at, in words.
    pub fn not_seen(&self) -> Vec<String> {
        let mut lines = self.not_seen.clone();
        if self.pin_files == 0 {
            lines.push(
                "pin files: none was given; give those of all deployments with --pins".to_owned(),
            );
        }
        if self.lists == 0 {
            lines.push(
                "nodes elsewhere, and disks that build on an image and are not open now: give what they use with --in-use"
                    .to_owned(),
            );
        }
        lines
    }

    /// `keep`, with how many pin files and lists were looked at.
    pub(super) fn counted(&self, keep: Keep) -> Keep {
        Keep {
            pin_files: self.pin_files,
            in_use_lists: self.lists,
            ..keep
        }
    }

    /// What was looked at when `keep` was written down, and has not been now.
    pub(super) fn lacks(&self, keep: &Keep) -> Option<String> {
        let lacking = |had: u64, wanted: u64, what: &str, option: &str| {
            (had < wanted).then(|| {
                format!("it was made with {what}: {wanted}, and {had} given now; give them all again with {option}")
            })
        };
        let pins = lacking(self.pin_files, keep.pin_files, "pin files", "--pins");
        pins.or_else(|| lacking(self.lists, keep.in_use_lists, "lists of use", "--in-use"))
    }

    /// Files beside the artifacts whose names no store gives, so that no image can need them.
    pub fn stray(&self) -> &[String] {
        &self.stray
    }

    pub(super) fn pins_of(&self, manifest: &Digest) -> impl Iterator<Item = &String> {
        self.pins.get(manifest).into_iter().flatten()
    }

    pub(super) fn openers_of(&self, file: &ArtifactName) -> impl Iterator<Item = &String> {
        self.open.get(file).into_iter().flatten()
    }

    /// For every line the images that it means, by their places in `images`; and the lines that mean none.
    pub(super) fn lines_about(&self, images: &[Names<'_>]) -> (Vec<(usize, String)>, Vec<String>) {
        if self.lines.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let mut words: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut digits: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, one) in images.iter().enumerate() {
            let all = [one.image, one.name].into_iter();
            for word in all.chain(one.ids.iter().map(String::as_str)) {
                words.entry(word.to_lowercase()).or_default().push(at);
            }
            for hex in &one.hex {
                digits.entry(hex).or_default().push(at);
            }
        }
        let (mut found, mut unmatched) = (Vec::new(), Vec::new());
        for (lower, line) in &self.lines {
            let mut meant: BTreeSet<usize> = BTreeSet::new();
            meant.extend(words.get(lower).into_iter().flatten());
            for run in hex_runs(lower) {
                let from = digits.range(run..);
                let fitting = from.take_while(|(hex, _)| hex.starts_with(run));
                meant.extend(fitting.flat_map(|(_, places)| places));
            }
            if meant.is_empty() {
                unmatched.push(line.clone());
            }
            found.extend(meant.into_iter().map(|at| (at, line.clone())));
        }
        (found, unmatched)
    }
}

/// Runs of hex digits that are long enough to mean something.
fn hex_runs(text: &str) -> impl Iterator<Item = &str> {
    let runs = text.split(|c: char| !c.is_ascii_hexdigit());
    runs.filter(|run| (LEAST_DIGITS..=64).contains(&run.len()))
}

impl<B: Backend> Store<B> {
    /// Looks which artifacts the processes of this machine use, by `proc`, its `/proc`. Only of a store in a folder can that
    /// be told.
    pub async fn see_processes(
        &self,
        outside: &mut ExternalUses,
        proc: &Path,
    ) -> Result<(), StoreError> {
        let mut files = BTreeMap::new();
        for name in self.backend.list(ARTIFACTS).await? {
            if !is_store_name(&name) {
                outside.stray.push(name);
                continue;
            }
            if let Some(path) = self.backend.local_file(&name)? {
                files.insert(path, ArtifactName::new(&name)?);
            }
        }
        if files.is_empty() {
            return Ok(());
        }
        let paths: Vec<_> = files.keys().cloned().collect();
        let users = process::users(proc, &paths).map_err(|error| BackendError::Io {
            name: proc.display().to_string(),
            error,
        })?;
        for (path, who) in users.of {
            let users = outside.open.entry(files[&path].clone()).or_default();
            users.extend(who);
        }
        if users.hidden > 0 {
            outside.not_seen.push(format!(
                "{} processes of this machine, whose open files may not be read: run it as root",
                users.hidden
            ));
        }
        Ok(())
    }
}
