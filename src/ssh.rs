//! Runs scripts on a machine over SSH, uploads files to it and reboots it.
//! Takes an [`Endpoint`] and the run's [`Keys`]; returns exit statuses, and emits output as events.
//! There is no password, agent, forwarding or terminal. Plans and steps are left to the caller.
//!
//! The host key is pinned. Scripts go through standard input, so no part of them is on a command
//! line. Each [`Session`] has a thread, which ends when the session is dropped.

mod archive;
mod connect;
mod error;
mod handshake;
mod keys;
mod channel;
mod output;
mod reboot;
mod script;
mod shell;
mod threads;
mod upload;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::event::Events;
use crate::secret::Scrubber;
use crate::wait::{Interrupt, Interrupted, Urgency};

pub use archive::{Archive, Packing};
pub use channel::ConnectionTimeouts;
pub use connect::Connector;
pub use error::{ConnectStage, SshError};
pub use keys::{InvalidKey, Keys, fingerprint};
pub use output::Ended;
pub use reboot::Reboot;
pub use script::Captured;
pub use shell::{InvalidVariable, export, quote};
pub use threads::join_all;

use channel::{Cancel, Job, Link};

/// The folder for uploads in a build VM. It is a tmpfs, so a reboot empties it.
pub const GUEST_WORK: &str = "/run/vault-bake/work";

/// The deadline for a second session with a machine that already has one.
const ANOTHER_TIMEOUT: Duration = Duration::from_secs(60);

/// The serial of the upload disk, which is faster than SSH. Only VMs on this computer have it.
pub(crate) const UPLOAD_DISK: &str = "vault-bake-upload";

/// The number of output lines that an error carries.
pub(crate) const LAST_LINES: usize = crate::process::LAST_LINES;

/// The address and login of an SSH server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The IP address and port.
    pub address: SocketAddr,
    /// The login name.
    pub user: String,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.user, self.address)
    }
}

/// A script for a machine. It is sent through standard input, so no argument list has any of it.
pub struct Script {
    /// The name in events and errors, as in `vault/install`.
    pub name: String,
    /// POSIX sh code, which root runs with standard input closed.
    ///
    /// It is read completely before it runs. It must neither `exec` nor set a trap on `EXIT`,
    /// because a trap reports its exit status.
    pub text: String,
    /// The deadline.
    pub timeout: Duration,
}

/// An authenticated session. Dropping it closes the connection.
pub struct Session {
    jobs: mpsc::Sender<Job>,
    connector: Connector,
}

