//! A walk over all files of a file system: their names, and what is in them.

use std::collections::BTreeSet;
use std::io::Read as _;

use ext4_view::{Ext4, Ext4Error, File, FileType, PathBuf};
use openssl::hash::{Hasher, MessageDigest};

use super::bytes::Patterns;
use super::{Leak, LeakScanError, names};
use crate::digest::{Digest, hex};

/// Where dpkg keeps the MD5 sums of every package's files: lines of a sum, two spaces and a path without its first slash.
const PACKAGES: &str = "/var/lib/dpkg/info";

/// Looks at every file. What a rule about bytes matched is in the second result, broken or not.
pub(super) fn walk(
    files: &Ext4,
    patterns: &Patterns,
) -> Result<(BTreeSet<Leak>, BTreeSet<Digest>), LeakScanError> {
    let walk = Walk { files, patterns };
    let (mut found, mut explained) = (BTreeSet::new(), BTreeSet::new());
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
                    found.extend(broken_by_name(&path, &name, size));
                    if size > 0 {
                        let (broken, seen) = walk.contents(&path)?;
                        found.extend(broken);
                        explained.extend(seen);
                    }
                }
                _ => found.extend(broken_by_name(&path, &name, 0)),
            }
        }
    }
    Ok((found, explained))
}

pub(super) fn at(path: &PathBuf) -> impl FnOnce(Ext4Error) -> LeakScanError + use<> {
    let at = path.display().to_string();
    move |error| LeakScanError::FileSystem { at, error }
}

fn broken_by_name(path: &PathBuf, name: &str, size: u64) -> Vec<Leak> {
    let place = path.display().to_string();
    let rules = names::RULES.iter();
    let broken = rules.filter(|rule| (rule.breaks)(&place, name, size));
    broken.map(|rule| leak(rule.rule.id, &place)).collect()
}

pub(super) fn leak(rule: &'static str, place: &str) -> Leak {
    Leak {
        rule,
        place: place.to_owned(),
    }
}

struct Walk<'a> {
    files: &'a Ext4,
    patterns: &'a Patterns,
}

impl Walk<'_> {
    /// The rules that what is in a file breaks, and all that matched in it.
    fn contents(&self, path: &PathBuf) -> Result<(Vec<Leak>, Vec<Digest>), LeakScanError> {
        let place = path.display().to_string();
        let unreadable = |error| LeakScanError::File {
            path: (&place).into(),
            error,
        };
        let hits = self.patterns.search(self.open(path)?).map_err(unreadable)?;
        let shapes = hits.iter().any(|hit| !hit.known);
        let public = shapes && self.is_public(path)?;
        let broken = hits.iter().filter(|hit| hit.known || !public);
        Ok((
            broken.map(|hit| leak(hit.rule, &place)).collect(),
            hits.iter().map(|hit| hit.seen).collect(),
        ))
    }

    fn open(&self, path: &PathBuf) -> Result<File, LeakScanError> {
        self.files.open(path).map_err(at(path))
    }

    /// Whether everybody has this file: a program's keys are for tests of its own, and what a package brought unchanged is
    /// nobody's secret.
    fn is_public(&self, path: &PathBuf) -> Result<bool, LeakScanError> {
        let place = path.display().to_string();
        let unreadable = |error| LeakScanError::File {
            path: (&place).into(),
            error,
        };
        let mut head = [0; 4];
        let mut file = self.open(path)?;
        let length = file.read(&mut head).map_err(unreadable)?;
        if place.starts_with("/usr/") && head[..length] == *b"\x7fELF" {
            return Ok(true);
        }
        let mut hasher =
            Hasher::new(MessageDigest::md5()).map_err(|error| unreadable(error.into()))?;
        std::io::copy(&mut self.open(path)?, &mut hasher).map_err(unreadable)?;
        let sum = hasher.finish().map_err(|error| unreadable(error.into()))?;
        self.is_of_a_package(&place, &hex(&sum))
    }

    fn is_of_a_package(&self, place: &str, sum: &str) -> Result<bool, LeakScanError> {
        let folder = PathBuf::new(PACKAGES);
        if !self.files.exists(&folder).map_err(at(&folder))? {
            return Ok(false);
        }
        // Where /lib is a link to /usr/lib, packages may name either.
        let short = place.strip_prefix("/usr").unwrap_or(place);
        let lines = [place, short].map(|path| format!("{sum}  {}", path.trim_start_matches('/')));
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
