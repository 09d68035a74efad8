//! Writes the files of a new project or cluster: all of them, or none.
//! An existing file is never replaced.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

/// A file that does not exist yet.
pub struct NewFile {
    /// Path below the folder of the project.
    pub path: String,
    /// Content.
    pub text: String,
}

impl NewFile {
    /// Creates a description of a file.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }
}

/// What a failed write has created so far. It is removed on drop.
struct Created {
    /// Files and folders in the order of their creation.
    paths: Vec<PathBuf>,
}

impl Drop for Created {
    fn drop(&mut self) {
        for path in self.paths.iter().rev() {
            // A folder that another process has used meanwhile is not empty, and stays.
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        }
    }
}

/// Writes `files` below `folder`. `purpose` completes "cannot" in an error.
///
/// If one of them exists, or cannot be written, none is written.
pub fn write_all(purpose: &str, folder: &Path, files: &[NewFile]) -> Result<(), Failure> {
    let exists = |file: &&NewFile| folder.join(&file.path).symlink_metadata().is_ok();
    let existing: Vec<&str> = files
        .iter()
        .filter(exists)
        .map(|file| file.path.as_str())
        .collect();
    if !existing.is_empty() {
        return Err(exists_already(purpose, &existing.join(", ")));
    }
    let mut created = Created { paths: Vec::new() };
    for file in files {
        let path = folder.join(&file.path);
        if let Err(error) = write(&path, &file.text, &mut created.paths) {
            // Another process may have been faster.
            let is_there = error.kind() == ErrorKind::AlreadyExists && exists(&file);
            return Err(if is_there {
                exists_already(purpose, &file.path)
            } else {
                let message = format!("cannot {purpose}: cannot write {}: {error}", file.path);
                Failure::new(Exit::Failed, message)
                    .hint("Make the folder writable, or name another one.")
            });
        }
    }
    created.paths.clear();
    Ok(())
}

fn exists_already(purpose: &str, paths: &str) -> Failure {
    let message = format!("cannot {purpose}: these files exist: {paths}");
    Failure::new(Exit::Conflict, message)
        .hint("Move them away, or choose another name or folder. Nothing was written.")
}

fn write(path: &Path, text: &str, created: &mut Vec<PathBuf>) -> io::Result<()> {
    let parents: Vec<&Path> = path.ancestors().skip(1).collect();
    for parent in parents.into_iter().rev() {
        if parent.as_os_str().is_empty() || parent.is_dir() {
            continue;
        }
        fs::create_dir(parent)?;
        created.push(parent.to_owned());
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    created.push(path.to_owned());
    file.write_all(text.as_bytes())
}
