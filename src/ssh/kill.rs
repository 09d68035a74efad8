//! Ends the processes of a script: first asked, then made to, then looked whether they are gone.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use super::channel::{Cancel, Link, Stop, Until};

/// At the most, for asking, making and looking.
const KILL: Duration = Duration::from_secs(20);

/// Ends the process group, and every other process of the script's session: `timeout` and shells with job control give
/// their children groups of their own. Zombies do not count, because nobody may be there to reap them.
const TEXT: &str = r#"
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
echo "still there:" $left
"#;

/// Ends the processes of `group` over a second channel, and says what became of them.
pub(super) fn kill(link: &mut Link, group: i32) -> String {
    // What is cancelled is the script; its end must not be.
    let cancel = Cancel::default();
    let until = Until {
        deadline: Instant::now() + KILL,
        cancel: &cancel,
    };
    match try_kill(link, group, until) {
        Ok(words) if words.trim().is_empty() => "nothing is known of its processes".to_owned(),
        Ok(words) => words.trim().to_owned(),
        Err(Stop::Broken(why)) => {
            format!("its processes may still run, the connection is lost: {why}")
        }
        Err(Stop::Deadline | Stop::Cancelled | Stop::TooMuch) => {
            "its processes may still run, the machine did not answer".to_owned()
        }
    }
}

fn try_kill(link: &mut Link, group: i32, until: Until<'_>) -> Result<String, Stop> {
    let mut channel = link.retry(until, |ssh| ssh.channel_session())?;
    link.retry(until, |_| channel.exec(super::script::COMMAND))?;
    let text = format!("{{\ngroup={group}\n{TEXT}\n}} </dev/null\n");
    let mut input = text.as_bytes();
    while !input.is_empty() {
        match channel.write(input) {
            Ok(written) => input = &input[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => link.pause(until)?,
            Err(error) => return Err(Stop::Broken(error.to_string())),
        }
    }
    link.retry(until, |_| channel.send_eof())?;
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        match channel.read(&mut buffer) {
            Ok(0) if channel.eof() => break,
            Ok(0) => link.pause(until)?,
            Ok(read) => said.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => link.pause(until)?,
            Err(error) => return Err(Stop::Broken(error.to_string())),
        }
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}
