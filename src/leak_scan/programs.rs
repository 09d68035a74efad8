//! Compares the programs of releases on a captured disk with the verified ones.
//! The result does not depend on what the build VM reports.

use ext4_view::{Ext4, PathBuf};

use super::files::{at, leak};
use super::{Leak, LeakScanError, Rule};
use crate::digest::Digest;

pub(super) const RULE: Rule = Rule {
    id: "disk.programs",
    description: "the program of each release on the captured disk is the one that was verified",
};

/// The verified programs of releases: path and digest.
#[derive(Clone, Debug, Default)]
pub struct Programs(Vec<(String, Digest)>);

impl Programs {
    /// Takes the name of each product, as in `vault`, with the SHA-256 of its program. The path is
    /// in `/usr/bin`, as `install_release` installs it.
    pub fn new<'a>(products: impl IntoIterator<Item = (&'a str, Digest)>) -> Self {
        let path = |(product, digest)| (format!("/usr/bin/{product}"), digest);
        Self(products.into_iter().map(path).collect())
    }

    /// Returns a finding for each program that differs, and whether any of the programs exists.
    pub(super) fn compare(&self, files: &Ext4) -> Result<(Vec<Leak>, bool), LeakScanError> {
        let (mut replaced, mut has_programs) = (Vec::new(), false);
        for (location, expected) in &self.0 {
            let path = PathBuf::new(location);
            if !files.exists(&path).map_err(at(&path))? {
                continue;
            }
            has_programs = true;
            let file = files.open(&path).map_err(at(&path))?;
            let hashed = Digest::hash_reader(file).map_err(|error| LeakScanError::File {
                path: location.into(),
                error,
            });
            if hashed?.0 != *expected {
                replaced.push(leak(RULE.id, location));
            }
        }
        Ok((replaced, has_programs))
    }
}
