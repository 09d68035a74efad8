//! Lists and kills the processes of a process group, from `/proc`.
//! Zombies do not count, because the system may have no process that reaps them.

use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::wait;

/// The limit for the end of a killed group. Only a process blocked in the kernel takes so long.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// Kills every process of `group`, and blocks until all have ended.
pub(super) fn kill_members(group: Pid) {
    wait::block(KILL_TIMEOUT, || {
        let running = members(group);
        for pid in &running {
            // Fails if the process has just ended.
            let _ = rustix::process::kill_process(*pid, Signal::KILL);
        }
        running.is_empty()
    });
}

/// Returns the processes of `group` that still run.
pub(crate) fn members(group: Pid) -> Vec<Pid> {
    let group_id = group.as_raw_nonzero().to_string();
    let in_group = |pid: &Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        let stat = stat.unwrap_or_default();
        // The name before `) ` may contain anything. The fields after it are state, parent, group.
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let state = fields.next();
        !matches!(state, Some("Z" | "X")) && fields.nth(1) == Some(&group_id)
    };
    all_processes().filter(in_group).collect()
}

/// Returns the processes that have `argument` as a whole argument. Zombies have no arguments.
pub(crate) fn with_argument(argument: &str) -> Vec<Pid> {
    let own = rustix::process::getpid();
    let has_argument = |pid: &Pid| {
        let command_line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
        let command_line = command_line.unwrap_or_default();
        let mut arguments = command_line.split(|byte| *byte == 0);
        *pid != own && arguments.any(|found| found == argument.as_bytes())
    };
    all_processes().filter(has_argument).collect()
}

/// Returns whether a process has arguments. A new program has none until the kernel has set it up.
pub(super) fn has_arguments(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// Returns the ids of all visible processes.
fn all_processes() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}
