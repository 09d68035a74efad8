//! Checks destination, mode and owner of a file step, and takes the digest of a folder.
//! Takes texts of the definition and folders, returns checked values and digests.
//! Symbolic links that leave a folder are refused.

use std::io;
use std::path::{Path, PathBuf};

use super::problem::{Location, Problem};
use crate::digest::Digest;

/// Largest size of a step's file, in bytes. Plans keep these files in memory.
pub(crate) const LARGEST_BYTES: u64 = 64 << 20;

/// Checks an absolute path in the image.
pub(super) fn destination(at: &Location, path: String) -> Result<String, Problem> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let plain = parts.iter().all(|part| !matches!(*part, "" | "." | ".."));
    if !path.starts_with('/') || !plain || path.contains(char::is_control) {
        return Err(at
            .problem(format!(
                "`{path}`; expected the absolute path of a file in the image"
            ))
            .with_hint(
                "Write a path such as \"/etc/motd\", without `.`, `..` and a `/` at the end.",
            ));
    }
    let top = parts.first().copied().unwrap_or_default();
    if VOLATILE.contains(&top) {
        return Err(at
            .problem(format!(
                "`{path}` would not be in the image; expected a path outside of /{top}"
            ))
            .with_hint(format!(
                "Choose another folder: files below /{top} are lost at a restart."
            )));
    }
    Ok(path)
}

/// Parses a mode, as in `0644`.
pub(super) fn mode(at: &Location, text: &str) -> Result<u32, Problem> {
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    octal
        .then(|| u32::from_str_radix(text, 8).ok())
        .flatten()
        .ok_or_else(|| {
            at.problem(format!("`{text}` is no mode; expected octal digits"))
                .with_hint("Write a mode such as \"0644\" or \"0755\".")
        })
}

/// Checks an owner, as in `root:root`.
pub(super) fn owner(at: &Location, text: String) -> Result<String, Problem> {
    let name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
    };
    if text
        .split_once(':')
        .is_some_and(|(user, group)| name(user) && name(group))
    {
        return Ok(text);
    }
    Err(at
        .problem(format!("`{text}` is no owner; expected `USER:GROUP`"))
        .with_hint("Write an owner such as \"root:root\"."))
}

/// Returns the digest of the paths and contents of all files below `folder`.
pub(super) fn digest_of_folder(folder: &Path) -> Result<Digest, (PathBuf, io::Error)> {
    let mut found = Vec::new();
    for path in files_below(folder)? {
        let (digest, _) =
            Digest::hash_file(&folder.join(&path)).map_err(|error| (path.clone(), error))?;
        found.push((path.to_string_lossy().into_owned(), digest));
    }
    Ok(Digest::hash_value(&found))
}

/// Returns the sorted paths of all files below `folder`, relative to it.
///
/// Refuses links that leave the folder or point to a folder. Skips `.git`.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let root_error = |error| (folder.to_owned(), error);
    let root = folder.canonicalize().map_err(root_error)?;
    let mut found = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        let at = folder.join(&below);
        let fail = |error| (at.clone(), error);
        for entry in std::fs::read_dir(&at).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            if name == ".git" {
                continue;
            }
            let path = below.join(name);
            let whole = folder.join(&path);
            let fail = |error| (whole.clone(), error);
            let meta = std::fs::symlink_metadata(&whole).map_err(fail)?;
            let real = whole.canonicalize().map_err(fail)?;
            if !real.starts_with(&root) || (meta.is_symlink() && real.is_dir()) {
                return Err(fail(io::Error::other(
                    "a symbolic link out of its folder, or to another folder",
                )));
            }
            if real.is_dir() {
                left.push(path);
            } else if real.is_file() {
                found.push(path);
            } else {
                return Err(fail(io::Error::other("neither a file nor a folder")));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Folders whose content is not part of an image.
const VOLATILE: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

/// Creates the problem that `path` is not a readable file.
pub(crate) fn no_file(at: &Location, folder: &Path, path: &Path) -> Problem {
    let whole = folder.join(path);
    let shown = whole.display();
    match std::fs::metadata(&whole) {
        Ok(meta) if meta.is_dir() => at
            .problem(format!("{shown} is a folder; expected a file"))
            .with_hint("Name a file in the folder."),
        Ok(_) => at
            .problem(format!(
                "{shown} is neither a file nor a folder; expected a file"
            ))
            .with_hint("Name a regular file."),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => at
            .problem(format!("no such file: {shown}; expected one"))
            .with_hint("Name a readable file, relative to the definition's folder."),
        Err(error) => at
            .problem(format!("cannot read {shown}: {error}"))
            .with_hint("Name a readable file, relative to the definition's folder."),
    }
}
