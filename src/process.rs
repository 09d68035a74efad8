//! Runs programs on this computer. No other module starts processes.
//! Takes a program and its arguments; returns its output, or an error with its last lines.
//! There is no shell, and arguments are never logged.
//!
//! Each child leads a new process group, so a Ctrl-C in a terminal reaches only vault-bake.
//! The group is killed when its [`Running`] is dropped, and ends on an interrupt.

mod error;
mod group;
mod lines;
mod log;
mod tail;
mod users;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::wait::{self, Interrupt};

use lines::{next_line, split};
use tail::Tail;

pub use error::{ProcessError, last_lines};
pub(crate) use group::{members, with_argument};
pub(crate) use log::{end_of_log, last_lines_of};
pub use users::{Users, users};

/// The number of output lines that an error carries.
pub(crate) const LAST_LINES: usize = 20;

/// A builder for running a program.
pub struct Program {
    name: String,
    command: Command,
    input: Vec<u8>,
    leaves_daemon: bool,
}

impl Program {
    /// Names the program: a path, or a name to find in `PATH`.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        let name = name.as_ref();
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the only module that starts programs"
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
            leaves_daemon: false,
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

    /// Sets the working directory.
    #[must_use]
    pub(crate) fn in_folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Sets the content of standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self.command.stdin(Stdio::piped());
        self
    }

    /// Lets the processes run on that the program leaves behind when it succeeds. For daemons: at
    /// the end of the first process, the daemon may still be in its process group.
    #[must_use]
    pub fn leaving_daemon(mut self) -> Self {
        self.leaves_daemon = true;
        self
    }

    /// Runs the program and returns its standard output. A non-zero exit status is an error.
    pub async fn run(mut self, interrupt: &Interrupt) -> Result<Vec<u8>, ProcessError> {
        let name = self.name.clone();
        let io = |error| ProcessError::Io {
            program: name.clone(),
            error,
        };
        self.command.stdout(Stdio::piped());
        let input = std::mem::take(&mut self.input);
        let leaves_daemon = self.leaves_daemon;
        let mut running = self.start()?;
        let stdin = running.child.stdin.take();
        let mut stdout = running
            .child
            .stdout
            .take()
            .expect("standard output is piped");
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program may end before it reads all input. Its exit status decides.
                let _ = stdin.write_all(&input).await;
            }
        };
        let mut output = Vec::new();
        let work =
            async { tokio::join!(feed, stdout.read_to_end(&mut output), running.child.wait()) };
        let (_, read, status) = match interrupt.or(work).await {
            Ok(ended) => ended,
            Err(interrupted) => {
                running.terminate().await;
                return Err(interrupted.into());
            }
        };
        read.map_err(io)?;
        let status = status.map_err(io)?;
        if status.success() {
            if leaves_daemon {
                running.group = None;
            }
            Ok(output)
        } else {
            Err(running.failure(status).await)
        }
    }

    /// Runs the program and returns its exit status.
    /// Calls `on_line` for each line of standard output and standard error.
    pub async fn lines(
        mut self,
        mut on_line: impl FnMut(&str),
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
                on_line(String::from_utf8_lossy(&read?).trim_end());
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
                running.terminate().await;
                Err(interrupted.into())
            }
        }
    }

    /// Starts the program without waiting for its end. Its standard output is discarded.
    pub fn start(mut self) -> Result<Running, ProcessError> {
        self.command.stderr(Stdio::piped());
        let mut running = self.spawn()?;
        let stderr = running.child.stderr.take();
        let stderr = stderr.expect("standard error is piped");
        running.reading = tokio::spawn(running.tail.clone().fill(stderr));
        Ok(running)
    }

    /// Starts the program so that it outlives this process. Returns its process id.
    /// The program appends its output to the file `log`.
    pub fn start_detached(mut self, log: &Path) -> Result<u32, ProcessError> {
        let name = self.name.clone();
        let start = |error| ProcessError::Start {
            program: name.clone(),
            error,
        };
        let mut options = std::fs::OpenOptions::new();
        let log = options.create(true).append(true).open(log);
        let log = log.map_err(start)?;
        self.command
            .stdout(log.try_clone().map_err(start)?)
            .stderr(log);
        let mut running = self.spawn()?;
        let pid = running.pid().unwrap_or_default();
        // A caller may look for it by an argument at once, but a new program has none at first.
        wait::block(EXEC_TIMEOUT, || {
            group::has_arguments(pid) || running.exit_status().is_some()
        });
        running.detach();
        Ok(pid)
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

    /// Returns the arguments, for tests.
    pub fn arguments(&self) -> Vec<OsString> {
        self.command
            .as_std()
            .get_args()
            .map(OsStr::to_os_string)
            .collect()
    }
}

/// Replaces this process by a program, which gets the terminal. Returns only if that fails.
pub fn replace_this(command: &[String]) -> ProcessError {
    use std::os::unix::process::CommandExt as _;
    let (program, arguments) = command.split_first().expect("a command names a program");
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the only module that starts programs"
    )]
    let error = std::process::Command::new(program).args(arguments).exec();
    ProcessError::Start {
        program: program.clone(),
        error,
    }
}

/// A running program. Dropping it kills its process group.
pub struct Running {
    name: String,
    child: Child,
    /// The process group that the child leads. `None` after the group was killed or left running.
    group: Option<Pid>,
    tail: Tail,
    reading: JoinHandle<()>,
}

impl Running {
    /// Returns the process id while the program runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns the exit status if the program has ended.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the end of the program.
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        self.child.wait().await.map_err(|error| ProcessError::Io {
            program: self.name.clone(),
            error,
        })
    }

    /// Sends SIGTERM to the process group, waits up to five seconds, then sends SIGKILL.
    pub async fn terminate(&mut self) {
        self.signal(Signal::TERM);
        // After a time-out the group is killed.
        let _ = tokio::time::timeout(GRACE, self.child.wait()).await;
        self.kill().await;
    }

    /// Kills the process group and waits for its end.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        // Fails if the child has already ended.
        let _ = self.child.kill().await;
        self.kill_group();
    }

    /// Sends SIGKILL to the process group, without waiting for its end.
    pub(crate) fn signal_kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Leaves the program running after vault-bake exits.
    pub fn detach(self) {
        // Skips the destructor, which would kill the program.
        std::mem::forget(self);
    }

    /// Sends a signal to the process group, unless the child was reaped.
    /// Until then the kernel does not reuse the group's id.
    fn signal(&self, signal: Signal) {
        if let (Some(_), Some(group)) = (self.child.id(), self.group) {
            // Fails if all processes have ended.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    /// Kills the rest of the process group, and blocks until it has ended, some milliseconds.
    fn kill_group(&mut self) {
        if let Some(group) = self.group.take() {
            group::kill_members(group);
        }
    }

    /// Waits for the end of standard error, at most `limit`. A child process may keep it open.
    pub(crate) async fn drain_stderr(&mut self, limit: Duration) {
        // After a time-out the lines read so far are used.
        let _ = tokio::time::timeout(limit, &mut self.reading).await;
    }

    /// Whether standard error has been read to its end.
    pub(crate) fn is_stderr_closed(&self) -> bool {
        self.reading.is_finished()
    }

    /// Returns the last lines of standard error.
    pub fn last_lines(&self) -> Vec<String> {
        self.tail.lines()
    }

    /// Returns the error for a program that ended with `status`.
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
        self.kill_group();
    }
}

/// The limit until the kernel has set up a new program. It takes microseconds on an idle computer.
const EXEC_TIMEOUT: Duration = Duration::from_secs(5);

/// The time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {:?})", self.name, self.child.id())
    }
}
