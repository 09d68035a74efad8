//! Control groups of containers: two systemds must not share one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A folder for one test in each hierarchy of systemd. The drop removes the groups, which must be
/// empty.
pub struct ControlGroups(Vec<PathBuf>);

const NAME: &str = "vault-bake-nodes-";

/// Limit for the end of killed processes.
const DEADLINE: Duration = Duration::from_secs(30);

impl ControlGroups {
    pub fn make() -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let mut folders = Vec::new();
        for line in own.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let mounted = match controllers {
                "" if Path::new("/sys/fs/cgroup/unified").exists() => "/sys/fs/cgroup/unified",
                "" => "/sys/fs/cgroup",
                "name=systemd" => "/sys/fs/cgroup/systemd",
                _ => continue,
            };
            let parent = Path::new(mounted).join(path.trim_start_matches('/'));
            remove_old(&parent);
            folders.push(parent.join(format!("{NAME}{}", std::process::id())));
        }
        if folders.is_empty() {
            return Err("there is no control group for systemd".to_owned());
        }
        let groups = Self(folders);
        Self::make_each(&groups.0)?;
        Ok(groups)
    }

    /// Makes a group for one node. Returns its folders.
    pub fn add(&self, node: &str) -> Result<Vec<PathBuf>, String> {
        let folders: Vec<_> = self.0.iter().map(|folder| folder.join(node)).collect();
        Self::make_each(&folders)?;
        Ok(folders)
    }

    fn make_each(folders: &[PathBuf]) -> Result<(), String> {
        for folder in folders {
            let made = fs::create_dir_all(folder);
            made.map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        }
        Ok(())
    }

    /// Removes all groups. Returns the folders that remain, as killed processes take a moment to
    /// leave them.
    #[expect(
        clippy::disallowed_methods,
        reason = "a destructor cannot await, and this takes milliseconds on an idle computer"
    )]
    pub fn remove(&self) -> Vec<PathBuf> {
        let began = Instant::now();
        loop {
            let left: Vec<_> = self.0.iter().flat_map(|folder| remove(folder)).collect();
            if left.is_empty() || began.elapsed() > DEADLINE {
                return left;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for ControlGroups {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes groups of killed processes.
fn remove_old(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(NAME));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            remove(&entry.path());
        }
    }
}

/// Removes a group and those below it. Returns the ones that remain.
fn remove(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    let mut left: Vec<_> = below.flat_map(|path| remove(&path)).collect();
    if fs::remove_dir(folder).is_err() && folder.exists() {
        left.push(folder.to_owned());
    }
    left
}
