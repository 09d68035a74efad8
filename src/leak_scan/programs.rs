//! Programs of releases on a captured disk: whether they are the ones that were verified, whatever the machine says.

use ext4_view::{Ext4, PathBuf};

use super::files::{at, leak};
use super::{Leak, LeakScanError, Rule};
use crate::digest::Digest;

pub(super) const RULE: Rule = Rule {
    id: "disk.programs",
    words: "the program of each release on the captured disk is the one that was verified",
};

/// What the programs of releases have to be, by their paths.
#[derive(Clone, Debug, Default)]
pub struct Programs(Vec<(String, Digest)>);

impl Programs {
    /// Of products, as `vault`, with the SHA-256 of each one's program: it is in `/usr/bin`, where `install_release` puts it.
    pub fn new<'a>(products: impl IntoIterator<Item = (&'a str, Digest)>) -> Self {
        let path = |(product, digest)| (format!("/usr/bin/{product}"), digest);
        Self(products.into_iter().map(path).collect())
    }

    /// Those that are others, and whether any is there.
    pub(super) fn compare(&self, files: &Ext4) -> Result<(Vec<Leak>, bool), LeakScanError> {
        let (mut others, mut any) = (Vec::new(), false);
        for (place, wanted) in &self.0 {
            let path = PathBuf::new(place);
            if !files.exists(&path).map_err(at(&path))? {
                continue;
            }
            any = true;
            let file = files.open(&path).map_err(at(&path))?;
            let hashed = Digest::of_reader(file).map_err(|error| LeakScanError::File {
                path: place.into(),
                error,
            });
            if hashed?.0 != *wanted {
                others.push(leak(RULE.id, place));
            }
        }
        Ok((others, any))
    }
}
