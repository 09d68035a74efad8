//! Finds the processes that use given files, from `/proc`.
//! A process uses a file if it has it open, by any name, or has its name on its command line.
//! QEMU also has the backing files of its disk open.
//!
//! It does not find processes on other computers, or in containers that `/proc` does not show.
//! It also does not find a disk on top of a file while no process has that disk open.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The processes that use files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// For each file, its processes as text, with id and name.
    pub by_file: BTreeMap<PathBuf, BTreeSet<String>>,
    /// The number of processes whose open files are not readable.
    pub unreadable_processes: usize,
}

/// Finds the users of `files` among the processes of `proc`, a `/proc` file system.
pub fn users(proc: &Path, files: &[PathBuf]) -> io::Result<Users> {
    let mut by_inode = HashMap::new();
    for file in files {
        match fs::metadata(file) {
            Ok(data) => by_inode.insert((data.dev(), data.ino()), file),
            // The caller listed it before it was removed.
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
            // The process has ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => users.unreadable_processes += 1,
        }
        // Usually readable by every user.
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        let in_command = by_name.iter().filter(|(name, _)| command.contains(name));
        used.extend(in_command.map(|(_, file)| *file));
        if used.is_empty() {
            continue;
        }
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let process = format!("process {id} ({})", name.trim());
        for file in used {
            users
                .by_file
                .entry(file.clone())
                .or_default()
                .insert(process.clone());
        }
    }
    Ok(users)
}

/// Returns the device and inode of each file that a process has open or mapped.
fn open_files(process: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut inodes = Vec::new();
    for folder in ["fd", "map_files"] {
        let links = match fs::read_dir(process.join(folder)) {
            Ok(links) => links,
            // Only root may read this folder. Most mapped files are also open.
            Err(_) if folder == "map_files" => continue,
            Err(error) => return Err(error),
        };
        for link in links.flatten() {
            // Fails for a file closed meanwhile, and for some sockets.
            if let Ok(data) = fs::metadata(link.path()) {
                inodes.push((data.dev(), data.ino()));
            }
        }
    }
    Ok(inodes)
}
