//! Looks through a captured disk for what must not be in an image: in its files, and in the blocks that no file has any more.
//!
//! In: a raw disk, the secrets of the run, and the programs that were verified. Out: one record for each rule, and the places where a rule is broken, never what
//! stands there. Files are looked at where the file system is ext2, ext3 or ext4; all other bytes count as they lie. Not seen:
//! what is compressed, or encrypted.

mod bytes;
mod disk;
mod files;
mod names;
mod programs;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::guest_steps::CheckRecord;

pub use bytes::SecretPatterns;
pub use programs::Programs;

use disk::Content;

/// The step that the records name: what is looked at is what `capture` made.
const STEP: &str = "capture";

/// A rule, whatever it looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Stable, as in `disk.host-keys`.
    pub id: &'static str,
    /// What holds where it is kept.
    pub words: &'static str,
}

/// Every rule, in the order of the records.
pub fn rules() -> impl Iterator<Item = Rule> {
    let by_name = names::RULES.iter().map(|rule| rule.rule);
    let by_bytes = bytes::RULES.iter().map(|rule| rule.rule);
    by_name.chain(by_bytes).chain([programs::RULE])
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    /// The rule.
    pub rule: &'static str,
    /// A path in the image, or where on the disk it lies that belongs to no file.
    pub place: String,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.place)
    }
}

/// What was found on a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Broken rules, with no place twice for one rule.
    pub found: BTreeSet<Leak>,
    /// Whether there was a file system to look into.
    pub files: bool,
    /// What holds files that could not be looked at one by one. Its bytes were.
    pub unread: Vec<String>,
    /// Whether a program of a release was there.
    pub programs: bool,
}

impl ScanReport {
    /// A record for each rule. Those about names and programs are skipped where not every file was seen.
    pub fn records(&self) -> Vec<CheckRecord> {
        let unseen = match (self.unread.as_slice(), self.files) {
            ([], true) => None,
            ([], false) => Some("there is no file system on the disk".to_owned()),
            (unread, _) => Some(format!(
                "{}, which cannot be looked into",
                unread.join(", ")
            )),
        };
        let names = names::RULES.iter().map(|rule| (rule.rule, unseen.clone()));
        let bytes = bytes::RULES.iter().map(|rule| (rule.rule, None));
        let elsewhere = || "no program of a release is in /usr/bin".to_owned();
        let programs = match self.programs {
            true => unseen.clone(),
            false => unseen.clone().or_else(|| Some(elsewhere())),
        };
        let record = |(rule, unseen): (Rule, Option<String>)| {
            let ok = !self.found.iter().any(|residue| residue.rule == rule.id);
            CheckRecord {
                ok,
                skipped: unseen.filter(|_| ok),
                ..of(rule)
            }
        };
        let all = names.chain(bytes).chain([(programs::RULE, programs)]);
        all.map(record).collect()
    }
}

/// The records where nobody can look at the disk, and why.
pub fn skipped(why: &str) -> Vec<CheckRecord> {
    let record = |rule| CheckRecord {
        skipped: Some(why.to_owned()),
        ..of(rule)
    };
    rules().map(record).collect()
}

fn of(rule: Rule) -> CheckRecord {
    CheckRecord {
        id: rule.id.to_owned(),
        description: rule.words.to_owned(),
        ok: true,
        skipped: None,
        step: STEP.to_owned(),
    }
}

/// A disk that cannot be looked through. Nothing is known of it then.
#[derive(Debug, thiserror::Error)]
pub enum LeakScanError {
    /// It cannot be read.
    #[error("{}: {error}", .path.display())]
    File {
        /// The disk.
        path: PathBuf,
        /// What failed.
        error: std::io::Error,
    },
    /// A file system is damaged, or of a kind that this version does not know.
    #[error("the captured disk cannot be looked through: {at}: {error}")]
    FileSystem {
        /// The partition, or a path in it.
        at: String,
        /// What is wrong with it.
        error: ext4_view::Ext4Error,
    },
}

impl LeakScanError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

/// Looks through the raw disk at `path`, on which `programs` are to be what they were. What has only the shape of a secret counts not where everybody has it: in a program, and
/// in a file that a package brought. Blocks, for a second or several.
pub fn scan(
    path: &Path,
    needles: &SecretPatterns,
    programs: &Programs,
) -> Result<ScanReport, LeakScanError> {
    let patterns = bytes::Patterns::new(needles);
    let (mut looked, explained) = every_file(path, &patterns, programs)?;
    for (start, hit) in every_byte(path, &patterns)? {
        if !explained.contains(&hit.seen) {
            looked.found.insert(Leak {
                rule: hit.rule,
                place: format!("byte {} of the disk, in no file", start + hit.at),
            });
        }
    }
    Ok(looked)
}

/// What is found file by file, and all that matched in files, broken or not.
fn every_file(
    path: &Path,
    patterns: &bytes::Patterns,
    programs: &Programs,
) -> Result<(ScanReport, BTreeSet<Digest>), LeakScanError> {
    let mut looked = ScanReport::default();
    let mut explained = BTreeSet::new();
    for partition in disk::partitions(path)? {
        match partition.content()? {
            Content::Files(files) => {
                let (found, seen) = files::walk(&files, patterns)?;
                let (others, seen_any) = programs.compare(&files)?;
                looked.files = true;
                looked.programs |= seen_any;
                looked.found.extend(others);
                looked.found.extend(found);
                explained.extend(seen);
            }
            Content::Other(what) => looked.unread.push(what),
            Content::Nothing => {}
        }
    }
    Ok((looked, explained))
}

/// What matches anywhere on the disk, each after where its piece of the disk starts.
fn every_byte(
    path: &Path,
    patterns: &bytes::Patterns,
) -> Result<Vec<(u64, bytes::Hit)>, LeakScanError> {
    let mut found = Vec::new();
    for extent in disk::extents(path)? {
        let (start, reader) = extent?;
        let hits = patterns.search(reader).map_err(disk::file_error(path))?;
        found.extend(hits.into_iter().map(|hit| (start, hit)));
    }
    Ok(found)
}
