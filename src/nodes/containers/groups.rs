//! Makes control groups for containers, as two systemds must not share one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{KIND, PlatformError};
use crate::teardown::Leftover;
use crate::wait;

/// The folders of a cluster, one in each hierarchy that systemd uses.
pub(super) struct ControlGroups(Vec<PathBuf>);

/// Limit for the end of killed processes, which keep their groups.
const END_TIMEOUT: Duration = Duration::from_secs(10);

impl ControlGroups {
    /// Finds the hierarchies. Groups of the cluster `id` are made by [`Self::add`].
    pub(super) fn of(id: &str) -> Result<Self, PlatformError> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let hierarchy = |line: &str| {
            let mounted = match line.split(':').nth(1)? {
                "" if Path::new("/sys/fs/cgroup/unified").is_dir() => "/sys/fs/cgroup/unified",
                "" => "/sys/fs/cgroup",
                "name=systemd" => "/sys/fs/cgroup/systemd",
                _ => return None,
            };
            Some(Path::new(mounted).join(format!("vault-bake-{id}")))
        };
        let folders: Vec<PathBuf> = own.lines().filter_map(hierarchy).collect();
        if folders.is_empty() {
            return Err(PlatformError::Unavailable {
                platform: KIND,
                why: "there is no control group for systemd".to_owned(),
                hint: "Mount cgroup2 on /sys/fs/cgroup.".to_owned(),
            });
        }
        Ok(Self(folders))
    }

    /// Makes a group for one node, unless it exists. Returns its folders.
    pub(super) fn add(&self, node: &str) -> Result<Vec<PathBuf>, PlatformError> {
        let folders: Vec<PathBuf> = self.0.iter().map(|folder| folder.join(node)).collect();
        for folder in &folders {
            fs::create_dir_all(folder).map_err(PlatformError::file(folder))?;
        }
        Ok(folders)
    }

    /// Removes the groups of one node, as far as its processes have ended.
    pub(super) fn remove_one(&self, node: &str) {
        for folder in &self.0 {
            remove(&folder.join(node));
        }
    }

    /// Removes all groups. Returns those that remain.
    pub(super) fn remove(&self) -> Vec<Leftover> {
        let mut remaining = Vec::new();
        wait::block(END_TIMEOUT, || {
            remaining = self.0.iter().flat_map(|folder| remove(folder)).collect();
            remaining.is_empty()
        });
        let leftover = |folder: &PathBuf| Leftover {
            what: format!("control group {}", folder.display()),
            why: "a process is in it".to_owned(),
        };
        remaining.iter().map(leftover).collect()
    }
}

/// Removes a group and those below it. Returns the ones that remain.
fn remove(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    let mut remaining: Vec<_> = below.flat_map(|path| remove(&path)).collect();
    if fs::remove_dir(folder).is_err() && folder.exists() {
        remaining.push(folder.to_owned());
    }
    remaining
}
