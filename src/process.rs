//! Starts programs of this machine. The only place that does.
//!
//! In: a program and its arguments. Out: its output, or an error with its last lines. Each child leads a process group of
//! its own, so that a terminal's Ctrl-C reaches us alone; the group dies with the value that holds it, and ends on an
//! interrupt. Deliberately never goes through a shell and never logs arguments.

mod group;
mod tail;
mod users;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, Split,
};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::wait::{Interrupt, Interrupted};

use tail::Tail;

pub(crate) use group::{all_processes, members};
pub use users::{Users, users};

/// How many last lines of a program's output an error carries.
pub const LAST_LINES: usize = 20;

/// A program that could not be started, or that failed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It is not installed, or may not be run.
    #[error("{program} could not be started: {error}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        error: std::io::Error,
    },
    /// It ended with a status other than 0.
    #[error("{program} failed ({status}){}", last_lines(.last))]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it printed on standard error.
        last: Vec<String>,
    },
    /// Talking to it failed.
    #[error("{program}: {error}")]
    Io {
        /// The program.
        program: String,
        /// What failed.
        error: std::io::Error,
    },
    /// We were asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl ProcessError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

/// The last lines of something as an indented block that follows an error's first line; nothing where there are none.
pub fn last_lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  | {line}")).collect()
}

/// A program to run, with its arguments.
pub struct Program {
    name: String,
    command: Command,
    input: Vec<u8>,
}

impl Program {
    /// The program `name`, found by `PATH` where it has no slash.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        let name = name.as_ref();
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one door to other programs"
        )]
        let mut command = Command::new(name);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        Self {
            name: Path::new(name)
                .file_name()
                .unwrap_or(name)
                .to_string_lossy()
                .into_owned(),
            command,
            input: Vec::new(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in `folder`.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Writes `input` to its standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self.command.stdin(Stdio::piped());
        self
    }

    /// Runs it to its end and returns its standard output. An exit status other than 0 is an error.
    pub async fn run(mut self, interrupt: &Interrupt) -> Result<Vec<u8>, ProcessError> {
        let name = self.name.clone();
        let io = |error| ProcessError::Io {
            program: name.clone(),
            error,
        };
        self.command.stdout(Stdio::piped());
        let input = std::mem::take(&mut self.input);
        let mut running = self.start()?;
        let stdin = running.child.stdin.take();
        let mut stdout = running
            .child
            .stdout
            .take()
            .expect("standard output is piped");
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program may end without reading all of its input; its status tells whether that was right.
                let _ = stdin.write_all(&input).await;
            }
        };
        let mut output = Vec::new();
        let work =
            async { tokio::join!(feed, stdout.read_to_end(&mut output), running.child.wait()) };
        let (_, read, status) = match interrupt.or(work).await {
            Ok(ended) => ended,
            Err(interrupted) => {
                running.end().await;
                return Err(interrupted.into());
            }
        };
        read.map_err(io)?;
        let status = status.map_err(io)?;
        if status.success() {
            Ok(output)
        } else {
            Err(running.failure(status).await)
        }
    }

    /// Runs it to its end and returns its status; each line that it prints, on either stream, goes to `line`.
    pub async fn lines(
        mut self,
        mut line: impl FnMut(&str),
        interrupt: &Interrupt,
    ) -> Result<ExitStatus, ProcessError> {
        let name = self.name.clone();
        let io = |error| ProcessError::Io {
            program: name.clone(),
            error,
        };
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = self.spawn()?;
        let mut stdout = running.child.stdout.take().map(split);
        let mut stderr = running.child.stderr.take().map(split);
        let reading = async {
            loop {
                let read = tokio::select! {
                    Some(read) = next_line(&mut stdout) => read,
                    Some(read) = next_line(&mut stderr) => read,
                    else => return Ok(()),
                };
                line(String::from_utf8_lossy(&read?).trim_end());
            }
        };
        let ended = match interrupt.or(reading).await {
            Ok(read) => {
                read.map_err(io)?;
                interrupt.or(running.child.wait()).await
            }
            Err(interrupted) => Err(interrupted),
        };
        match ended {
            Ok(status) => status.map_err(io),
            Err(interrupted) => {
                running.end().await;
                Err(interrupted.into())
            }
        }
    }

    /// Starts it and leaves it running. Its standard output goes nowhere.
    pub fn start(mut self) -> Result<Running, ProcessError> {
        self.command.stderr(Stdio::piped());
        let mut running = self.spawn()?;
        let stderr = running.child.stderr.take();
        let stderr = stderr.expect("standard error is piped");
        running.reading = tokio::spawn(running.tail.clone().fill(stderr));
        Ok(running)
    }

    fn spawn(mut self) -> Result<Running, ProcessError> {
        let child = self.command.spawn().map_err(|error| ProcessError::Start {
            program: self.name.clone(),
            error,
        })?;
        Ok(Running {
            name: self.name,
            group: child.id().and_then(|id| Pid::from_raw(id.cast_signed())),
            child,
            tail: Tail::default(),
            reading: tokio::spawn(async {}),
        })
    }

    /// The arguments, for tests that hold what a command line must say and must not.
    pub fn arguments(&self) -> Vec<OsString> {
        self.command
            .as_std()
            .get_args()
            .map(OsStr::to_os_string)
            .collect()
    }
}

