//! Locks, reads, replaces and deletes the state in the folder of a cluster.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::error::{StateError, file_error};
use super::{FILE, LOCK, State};
use crate::manifest::is_cluster_id;

/// The folder of one cluster.
#[derive(Clone, Debug)]
pub struct StateFolder {
    name: String,
    path: PathBuf,
}

/// The exclusive right to change a cluster, until the drop.
pub struct StateLock {
    _file: File,
}

impl StateFolder {
    /// Names the folder `path` of the cluster `name`. It need not exist.
    pub fn new(name: &str, path: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            path,
        }
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder, readable by the user alone, and locks it.
    pub fn lock(&self) -> Result<StateLock, StateError> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path);
        made.map_err(file_error(&self.path))?;
        let path = self.path.join(LOCK);
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(file_error(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(StateLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked {
                name: self.name.clone(),
            }),
            Err(TryLockError::Error(error)) => Err(file_error(&path)(error)),
        }
    }

    /// Locks the folder of a cluster that must exist. Makes nothing.
    pub fn lock_existing(&self) -> Result<StateLock, StateError> {
        match self.path.is_dir() {
            true => self.lock(),
            false => Err(self.missing()),
        }
    }

    /// Reads the state. Returns `None` if the cluster does not exist.
    pub fn read(&self) -> Result<Option<State>, StateError> {
        let path = self.path.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error(&path)(error)),
        };
        let state: State = match serde_json::from_slice(&text) {
            Ok(state) => state,
            Err(error) => {
                let (name, why) = (self.name.clone(), error.to_string());
                return Err(StateError::Malformed { name, path, why });
            }
        };
        let schema = state.schema;
        if schema != 1 {
            return Err(StateError::Schema { path, schema });
        }
        Ok(Some(state))
    }

    /// Reads the state of a cluster that must exist.
    pub fn require(&self) -> Result<State, StateError> {
        self.read()?.ok_or_else(|| self.missing())
    }

    /// Returns the id of the cluster, which is known also if its state is lost.
    pub(in crate::cluster) fn id(&self) -> Option<String> {
        let id = fs::read_to_string(self.path.join(LOCK)).ok()?;
        is_cluster_id(&id, &self.name).then_some(id)
    }

    /// Returns whether the folder has more than its lock.
    pub(in crate::cluster) fn has_content(&self) -> bool {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name() != LOCK)
    }

    /// Returns the path of the state.
    pub(in crate::cluster) fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    /// Returns the name of the cluster.
    pub(in crate::cluster) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the error that the cluster does not exist, or that only its state is lost.
    pub(in crate::cluster) fn missing(&self) -> StateError {
        let name = self.name.clone();
        match self.has_content() {
            true => StateError::Lost {
                name,
                path: self.file(),
            },
            false => StateError::Missing { name },
        }
    }

    /// Replaces the state, and flushes it to disk.
    pub fn write(&self, state: &State) -> Result<(), StateError> {
        let path = self.path.join(FILE);
        let text = serde_json::to_vec_pretty(state).expect("a state is JSON");
        let write = || -> io::Result<()> {
            if self.id().as_ref() != Some(&state.id) {
                fs::write(self.path.join(LOCK), &state.id)?;
            }
            let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
            file.write_all(&text)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(file_error(&path))
    }

    /// Deletes the folder, its state last.
    pub fn delete(&self, _lock: StateLock) -> Result<(), StateError> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(file_error(&self.path)(error)),
        };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if name == FILE || name == LOCK {
                continue;
            }
            let removed = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(file_error(&path))?;
        }
        for name in [FILE, LOCK] {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(file_error(&path)(error));
                }
                _ => {}
            }
        }
        fs::remove_dir(&self.path).map_err(file_error(&self.path))
    }
}

/// Reads the states of all clusters in the folder `clusters`, which need not exist.
pub fn read_all(clusters: &Path) -> Result<Vec<(StateFolder, State)>, StateError> {
    let mut found = Vec::new();
    for folder in folders(clusters)? {
        if let Some(state) = folder.read()? {
            let folder = StateFolder::new(&state.name, folder.path);
            found.push((folder, state));
        }
    }
    Ok(found)
}

/// Returns the folders in the folder `clusters`, which need not exist. Their states are not read.
pub fn folders(clusters: &Path) -> Result<Vec<StateFolder>, StateError> {
    let entries = match fs::read_dir(clusters) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error(clusters)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(file_error(clusters))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The digest of the project's path follows the name.
        let name = name.rsplit_once('-').map_or(&*name, |(name, _)| name);
        found.push(StateFolder::new(name, path.clone()));
    }
    Ok(found)
}