impl Session {
    /// Connects and logs in, and retries until `timeout`.
    ///
    /// `died` is polled meanwhile. It returns why the machine is gone, which ends the wait.
    /// A wrong host key or a refused login also ends it.
    pub async fn connect(
        endpoint: &Endpoint,
        keys: &Keys,
        timeout: Duration,
        died: impl AsyncFnMut() -> Option<String>,
        scrubber: Scrubber,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Self, SshError> {
        Connector::new(endpoint, keys, scrubber)?
            .connect(timeout, died, events, interrupt)
            .await
    }

    /// Returns the endpoint that this session is connected to.
    pub fn endpoint(&self) -> &Endpoint {
        self.connector.endpoint()
    }

    /// Returns the scrubber that removes the run's secrets from output.
    pub fn scrubber(&self) -> &Scrubber {
        self.connector.scrubber()
    }

    /// Runs `script` and emits each line of standard output and standard error as an event.
    ///
    /// A time-out or an interrupt kills the script's processes. A non-zero exit status is not an
    /// error.
    pub async fn run(
        &self,
        script: Script,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Ended, SshError> {
        let events = events.clone();
        let scrubber = self.connector.scrubber().clone();
        self.run_on_thread(interrupt, move |link, cancel| {
            script::run(link, &script, scrubber, &events, cancel)
        })
        .await?
    }

    /// Runs `script` and returns its scrubbed standard output, at most 8 MiB.
    ///
    /// A non-zero exit status is not an error.
    pub async fn capture(
        &self,
        script: Script,
        interrupt: &Interrupt,
    ) -> Result<Captured, SshError> {
        let scrubber = self.connector.scrubber().clone();
        self.run_on_thread(interrupt, move |link, cancel| {
            script::capture(link, &script, scrubber, cancel)
        })
        .await?
    }

    /// Runs `script` as [`Session::capture`] does, but fails on a non-zero exit status.
    ///
    /// The error has the last lines of standard error.
    pub async fn output(&self, script: Script, interrupt: &Interrupt) -> Result<String, SshError> {
        let what = script.name.clone();
        match self.capture(script, interrupt).await? {
            Captured { exit: 0, text, .. } => Ok(text),
            Captured { exit, last, .. } => Err(SshError::Failed { what, exit, last }),
        }
    }

    /// Uploads the archive that `write` fills and unpacks it into `folder`, which is created.
    ///
    /// If `folder` is [`GUEST_WORK`], a tmpfs is mounted there first. `write` runs on the session's
    /// thread. `total_bytes` is the size of all content, for progress events.
    pub async fn upload(
        &self,
        folder: &str,
        total_bytes: Option<u64>,
        write: impl FnOnce(&mut Archive<'_>) -> std::io::Result<()> + Send + 'static,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), SshError> {
        let upload = upload::Upload {
            folder: folder.to_owned(),
            total_bytes,
            scrubber: self.connector.scrubber().clone(),
            events: events.clone(),
        };
        self.run_on_thread(interrupt, move |link, cancel| {
            upload.run(link, write, cancel)
        })
        .await?
    }

    /// Fills `folder` from the disk [`UPLOAD_DISK`] of the machine, an ext2 file system.
    ///
    /// Unpacks the archive `work.tar` of the disk, and links its folder `releases`, read-only.
    /// Returns false, and changes nothing, if the machine has no such disk.
    pub async fn upload_from_disk(
        &self,
        folder: &str,
        interrupt: &Interrupt,
    ) -> Result<bool, SshError> {
        let upload = upload::DiskUpload {
            folder: folder.to_owned(),
            scrubber: self.connector.scrubber().clone(),
        };
        self.run_on_thread(interrupt, move |link, cancel| upload.run(link, cancel))
            .await?
    }

    /// Opens a second session with the same machine, for work in parallel.
    pub async fn open_another(
        &self,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Self, SshError> {
        let alive = async || None;
        self.connector
            .connect(ANOTHER_TIMEOUT, alive, events, interrupt)
            .await
    }

    /// Reboots the machine and returns a session with its next boot, within `timeout`.
    pub async fn reboot(
        self,
        reboot: &Reboot,
        timeout: Duration,
        died: impl AsyncFnMut() -> Option<String>,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Self, SshError> {
        reboot::reboot(self, reboot, timeout, died, events, interrupt).await
    }

    /// Runs `work` on the session's thread. An interrupt, or dropping the future, cancels it.
    ///
    /// After an interrupt the thread may still kill the script's processes. A second interrupt ends
    /// that wait.
    async fn run_on_thread<T: Send + 'static>(
        &self,
        interrupt: &Interrupt,
        work: impl FnOnce(&mut Link, &Cancel) -> T + Send + 'static,
    ) -> Result<T, SshError> {
        let cancel = Cancel::default();
        let _cancelled_when_dropped = cancel.on_drop();
        let (reply, mut answer) = oneshot::channel();
        let lost = || SshError::Lost {
            what: self.endpoint().to_string(),
            why: "its session has ended".to_owned(),
        };
        let cancel_of_work = cancel.clone();
        self.jobs
            .send(Box::new(move |link| {
                // Fails if the caller dropped the future.
                let _ = reply.send(work(link, &cancel_of_work));
            }))
            .map_err(|_gone| lost())?;
        tokio::select! {
            biased;
            answer = &mut answer => return answer.map_err(|_gone| lost()),
            () = interrupt.raised(Urgency::CleanUp) => cancel.set(),
        }
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|_gone| lost()),
            () = interrupt.raised(Urgency::LeaveNow) => Err(Interrupted.into()),
        }
    }
}
