//! Collects the uses of artifacts outside of the log: pins, listed nodes, nodes of clusters on this
//! computer, and its processes.
//! A line that matches two images keeps both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::digest::Digest;
use crate::process;
use crate::store::backend::{ARTIFACTS, ArtifactName, Backend, BackendError, is_store_name};
use crate::store::event::Retention;
use crate::store::{Store, StoreError};

/// The smallest number of hex digits that a line identifies an image by.
const LEAST_DIGITS: usize = 12;

/// The uses of artifacts outside of the log, as far as the caller has checked.
#[derive(Clone, Debug, Default)]
pub struct ExternalUses {
    /// The descriptions of the pins of each manifest.
    pins: BTreeMap<Digest, BTreeSet<String>>,
    pin_files: u64,
    /// The descriptions of the nodes that were made from each manifest.
    nodes: BTreeMap<Digest, BTreeSet<String>>,
    /// The lines of `--in-use` lists: in lower case, and unchanged.
    lines: Vec<(String, String)>,
    lists: u64,
    /// The processes that use each file.
    open: BTreeMap<ArtifactName, BTreeSet<String>>,
    not_seen: Vec<String>,
    stray: Vec<String>,
}

/// The names by which a list may refer to an image.
pub(super) struct Names<'a> {
    pub image: &'a str,
    /// `image@version`.
    pub name: &'a str,
    /// The ids of its outputs at their targets.
    pub ids: &'a [String],
    /// The hex digits of its manifest and of its files.
    pub hex: Vec<String>,
}

impl ExternalUses {
    /// Adds the pins of a verified pin file: manifests, each with a description.
    pub fn add_pins(&mut self, pins: impl IntoIterator<Item = (Digest, String)>) {
        self.pin_files += 1;
        for (manifest, by) in pins {
            self.pins.entry(manifest).or_default().insert(by);
        }
    }

    /// Adds the nodes of a cluster on this computer: manifests, each with a description.
    pub fn add_nodes(&mut self, nodes: impl IntoIterator<Item = (Digest, String)>) {
        for (manifest, by) in nodes {
            self.nodes.entry(manifest).or_default().insert(by);
        }
    }

    /// Adds a list of what running nodes use. A line is the name of an image, `name@version`, an id
    /// of an output, or a text with at least 12 hex digits of a digest, such as a path or
    /// `sha256:…`. Empty lines and lines that begin with `#` are ignored.
    pub fn add_in_use_list(&mut self, list: &str) {
        self.lists += 1;
        let lines = list.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        self.lines
            .extend(lines.map(|line| (line.to_lowercase(), line.to_owned())));
    }

    /// Returns the sources that were not checked, in words.
    pub fn unchecked_sources(&self) -> Vec<String> {
        let mut lines = self.not_seen.clone();
        if self.pin_files == 0 {
            lines.push("pin files: none was given (--pins, for each deployment)".to_owned());
        }
        if self.lists == 0 {
            lines.push(
                "other nodes, and closed disks that are based on an image: no list was given (--in-use)"
                    .to_owned(),
            );
        }
        lines
    }

    /// Returns `keep` with the number of checked pin files and lists.
    pub(super) fn with_counts(&self, keep: Retention) -> Retention {
        Retention {
            pin_files: self.pin_files,
            in_use_lists: self.lists,
            ..keep
        }
    }

    /// Returns what the plan with `keep` was based on and is missing now.
    pub(super) fn missing_since(&self, keep: &Retention) -> Option<String> {
        let missing = |given: u64, planned: u64, what: &str, option: &str| {
            (given < planned).then(|| {
                format!("it was made with {planned} {what} ({option}), now there are {given}")
            })
        };
        let pins = missing(self.pin_files, keep.pin_files, "pin files", "--pins");
        pins.or_else(|| missing(self.lists, keep.in_use_lists, "lists of use", "--in-use"))
    }

    /// Returns the files next to the artifacts whose names are not valid in a store.
    pub fn stray(&self) -> &[String] {
        &self.stray
    }

    pub(super) fn pins_of(&self, manifest: &Digest) -> impl Iterator<Item = &String> {
        self.pins.get(manifest).into_iter().flatten()
    }

    pub(super) fn nodes_of(&self, manifest: &Digest) -> impl Iterator<Item = &String> {
        self.nodes.get(manifest).into_iter().flatten()
    }

    pub(super) fn openers_of(&self, file: &ArtifactName) -> impl Iterator<Item = &String> {
        self.open.get(file).into_iter().flatten()
    }

    /// Matches the lines with `images`. Returns each line with the index of an image that it
    /// matches, and the unmatched lines.
    pub(super) fn match_lines(&self, images: &[Names<'_>]) -> (Vec<(usize, String)>, Vec<String>) {
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
            let mut matched: BTreeSet<usize> = BTreeSet::new();
            matched.extend(words.get(lower).into_iter().flatten());
            for run in hex_runs(lower) {
                let from = digits.range(run..);
                let matching = from.take_while(|(hex, _)| hex.starts_with(run));
                matched.extend(matching.flat_map(|(_, indexes)| indexes));
            }
            if matched.is_empty() {
                unmatched.push(line.clone());
            }
            found.extend(matched.into_iter().map(|at| (at, line.clone())));
        }
        (found, unmatched)
    }
}

/// Returns the runs of hex digits that are long enough to identify an image.
fn hex_runs(text: &str) -> impl Iterator<Item = &str> {
    let runs = text.split(|c: char| !c.is_ascii_hexdigit());
    runs.filter(|run| (LEAST_DIGITS..=64).contains(&run.len()))
}

impl<B: Backend> Store<B> {
    /// Adds the artifacts that processes of this machine use, according to `proc`, its `/proc`.
    /// Works only for a store in a folder.
    pub async fn scan_processes(
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
        for (path, processes) in users.by_file {
            let users = outside.open.entry(files[&path].clone()).or_default();
            users.extend(processes);
        }
        if users.unreadable_processes > 0 {
            outside.not_seen.push(format!(
                "{} processes of this machine, whose open files only root can read",
                users.unreadable_processes
            ));
        }
        Ok(())
    }
}
