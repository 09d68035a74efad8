//! Runs one [`Script`] on the session's thread and returns its exit status and output.
//! The remote command is constant; the script goes through standard input as one compound command.
//! Therefore a script that is received only in part does not run.

mod kill;

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use super::Script;
use super::channel::{Cancel, EAGAIN, Link, Stop, Until};
use super::error::SshError;
use super::output::{self, Ended, Output};
use crate::event::Events;
use crate::secret::Scrubber;
use crate::wait::Interrupted;

use kill::kill;

/// The remote command line for every script.
const COMMAND: &str = "exec setsid --wait sh -s";

/// The limit of captured output, in bytes.
pub(super) const OUTPUT_LIMIT_BYTES: usize = 8 * 1024 * 1024;

/// The number of consecutive reads of one stream.
const READS: usize = 8;

/// The time that output may stay open after the script ended. A daemon that it started may keep it.
const LINGER: Duration = Duration::from_secs(2);

/// The limit for reading the last output of a killed script.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs `script` and emits its output as events.
pub(super) fn run(
    link: &mut Link,
    script: &Script,
    scrubber: Scrubber,
    events: &Events,
    cancel: &Cancel,
) -> Result<Ended, SshError> {
    let text = format!(
        "exec 2>&1\n{}{}",
        output::control_prologue(),
        compound(&script.text)
    );
    let mut out = Output::streaming(&script.name, events, scrubber.clone());
    // Messages of `setsid` still arrive on standard error.
    let mut err = Output::last_lines(scrubber);
    let exit = run_to_end(link, script, text.as_bytes(), (&mut out, &mut err), cancel)?;
    for line in err.last() {
        out.push(format!("{line}\n").as_bytes());
    }
    Ok(out.into_ended(exit))
}

/// The exit status and the whole standard output of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The exit status.
    pub exit: i32,
    /// The standard output, scrubbed, each line with its newline.
    pub text: String,
    /// The last lines of standard error, scrubbed.
    pub last: Vec<String>,
}

/// Runs `script` and returns its output.
pub(super) fn capture(
    link: &mut Link,
    script: &Script,
    scrubber: Scrubber,
    cancel: &Cancel,
) -> Result<Captured, SshError> {
    let text = format!("{}{}", output::control_prologue(), compound(&script.text));
    let mut out = Output::capturing(scrubber.clone());
    let mut err = Output::last_lines(scrubber);
    let exit = run_to_end(link, script, text.as_bytes(), (&mut out, &mut err), cancel)?;
    Ok(Captured {
        exit,
        text: out.into_text(),
        last: err.last(),
    })
}

/// Wraps `text` in one compound command without standard input. The shell reads it before it runs.
fn compound(text: &str) -> String {
    format!("{{\n{text}\n}} </dev/null\n")
}

/// Runs the script to its end. Kills it at the deadline, if cancelled, or if it prints too much.
fn run_to_end(
    link: &mut Link,
    script: &Script,
    input: &[u8],
    (out, err): (&mut Output, &mut Output),
    cancel: &Cancel,
) -> Result<i32, SshError> {
    let until = Until {
        deadline: Instant::now() + script.timeout,
        cancel,
    };
    let mut running = Running {
        link,
        channel: None,
        input,
        eof_sent: false,
    };
    let ended = running.transfer(until, out, err);
    let stop = match ended {
        Ok(status) => return exit_status(script, status, out, err),
        Err(stop) => stop,
    };
    let killed = match &stop {
        Stop::Broken(_) => String::new(),
        Stop::Deadline | Stop::Cancelled | Stop::OutputLimit => running.kill(out, err),
    };
    match stop {
        Stop::Broken(why) => Err(SshError::Lost {
            what: script.name.clone(),
            why,
        }),
        Stop::Cancelled => Err(Interrupted.into()),
        Stop::OutputLimit => Err(SshError::OutputTooLong {
            what: script.name.clone(),
            limit_bytes: OUTPUT_LIMIT_BYTES,
        }),
        Stop::Deadline => Err(SshError::TimedOut {
            script: script.name.clone(),
            timeout_s: script.timeout.as_secs(),
            killed,
            last: out.last(),
        }),
    }
}

/// The exit status or signal of the remote command, from the SSH channel.
struct Status {
    exit: i32,
    signal: Option<String>,
}