/// A program that runs. Dropping it kills it.
pub struct Running {
    name: String,
    child: Child,
    /// The process group that it leads, until that was seen to end.
    group: Option<Pid>,
    tail: Tail,
    reading: JoinHandle<()>,
}

impl Running {
    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, where it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        self.child.wait().await.map_err(|error| ProcessError::Io {
            program: self.name.clone(),
            error,
        })
    }

    /// Asks it and its children to end, waits a little, then kills those that did not.
    pub async fn end(&mut self) {
        self.signal(Signal::TERM);
        // It has a status, or it has to be killed.
        let _ = tokio::time::timeout(GRACE, self.child.wait()).await;
        self.kill().await;
    }

    /// Kills it and its children, and waits for their end.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        // It may have ended by itself just now.
        let _ = self.child.kill().await;
        self.see_off();
    }

    /// Lets it run on beyond us.
    pub fn leave(self) {
        // Without its destructor nothing ends the program.
        std::mem::forget(self);
    }

    /// Sends a signal to its process group, where it was not seen to end: until then its id belongs to nobody else.
    fn signal(&self, signal: Signal) {
        if let (Some(_), Some(group)) = (self.child.id(), self.group) {
            // It may have ended a moment ago.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    /// Kills what is left of its group, and blocks until nothing is: a kernel takes some milliseconds for that.
    fn see_off(&mut self) {
        if let Some(group) = self.group.take() {
            group::see_off(group);
        }
    }

    /// Waits until its standard error was read to its end, at most `limit`: a child of it may keep that open.
    pub(crate) async fn said_all(&mut self, limit: Duration) {
        // What was read until then has to do.
        let _ = tokio::time::timeout(limit, &mut self.reading).await;
    }

    /// Whether its standard error was read to its end.
    pub(crate) fn has_said_all(&self) -> bool {
        self.reading.is_finished()
    }

    /// The last lines that it printed on standard error.
    pub fn last_lines(&self) -> Vec<String> {
        self.tail.lines()
    }

    /// The error that describes its end.
    pub async fn failure(&mut self, status: ExitStatus) -> ProcessError {
        let _ = (&mut self.reading).await;
        ProcessError::Failed {
            program: self.name.clone(),
            status,
            last: self.tail.lines(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.see_off();
    }
}

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {:?})", self.name, self.child.id())
    }
}

fn split<R: AsyncRead + Unpin>(stream: R) -> Split<BufReader<R>> {
    BufReader::new(stream).split(b'\n')
}

/// The next line of a stream, which is forgotten at its end.
async fn next_line<R: AsyncBufRead + Unpin>(
    stream: &mut Option<Split<R>>,
) -> Option<std::io::Result<Vec<u8>>> {
    let read = stream.as_mut()?.next_segment().await.transpose();
    if read.is_none() {
        *stream = None;
    }
    read
}
