//! Process groups as `/proc` shows them.
//!
//! In: the id of a group's leader. Out: who of it still runs. Zombies do not count: nobody may be there to reap them.

use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::wait;

/// How long the end of a killed group is waited for. Only a process that the kernel itself holds takes that long.
const GROUP_END: Duration = Duration::from_secs(1);

/// Kills every process of `group`, and blocks until they are gone.
pub(super) fn see_off(group: Pid) {
    wait::block(GROUP_END, || {
        let left = members(group);
        for pid in &left {
            // It may have ended between the look and the signal.
            let _ = rustix::process::kill_process(*pid, Signal::KILL);
        }
        left.is_empty()
    });
}

/// The processes of `group` that still run.
pub(crate) fn members(group: Pid) -> Vec<Pid> {
    let wanted = group.as_raw_nonzero().to_string();
    let in_group = |pid: &Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        let stat = stat.unwrap_or_default();
        // What precedes is the name, which may contain anything. What follows: state, parent, group.
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let state = fields.next();
        !matches!(state, Some("Z" | "X")) && fields.nth(1) == Some(&wanted)
    };
    all_processes().filter(in_group).collect()
}

/// The ids of all processes that can be seen.
pub(crate) fn all_processes() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}
