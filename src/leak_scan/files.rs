//! Scans all files of a file system, by name and by content.

use std::collections::BTreeSet;
use std::io::Read as _;

use ext4_view::{Ext4, Ext4Error, File, FileType, PathBuf};
use openssl::hash::{Hasher, MessageDigest};

use super::bytes::Patterns;
use super::{Leak, LeakScanError, names};
use crate::digest::{Digest, hex};

/// The folder with dpkg's MD5 sums of package files. A line has a sum, two spaces and a path
/// without its first slash.
const DPKG_INFO: &str = "/var/lib/dpkg/info";

/// The result of scanning files.
#[derive(Default)]
pub(super) struct Scanned {
    pub leaks: BTreeSet<Leak>,
    /// The digests of all matches of byte rules, including ignored ones.
    pub matches: BTreeSet<Digest>,
}

/// Scans all files of a file system.
pub(super) fn scan(files: &Ext4, patterns: &Patterns) -> Result<Scanned, LeakScanError> {
    let scan = FileScan { files, patterns };
    let mut scanned = Scanned::default();
    let mut folders = vec![PathBuf::new("/")];
    while let Some(folder) = folders.pop() {
        for entry in files.read_dir(&folder).map_err(at(&folder))? {
            let entry = entry.map_err(at(&folder))?;
            let (path, name) = (entry.path(), entry.file_name().display().to_string());
            match entry.file_type().map_err(at(&path))? {
                FileType::Directory if matches!(name.as_str(), "." | "..") => {}
                FileType::Directory => folders.push(path),
                FileType::Regular => {
                    let size = entry.metadata().map_err(at(&path))?.len();
                    scanned.leaks.extend(scan_name(&path, &name, size));
                    if size > 0 {
                        let content = scan.scan_content(&path)?;
                        scanned.leaks.extend(content.leaks);
                        scanned.matches.extend(content.matches);
                    }
                }
                _ => scanned.leaks.extend(scan_name(&path, &name, 0)),
            }
        }
    }
    Ok(scanned)
}

/// Adds the path to a file system error.
pub(super) fn at(path: &PathBuf) -> impl FnOnce(Ext4Error) -> LeakScanError + use<> {
    let at = path.display().to_string();
    move |error| LeakScanError::FileSystem { at, error }
}

fn scan_name(path: &PathBuf, name: &str, size: u64) -> Vec<Leak> {
    let location = path.display().to_string();
    let rules = names::RULES.iter();
    let violated = rules.filter(|rule| (rule.matches)(&location, name, size));
    violated.map(|rule| leak(rule.rule.id, &location)).collect()
}

pub(super) fn leak(rule: &'static str, location: &str) -> Leak {
    Leak {
        rule,
        location: location.to_owned(),
    }
}

struct FileScan<'a> {
    files: &'a Ext4,
    patterns: &'a Patterns,
}

impl FileScan<'_> {
    fn scan_content(&self, path: &PathBuf) -> Result<Scanned, LeakScanError> {
        let location = path.display().to_string();
        let unreadable = |error| LeakScanError::File {
            path: (&location).into(),
            error,
        };
        let hits = self.patterns.search(self.open(path)?).map_err(unreadable)?;
        let has_patterns = hits.iter().any(|hit| !hit.is_run_secret);
        let is_public = has_patterns && self.is_public(path)?;
        let reported = hits.iter().filter(|hit| hit.is_run_secret || !is_public);
        Ok(Scanned {
            leaks: reported.map(|hit| leak(hit.rule, &location)).collect(),
            matches: hits.iter().map(|hit| hit.matched).collect(),
        })
    }

    fn open(&self, path: &PathBuf) -> Result<File, LeakScanError> {
        self.files.open(path).map_err(at(path))
    }

    /// Returns whether the file is published: an executable under `/usr`, or an unmodified package
    /// file. Keys in executables are test data, and keys in packages are not secret.
    fn is_public(&self, path: &PathBuf) -> Result<bool, LeakScanError> {
        let location = path.display().to_string();
        let unreadable = |error| LeakScanError::File {
            path: (&location).into(),
            error,
        };
        let mut head = [0; 4];
        let mut file = self.open(path)?;
        let length = file.read(&mut head).map_err(unreadable)?;
        if location.starts_with("/usr/") && head[..length] == *b"\x7fELF" {
            return Ok(true);
        }
        let mut hasher =
            Hasher::new(MessageDigest::md5()).map_err(|error| unreadable(error.into()))?;
        std::io::copy(&mut self.open(path)?, &mut hasher).map_err(unreadable)?;
        let sum = hasher.finish().map_err(|error| unreadable(error.into()))?;
        self.is_package_file(&location, &hex(&sum))
    }

    fn is_package_file(&self, path: &str, sum: &str) -> Result<bool, LeakScanError> {
        let folder = PathBuf::new(DPKG_INFO);
        if !self.files.exists(&folder).map_err(at(&folder))? {
            return Ok(false);
        }
        // If /lib is a link to /usr/lib, a package may list either path.
        let short = path.strip_prefix("/usr").unwrap_or(path);
        let lines = [path, short].map(|path| format!("{sum}  {}", path.trim_start_matches('/')));
        for entry in self.files.read_dir(&folder).map_err(at(&folder))? {
            let path = entry.map_err(at(&folder))?.path();
            if !path.display().to_string().ends_with(".md5sums") {
                continue;
            }
            let text = self.files.read(&path).map_err(at(&path))?;
            let text = String::from_utf8_lossy(&text);
            if text
                .lines()
                .any(|line| lines.iter().any(|known| known == line))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
