//! Ends the processes of a script with SIGTERM, then SIGKILL, and reports whether they ended.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use super::COMMAND;
use crate::ssh::channel::{Cancel, Link, Stop, Until};

/// The deadline for both signals and the report.
const KILL_TIMEOUT: Duration = Duration::from_secs(20);

/// Ends the process group and every other process of the script's session.
/// `timeout` and shells with job control give their children new groups.
/// Zombies do not count, because the machine may have no process that reaps them.
const KILL_SCRIPT: &str = r#"
alive() {
  for stat in /proc/[0-9]*/stat; do
    { read -r line <"$stat"; } 2>/dev/null || continue
    pid=${line%% *}
    set -- ${line##*) }
    case $1 in Z|X) continue ;; esac
    if [ "$3" = "$group" ] || [ "$4" = "$group" ]; then echo "$pid"; fi
  done
}
for signal in TERM KILL; do
  kill -"$signal" -- "-$group" 2>/dev/null
  tries=0
  while left=$(alive) && [ -n "$left" ] && [ "$tries" -lt 30 ]; do
    kill -"$signal" $left 2>/dev/null
    sleep 0.1
    tries=$((tries + 1))
  done
  [ -n "$left" ] || { echo "all its processes are gone after SIG$signal"; exit 0; }
done
echo "still running:" $left
"#;

/// Ends the processes of `group` over a second channel. Returns a description of their state.
pub(super) fn kill(link: &mut Link, group: i32) -> String {
    // The request that cancelled the script must not cancel this.
    let cancel = Cancel::default();
    let until = Until {
        deadline: Instant::now() + KILL_TIMEOUT,
        cancel: &cancel,
    };
    match try_kill(link, group, until) {
        Ok(report) if report.trim().is_empty() => {
            "the state of its processes is unknown".to_owned()
        }
        Ok(report) => report.trim().to_owned(),
        Err(Stop::Broken(why)) => {
            format!("its processes may still run: connection lost: {why}")
        }
        Err(Stop::Deadline | Stop::Cancelled | Stop::OutputLimit) => {
            "its processes may still run: the machine did not answer".to_owned()
        }
    }
}

fn try_kill(link: &mut Link, group: i32, until: Until<'_>) -> Result<String, Stop> {
    let mut channel = link.retry(until, |ssh| ssh.channel_session())?;
    link.retry(until, |_| channel.exec(COMMAND))?;
    let text = format!("{{\ngroup={group}\n{KILL_SCRIPT}\n}} </dev/null\n");
    let mut input = text.as_bytes();
    while !input.is_empty() {
        match channel.write(input) {
            Ok(written) => input = &input[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => link.pause(until)?,
            Err(error) => return Err(Stop::Broken(error.to_string())),
        }
    }
    link.retry(until, |_| channel.send_eof())?;
    let mut output = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        match channel.read(&mut buffer) {
            Ok(0) if channel.eof() => break,
            Ok(0) => link.pause(until)?,
            Ok(read) => output.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => link.pause(until)?,
            Err(error) => return Err(Stop::Broken(error.to_string())),
        }
    }
    Ok(String::from_utf8_lossy(&output).into_owned())
}
