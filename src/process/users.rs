//! Which processes use a file, as `/proc` shows them.
//!
//! In: a `/proc` and files. Out: who has one of them open, under whatever name, or names one on its command line; a QEMU has
//! the disks below its own open as well. Not seen: other machines, other containers' processes where `/proc` does not show
//! them, and disks on top of a file that nothing has open.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Who uses what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// By file: processes, each with its id and name.
    pub of: BTreeMap<PathBuf, BTreeSet<String>>,
    /// How many processes have open files that may not be looked at.
    pub hidden: usize,
}

/// The users of `files` among the processes of `proc`, a `/proc`.
pub fn users(proc: &Path, files: &[PathBuf]) -> io::Result<Users> {
    let mut by_inode = HashMap::new();
    for file in files {
        match fs::metadata(file) {
            Ok(data) => by_inode.insert((data.dev(), data.ino()), file),
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
    }
    let named = by_inode.values().filter_map(|file| {
        let name = file.file_name()?.to_str()?;
        Some((name.to_owned(), *file))
    });
    let by_name: Vec<(String, &PathBuf)> = named.collect();
    let mut users = Users::default();
    for entry in fs::read_dir(proc)? {
        let entry = entry?;
        let id = entry.file_name().to_string_lossy().into_owned();
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let mut used: BTreeSet<&PathBuf> = BTreeSet::new();
        match open_files(&entry.path()) {
            Ok(inodes) => used.extend(inodes.iter().filter_map(|inode| by_inode.get(inode))),
            // It has ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => users.hidden += 1,
        }
        // That anybody may read, mostly.
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        let on_it = by_name.iter().filter(|(name, _)| command.contains(name));
        used.extend(on_it.map(|(_, file)| *file));
        if used.is_empty() {
            continue;
        }
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let who = format!("process {id} ({})", name.trim());
        for file in used {
            users
                .of
                .entry(file.clone())
                .or_default()
                .insert(who.clone());
        }
    }
    Ok(users)
}

/// What a process has open and mapped, by device and inode.
fn open_files(process: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut inodes = Vec::new();
    for folder in ["fd", "map_files"] {
        let links = match fs::read_dir(process.join(folder)) {
            Ok(links) => links,
            // Mapped files are for root alone; whatever is mapped was mostly opened and stays so.
            Err(_) if folder == "map_files" => continue,
            Err(error) => return Err(error),
        };
        for link in links.flatten() {
            // Closed since, or a socket of another kind of world.
            if let Ok(data) = fs::metadata(link.path()) {
                inodes.push((data.dev(), data.ino()));
            }
        }
    }
    Ok(inodes)
}
