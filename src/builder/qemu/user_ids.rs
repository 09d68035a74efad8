//! Whether a user other than root can make native bases: they need user ids of their own, and user namespaces.
//!
//! In: what the system's files say. Out: what is lacking, with the way to get it, in words for `doctor` and `build`.

use std::fs;

/// What decides whether this user can have a user namespace with many ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserIds {
    /// The user's id.
    pub uid: u32,
    /// The user's name, where it has one.
    pub name: Option<String>,
    /// The content of `/etc/subuid`; `None` where it is not there.
    pub subuid: Option<String>,
    /// The content of `/etc/subgid`; `None` where it is not there.
    pub subgid: Option<String>,
    /// Whether `/etc/nsswitch.conf` has another source than these files.
    pub other_source: bool,
    /// `/proc/sys/kernel/unprivileged_userns_clone`, where the kernel has it.
    pub userns_clone: Option<String>,
    /// `/proc/sys/user/max_user_namespaces`.
    pub most_namespaces: Option<String>,
    /// `/proc/sys/kernel/apparmor_restrict_unprivileged_userns`, where the kernel has it.
    pub apparmor_restricts: Option<String>,
    /// Whether AppArmor has a profile that lets mmdebstrap, or all programs, make one.
    pub apparmor_allows: bool,
}

impl UserIds {
    /// What this system says of the user that runs this process.
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
            most_namespaces: read("/proc/sys/user/max_user_namespaces"),
            apparmor_restricts: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            apparmor_allows: fs::exists("/etc/apparmor.d/mmdebstrap").unwrap_or(false),
        }
    }

    /// What is lacking, each with the command that helps. Root lacks nothing: it needs no such namespace.
    pub fn lacks(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        if self.uid == 0 {
            return lacks;
        }
        let who = self.name.clone().unwrap_or_else(|| self.uid.to_string());
        if !self.other_source {
            let ranges = [
                ("/etc/subuid", "subuids", &self.subuid),
                ("/etc/subgid", "subgids", &self.subgid),
            ];
            for (file, option, content) in ranges {
                let most = self.most_ids(content.as_deref().unwrap_or_default());
                if most < NEEDED_IDS {
                    let has = match most {
                        0 => String::from("no ids"),
                        few => format!("{few} ids"),
                    };
                    lacks.push(format!(
                        "{file} has {has} for {who}, and a native base needs {NEEDED_IDS}: run `sudo usermod --add-{option} 100000-165535 {who}`"
                    ));
                }
            }
        }
        let is = |text: &Option<String>, value: &str| {
            text.as_ref().is_some_and(|text| text.trim() == value)
        };
        if is(&self.userns_clone, "0") {
            lacks.push(String::from(
                "the kernel lets root alone make user namespaces: run `sudo sysctl kernel.unprivileged_userns_clone=1`",
            ));
        }
        if is(&self.most_namespaces, "0") {
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

    /// The largest range that `content` gives the user, by name or by number.
    fn most_ids(&self, content: &str) -> u64 {
        let uid = self.uid.to_string();
        let ranges = content.lines().filter_map(|line| {
            let mut parts = line.trim().split(':');
            let (owner, _first, count) = (parts.next()?, parts.next()?, parts.next()?);
            let own = owner == uid || self.name.as_deref() == Some(owner);
            own.then(|| count.parse().ok())?
        });
        ranges.max().unwrap_or(0)
    }
}

/// The name of the user with this id, by the content of `/etc/passwd`.
fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let uid = uid.to_string();
    let line = passwd
        .lines()
        .find(|line| line.split(':').nth(2) == Some(uid.as_str()))?;
    line.split(':').next().map(str::to_owned)
}

/// Whether the content of `/etc/nsswitch.conf` takes ids from elsewhere than `/etc/subuid`.
fn has_other_source(switch: &str) -> bool {
    let sources = switch
        .lines()
        .filter_map(|line| line.trim().strip_prefix("subid:"));
    sources
        .flat_map(str::split_whitespace)
        .any(|source| source != "files")
}

/// What mmdebstrap asks for in a range.
const NEEDED_IDS: u64 = 65536;
