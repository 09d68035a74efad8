//! Checks whether a user other than root can make bases, which needs user namespaces.
//! Takes the content of system files; returns missing settings, each with a command that adds it.

use std::fs;

/// The system settings that decide whether this user can have a user namespace with many ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserIds {
    /// The user id.
    pub uid: u32,
    /// The user name, if `/etc/passwd` has one.
    pub name: Option<String>,
    /// The content of `/etc/subuid`; `None` if it does not exist.
    pub subuid: Option<String>,
    /// The content of `/etc/subgid`; `None` if it does not exist.
    pub subgid: Option<String>,
    /// Whether `/etc/nsswitch.conf` names another source than these files.
    pub other_source: bool,
    /// The content of `/proc/sys/kernel/unprivileged_userns_clone`, if the kernel has it.
    pub userns_clone: Option<String>,
    /// The content of `/proc/sys/user/max_user_namespaces`.
    pub max_namespaces: Option<String>,
    /// The content of `/proc/sys/kernel/apparmor_restrict_unprivileged_userns`, if the kernel has
    /// it.
    pub apparmor_restricts: Option<String>,
    /// Whether AppArmor has a profile that lets mmdebstrap make a user namespace.
    pub apparmor_allows: bool,
}

impl UserIds {
    /// Reads the settings of this system for the user of this process.
    pub fn of_this_user() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let uid = rustix::process::geteuid().as_raw();
        let switch = read("/etc/nsswitch.conf").unwrap_or_default();
        Self {
            uid,
            name: read("/etc/passwd").and_then(|passwd| name_of(uid, &passwd)),
            subuid: read("/etc/subuid"),
            subgid: read("/etc/subgid"),
            other_source: has_other_source(&switch),
            userns_clone: read("/proc/sys/kernel/unprivileged_userns_clone"),
            max_namespaces: read("/proc/sys/user/max_user_namespaces"),
            apparmor_restricts: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            apparmor_allows: fs::exists("/etc/apparmor.d/mmdebstrap").unwrap_or(false),
        }
    }

    /// Returns the missing settings, each with a command that adds it. Root needs no user
    /// namespace, so nothing is missing.
    pub fn missing_settings(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        if self.uid == 0 {
            return lacks;
        }
        let user = self.name.clone().unwrap_or_else(|| self.uid.to_string());
        if !self.other_source {
            let ranges = [
                ("/etc/subuid", "subuids", &self.subuid),
                ("/etc/subgid", "subgids", &self.subgid),
            ];
            for (file, option, content) in ranges {
                let count = self.largest_range(content.as_deref().unwrap_or_default());
                if count < NEEDED_IDS {
                    let ids = match count {
                        0 => String::from("no ids"),
                        few => format!("{few} ids"),
                    };
                    lacks.push(format!(
                        "{file} has {ids} for {user}, a base needs {NEEDED_IDS}: run `sudo usermod --add-{option} 100000-165535 {user}`"
                    ));
                }
            }
        }
        let is = |text: &Option<String>, value: &str| {
            text.as_ref().is_some_and(|text| text.trim() == value)
        };
        if is(&self.userns_clone, "0") {
            lacks.push(String::from(
                "the kernel lets only root make user namespaces: run `sudo sysctl kernel.unprivileged_userns_clone=1`",
            ));
        }
        if is(&self.max_namespaces, "0") {
            lacks.push(String::from(
                "the kernel allows no user namespaces: run `sudo sysctl user.max_user_namespaces=15000`",
            ));
        }
        if is(&self.apparmor_restricts, "1") && !self.apparmor_allows {
            lacks.push(String::from(
                "AppArmor restricts user namespaces: run `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or add a profile for mmdebstrap",
            ));
        }
        lacks
    }

    /// Returns the size of the user's largest range in `content`, by name or by number.
    fn largest_range(&self, content: &str) -> u64 {
        let uid = self.uid.to_string();
        let ranges = content.lines().filter_map(|line| {
            let mut parts = line.trim().split(':');
            let (owner, _first, count) = (parts.next()?, parts.next()?, parts.next()?);
            let is_user = owner == uid || self.name.as_deref() == Some(owner);
            is_user.then(|| count.parse().ok())?
        });
        ranges.max().unwrap_or(0)
    }
}

/// Returns the name of the user with this id, from the content of `/etc/passwd`.
fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let uid = uid.to_string();
    let line = passwd
        .lines()
        .find(|line| line.split(':').nth(2) == Some(uid.as_str()))?;
    line.split(':').next().map(str::to_owned)
}

/// Returns whether the content of `/etc/nsswitch.conf` names another source of ids than
/// `/etc/subuid`.
fn has_other_source(switch: &str) -> bool {
    let sources = switch
        .lines()
        .filter_map(|line| line.trim().strip_prefix("subid:"));
    sources
        .flat_map(str::split_whitespace)
        .any(|source| source != "files")
}

/// The size of the range that mmdebstrap needs.
const NEEDED_IDS: u64 = 65536;
