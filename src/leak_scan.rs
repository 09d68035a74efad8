//! Scans a raw disk for secrets: the files of ext2, ext3 and ext4, and all bytes of the disk.
//! Takes the secrets of the run and the verified programs; returns check records and findings.
//! A finding has the location, not the secret. Compressed and encrypted data are not scanned.

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
pub(crate) use disk::root_partition;
pub use programs::Programs;

use disk::Content;

/// The step name in the check records: the disk was made by `capture`.
const STEP: &str = "capture";

/// A rule of the leak scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The stable id, as in `disk.host-keys`.
    pub id: &'static str,
    /// The statement that is true if the rule is satisfied.
    pub description: &'static str,
}

/// Returns all rules, in the order of the check records.
pub fn rules() -> impl Iterator<Item = Rule> {
    let by_name = names::RULES.iter().map(|rule| rule.rule);
    let by_bytes = bytes::RULES.iter().map(|rule| rule.rule);
    by_name.chain(by_bytes).chain([programs::RULE])
}

/// A finding of the leak scan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    /// The id of the violated rule.
    pub rule: &'static str,
    /// A path in the image, or a byte position on the disk if it is not in a file.
    pub location: String,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.location)
    }
}

/// The result of a leak scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// The findings, without duplicates.
    pub leaks: BTreeSet<Leak>,
    /// Whether the files of a file system were scanned.
    pub has_file_system: bool,
    /// The partitions whose files could not be scanned individually. Their bytes were scanned.
    pub unread: Vec<String>,
    /// Whether a program of a release was on the disk.
    pub has_programs: bool,
}

impl ScanReport {
    /// Returns a check record for each rule. Rules for names and programs are skipped if not all
    /// files were scanned.
    pub fn records(&self) -> Vec<CheckRecord> {
        let skip_files = match (self.unread.as_slice(), self.has_file_system) {
            ([], true) => None,
            ([], false) => Some("there is no file system on the disk".to_owned()),
            (unread, _) => Some(format!("{}, whose files cannot be read", unread.join(", "))),
        };
        let names = names::RULES
            .iter()
            .map(|rule| (rule.rule, skip_files.clone()));
        let bytes = bytes::RULES.iter().map(|rule| (rule.rule, None));
        let not_installed = || {
            let reason = "no program of a release is in /usr/bin";
            (!self.has_programs).then(|| reason.to_owned())
        };
        let programs = skip_files.clone().or_else(not_installed);
        let record = |(rule, skip): (Rule, Option<String>)| {
            let ok = !self.leaks.iter().any(|leak| leak.rule == rule.id);
            CheckRecord {
                ok,
                skipped: skip.filter(|_| ok),
                ..passed(rule)
            }
        };
        let all = names.chain(bytes).chain([(programs::RULE, programs)]);
        all.map(record).collect()
    }
}

/// Returns check records that are all skipped, for a disk that cannot be read, with the `reason`.
pub fn skipped(reason: &str) -> Vec<CheckRecord> {
    let record = |rule| CheckRecord {
        skipped: Some(reason.to_owned()),
        ..passed(rule)
    };
    rules().map(record).collect()
}

fn passed(rule: Rule) -> CheckRecord {
    CheckRecord {
        id: rule.id.to_owned(),
        description: rule.description.to_owned(),
        ok: true,
        skipped: None,
        step: STEP.to_owned(),
    }
}

/// The leak scan could not read the disk, so it has no result.
#[derive(Debug, thiserror::Error)]
pub enum LeakScanError {
    /// The disk, or a file on it, could not be read.
    #[error("cannot scan {}: {error}", .path.display())]
    File {
        /// The disk, or a path on it.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// A file system is damaged or uses an unknown feature.
    #[error("cannot scan the captured disk: {at}: {error}")]
    FileSystem {
        /// The partition, or a path in it.
        at: String,
        /// The defect.
        error: ext4_view::Ext4Error,
    },
}

impl LeakScanError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { .. } => None,
            Self::FileSystem { .. } => Some(
                "Run the build again. If it fails again, find the step that damages the file system."
                    .to_owned(),
            ),
        }
    }
}

/// Scans the raw disk at `path` for `secrets` and for patterns of secrets, and compares its
/// programs with `programs`.
///
/// Pattern matches are ignored in executables under `/usr` and in unmodified package files. The
/// secrets of the run are reported wherever they occur. Blocks the thread for seconds.
pub fn scan(
    path: &Path,
    secrets: &SecretPatterns,
    programs: &Programs,
) -> Result<ScanReport, LeakScanError> {
    let patterns = bytes::Patterns::new(secrets);
    let (mut report, in_files) = scan_files(path, &patterns, programs)?;
    for (start, hit) in scan_bytes(path, &patterns)? {
        if !in_files.contains(&hit.matched) {
            report.leaks.insert(Leak {
                rule: hit.rule,
                location: format!("byte {} of the disk, in no file", start + hit.at),
            });
        }
    }
    Ok(report)
}

/// Scans all files. The second result has the digest of each match in a file, including ignored
/// matches, so that [`scan_bytes`] does not report them again.
fn scan_files(
    path: &Path,
    patterns: &bytes::Patterns,
    programs: &Programs,
) -> Result<(ScanReport, BTreeSet<Digest>), LeakScanError> {
    let mut report = ScanReport::default();
    let mut in_files = BTreeSet::new();
    for partition in disk::partitions(path)? {
        match partition.content()? {
            Content::Files(files) => {
                let scanned = files::scan(&files, patterns)?;
                let (replaced, has_programs) = programs.compare(&files)?;
                report.has_file_system = true;
                report.has_programs |= has_programs;
                report.leaks.extend(replaced);
                report.leaks.extend(scanned.leaks);
                in_files.extend(scanned.matches);
            }
            Content::Other(description) => report.unread.push(description),
            Content::Nothing => {}
        }
    }
    Ok((report, in_files))
}

/// Scans all bytes of the disk. Returns each match with the start of its extent.
fn scan_bytes(
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
