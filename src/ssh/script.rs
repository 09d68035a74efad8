//! Runs one script on the session's thread.
//!
//! In: a [`Script`]. Out: how it ended. The remote command is a constant; the script goes in by standard input, as
//! one compound command, so that a half-received script runs not at all.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use super::Script;
use super::channel::{Cancel, Link, Stop, Until};
use super::error::SshError;
use super::kill::kill;
use super::output::{self, Ended, Output};
use crate::event::Events;
use crate::secret::Scrubber;
use crate::wait::Interrupted;

/// The one command that is ever on a remote command line for a script.
pub(super) const COMMAND: &str = "exec setsid --wait sh -s";

/// How much [`super::Session::output`] takes, in bytes.
pub(super) const OUTPUT_LIMIT_BYTES: usize = 8 * 1024 * 1024;

/// How many times in a row one stream is read.
const READS: usize = 8;

/// How long the output of a script may stay open after its end, as a daemon that it left behind holds it.
const LINGER: Duration = Duration::from_secs(2);

/// How long the last output of a killed script is waited for.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs `script` and tells its output.
pub(super) fn run(
    link: &mut Link,
    script: &Script,
    scrubber: Scrubber,
    events: &Events,
    cancel: &Cancel,
) -> Result<Ended, SshError> {
    let text = format!(
        "exec 2>&1\n{}{}",
        output::with_events(),
        compound(&script.text)
    );
    let mut out = Output::next_line(&script.name, events, scrubber.clone());
    // What is not the script's own, as a message of `setsid`, still comes on the other stream.
    let mut err = Output::kept_last(scrubber);
    let exit = attend(link, script, text.as_bytes(), (&mut out, &mut err), cancel)?;
    for line in err.last() {
        out.take(format!("{line}\n").as_bytes());
    }
    Ok(out.ended(exit))
}

/// A script's whole standard output, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Its exit status.
    pub exit: i32,
    /// Its standard output, scrubbed, each line with its newline.
    pub text: String,
    /// The last lines of its standard error, scrubbed.
    pub last: Vec<String>,
}

/// Runs `script` and keeps its output.
pub(super) fn capture(
    link: &mut Link,
    script: &Script,
    scrubber: Scrubber,
    cancel: &Cancel,
) -> Result<Captured, SshError> {
    let text = format!("{}{}", output::with_events(), compound(&script.text));
    let mut out = Output::kept(scrubber.clone());
    let mut err = Output::kept_last(scrubber);
    let exit = attend(link, script, text.as_bytes(), (&mut out, &mut err), cancel)?;
    Ok(Captured {
        exit,
        text: out.into_text(),
        last: err.last(),
    })
}

/// `text` as one command, read to its end before it runs, without standard input.
fn compound(text: &str) -> String {
    format!("{{\n{text}\n}} </dev/null\n")
}

/// Feeds the script, takes its output, and sees to its end, one way or the other.
fn attend(
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
    let ended = running.attend(until, out, err);
    let stop = match ended {
        Ok(status) => return evaluate(script, status, out, err),
        Err(stop) => stop,
    };
    let killed = match &stop {
        Stop::Broken(_) => String::new(),
        Stop::Deadline | Stop::Cancelled | Stop::TooMuch => running.kill(out, err),
    };
    match stop {
        Stop::Broken(why) => Err(SshError::Lost {
            what: script.name.clone(),
            why,
        }),
        Stop::Cancelled => Err(Interrupted.into()),
        Stop::TooMuch => Err(SshError::TooMuch {
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

/// How the remote command ended, as its channel says.
struct Status {
    exit: i32,
    signal: Option<String>,
}

fn evaluate(
    script: &Script,
    status: Status,
    out: &mut Output,
    err: &mut Output,
) -> Result<i32, SshError> {
    if let Some(signal) = status.signal {
        return Err(SshError::Signalled {
            script: script.name.clone(),
            signal,
            last: last(out, err),
        });
    }
    match (status.exit, out.exit) {
        // A channel that was closed without a status reads as 0, so a 0 is believed only where the script says so too.
        (0, None) => Err(SshError::NoStatus {
            script: script.name.clone(),
            last: last(out, err),
        }),
        (0, Some(told)) => Ok(told),
        (exit, _) => Ok(exit),
    }
}

fn last(out: &mut Output, err: &mut Output) -> Vec<String> {
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
    fn attend(
        &mut self,
        until: Until<'_>,
        out: &mut Output,
        err: &mut Output,
    ) -> Result<Status, Stop> {
        let mut channel = self.link.retry(until, |ssh| ssh.channel_session())?;
        self.link.retry(until, |_| channel.exec(COMMAND))?;
        self.channel = Some(channel.clone());
        let mut told_exit = None;
        loop {
            let moved = self.feed(&mut channel)? | self.take(&mut channel, until, out, err)?;
            if channel.eof() {
                break;
            }
            if out.kept_bytes() > OUTPUT_LIMIT_BYTES {
                return Err(Stop::TooMuch);
            }
            if let Some(exit) = out.exit {
                let since = *told_exit.get_or_insert_with(Instant::now);
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
        // The channel is done with on both sides, so whether this arrives does not matter.
        let _ = channel.close();
        Ok(Status { exit, signal })
    }

    /// Writes what the script still has to get; whether any of it went.
    fn feed(&mut self, channel: &mut ssh2::Channel) -> Result<bool, Stop> {
        if self.eof_sent {
            return Ok(false);
        }
        if self.input.is_empty() {
            return match channel.send_eof() {
                Ok(()) => {
                    self.eof_sent = true;
                    Ok(true)
                }
                Err(error) if error.code() == ssh2::ErrorCode::Session(-37) => Ok(false),
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

    /// Reads what there is; whether there was anything.
    fn take(
        &mut self,
        channel: &mut ssh2::Channel,
        until: Until<'_>,
        out: &mut Output,
        err: &mut Output,
    ) -> Result<bool, Stop> {
        let mut moved = false;
        for (stream, taker) in [(0, out), (ssh2::EXTENDED_DATA_STDERR, err)] {
            let mut buffer = [0; 32 * 1024];
            // Nothing else may be tried while a packet is half sent; and a script that prints without end must not keep us
            // from everything else.
            for _ in 0..READS {
                if self.link.half_sent() {
                    break;
                }
                match channel.stream(stream).read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => {
                        taker.take(&buffer[..read]);
                        moved = true;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(Stop::Broken(error.to_string())),
                }
                // A script that prints without end is still ended in time.
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

    /// Ends the script's processes, and says what became of them.
    fn kill(&mut self, out: &mut Output, err: &mut Output) -> String {
        let Some(mut channel) = self.channel.take() else {
            return "it had not started".to_owned();
        };
        let Some(group) = out.group else {
            return "it had not told its process group".to_owned();
        };
        let killed = kill(self.link, group);
        let cancel = Cancel::default();
        let until = Until {
            deadline: Instant::now() + DRAIN,
            cancel: &cancel,
        };
        while !channel.eof() {
            match self.take(&mut channel, until, out, err) {
                Ok(true) => {}
                Ok(false) if self.link.pause(until).is_ok() => {}
                Ok(false) | Err(_) => break,
            }
        }
        // The processes are gone; a channel that does not close costs nothing but memory of the session.
        let _ = channel.close();
        killed
    }
}