fn exit_status(
    script: &Script,
    status: Status,
    out: &mut Output,
    err: &mut Output,
) -> Result<i32, SshError> {
    if let Some(signal) = status.signal {
        return Err(SshError::Signalled {
            script: script.name.clone(),
            signal,
            last: last_lines(out, err),
        });
    }
    match (status.exit, out.exit) {
        // A channel that closed without a status reads as 0, so a 0 needs the control line as well.
        (0, None) => Err(SshError::NoStatus {
            script: script.name.clone(),
            last: last_lines(out, err),
        }),
        (0, Some(reported)) => Ok(reported),
        (exit, _) => Ok(exit),
    }
}

fn last_lines(out: &mut Output, err: &mut Output) -> Vec<String> {
    let mut last = out.last();
    last.extend(err.last());
    last
}

/// A script that runs.
struct Running<'a> {
    link: &'a mut Link,
    channel: Option<ssh2::Channel>,
    input: &'a [u8],
    eof_sent: bool,
}

impl Running<'_> {
    /// Sends the script and reads its output until the remote command ends.
    fn transfer(
        &mut self,
        until: Until<'_>,
        out: &mut Output,
        err: &mut Output,
    ) -> Result<Status, Stop> {
        let mut channel = self.link.retry(until, |ssh| ssh.channel_session())?;
        self.link.retry(until, |_| channel.exec(COMMAND))?;
        self.channel = Some(channel.clone());
        let mut exit_reported_at = None;
        loop {
            let moved = self.write_input(&mut channel)?
                | self.read_output(&mut channel, until, out, err)?;
            if channel.eof() {
                break;
            }
            if out.text_bytes() > OUTPUT_LIMIT_BYTES {
                return Err(Stop::OutputLimit);
            }
            if let Some(exit) = out.exit {
                let since = *exit_reported_at.get_or_insert_with(Instant::now);
                if since.elapsed() > LINGER {
                    return Ok(Status { exit, signal: None });
                }
            }
            if !moved {
                self.link.pause(until)?;
            }
        }
        self.link.retry(until, |_| channel.wait_close())?;
        let exit = channel.exit_status()?;
        let signal = channel.exit_signal()?.exit_signal;
        // Both sides have ended the channel, so a failure has no effect.
        let _ = channel.close();
        Ok(Status { exit, signal })
    }

    /// Writes the rest of the script. Returns whether it wrote anything.
    fn write_input(&mut self, channel: &mut ssh2::Channel) -> Result<bool, Stop> {
        if self.eof_sent {
            return Ok(false);
        }
        if self.input.is_empty() {
            return match channel.send_eof() {
                Ok(()) => {
                    self.eof_sent = true;
                    Ok(true)
                }
                Err(error) if error.code() == EAGAIN => Ok(false),
                Err(error) => Err(error.into()),
            };
        }
        match channel.write(self.input) {
            Ok(written) => {
                self.input = &self.input[written..];
                Ok(written > 0)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(Stop::Broken(error.to_string())),
        }
    }

    /// Reads the available output. Returns whether it read anything.
    fn read_output(
        &mut self,
        channel: &mut ssh2::Channel,
        until: Until<'_>,
        out: &mut Output,
        err: &mut Output,
    ) -> Result<bool, Stop> {
        let mut moved = false;
        for (stream, output) in [(0, out), (ssh2::EXTENDED_DATA_STDERR, err)] {
            let mut buffer = [0; 32 * 1024];
            // Bounded, so that a script that prints without end does not block everything else.
            for _ in 0..READS {
                if self.link.half_sent() {
                    break;
                }
                match channel.stream(stream).read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => {
                        output.push(&buffer[..read]);
                        moved = true;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(Stop::Broken(error.to_string())),
                }
                // Checked here as well, for a script that prints without end.
                if until.cancel.is_set() {
                    return Err(Stop::Cancelled);
                }
                if Instant::now() >= until.deadline {
                    return Err(Stop::Deadline);
                }
            }
        }
        Ok(moved)
    }

    /// Kills the script's processes and returns a description of their state.
    fn kill(&mut self, out: &mut Output, err: &mut Output) -> String {
        let Some(mut channel) = self.channel.take() else {
            return "it had not started".to_owned();
        };
        let Some(group) = out.group else {
            return "its process group is unknown".to_owned();
        };
        let killed = kill(self.link, group);
        let cancel = Cancel::default();
        let until = Until {
            deadline: Instant::now() + DRAIN,
            cancel: &cancel,
        };
        while !channel.eof() {
            match self.read_output(&mut channel, until, out, err) {
                Ok(true) => {}
                Ok(false) if self.link.pause(until).is_ok() => {}
                Ok(false) | Err(_) => break,
            }
        }
        // A channel that does not close only takes memory until the session ends.
        let _ = channel.close();
        killed
    }
}
