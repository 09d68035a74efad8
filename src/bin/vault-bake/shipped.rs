//! The provisioners that the program contains.
//! They are unpacked into the cache, once for each content, and searched after the project's own.

use std::path::PathBuf;

use include_dir::include_dir;
use vault_bake::digest::Digest;

use crate::exit::Failure;
use crate::invocation::Invocation;

/// The shipped provisioners: the program works without a checkout of this repository.
static SHIPPED: include_dir::Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/provisioners");

impl Invocation {
    /// Returns the folders with provisioners; those of the project come first.
    pub fn provisioners(&self) -> Result<Vec<PathBuf>, Failure> {
        Ok(vec![
            self.project.join("provisioners"),
            self.shipped_provisioners()?,
        ])
    }

    /// Returns the folder of the shipped provisioners. Unpacks them into the cache if needed.
    fn shipped_provisioners(&self) -> Result<PathBuf, Failure> {
        let failed = |error: std::io::Error| self.unusable_cache(&error);
        let folder = self
            .cache
            .join("provisioners")
            .join(digest_of(&SHIPPED).short());
        if folder.is_dir() {
            return Ok(folder);
        }
        let parent = self.cache.join("provisioners");
        std::fs::create_dir_all(&parent).map_err(failed)?;
        let temporary = tempfile::tempdir_in(&parent).map_err(failed)?;
        SHIPPED.extract(temporary.path()).map_err(failed)?;
        match std::fs::rename(temporary.keep(), &folder) {
            Err(error) if !folder.is_dir() => Err(failed(error)),
            _ => Ok(folder),
        }
    }
}

/// Returns a digest over paths and contents of all files in a folder.
fn digest_of(folder: &include_dir::Dir<'_>) -> Digest {
    fn add_files(folder: &include_dir::Dir<'_>, files: &mut Vec<(String, String)>) {
        for file in folder.files() {
            let path = file.path().to_string_lossy().into_owned();
            files.push((path, Digest::hash_bytes(file.contents()).to_string()));
        }
        folder.dirs().for_each(|inner| add_files(inner, files));
    }
    let mut files = Vec::new();
    add_files(folder, &mut files);
    files.sort();
    Digest::hash_value(&files)
}
