//! Talks to machines over SSH: one session, commands with live output, one compressed upload, restarts.
//!
//! In: an [`Endpoint`], the run's [`Keys`], scripts and files. Out: exit statuses, lines as events, or an
//! [`SshError`] that says how far it came. The machine's host key is pinned; nothing of a script is ever on a
//! command line. Every session lives on one blocking thread of its own, which ends with the [`Session`].
//! Deliberately offers no password, no agent, no forwarding and no terminal, and knows nothing of plans.

mod archive;
mod connect;
mod error;
mod handshake;
mod keys;
mod kill;
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
pub use channel::Patience;
pub use connect::Connector;
pub use error::{ConnectStage, SshError};
pub use keys::{InvalidKey, Keys, fingerprint};
pub use output::Ended;
pub use reboot::Reboot;
pub use script::Captured;
pub use shell::{InvalidVariable, export, quote};
pub use threads::join_all;

use channel::{Cancel, Job, Link};

/// Where everything that is uploaded lives in a guest: a tmpfs, gone with the next restart.
pub const GUEST_WORK: &str = "/run/vault-bake/work";

/// How long a machine that answers already may take to do so once more.
const ANOTHER_TIMEOUT: Duration = Duration::from_secs(60);

/// The serial of the disk that uploads can go by: machines of this computer see it, and read it faster than SSH brings.
pub const UPLOAD_DISK: &str = "vault-bake-upload";

/// How many last lines of a script's output are kept for its error.
pub const LAST_LINES: usize = crate::process::LAST_LINES;

/// A machine that should answer on SSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub address: SocketAddr,
    /// As whom.
    pub user: String,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.user, self.address)
    }
}

/// A command for the guest. What it does goes in by standard input, so that nothing of it is in an argument list.
pub struct Script {
    /// For events and errors, as in `vault/install`.
    pub name: String,
    /// POSIX sh, run by root with standard input closed. It is read to its end before any of it runs. It must
    /// neither `exec` nor set a trap on `EXIT`, because a trap tells its exit status.
    pub text: String,
    /// At the most.
    pub timeout: Duration,
}

/// An authenticated session. Dropping it closes the connection.
pub struct Session {
    jobs: mpsc::Sender<Job>,
    connector: Connector,
}

impl Session {
    /// Tries until the machine answers, `timeout` passes, or `died` (looked at all the while) says that it never
    /// will. A wrong host key or a refused login ends the wait as well.
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

    /// Where it leads.
    pub fn endpoint(&self) -> &Endpoint {
        self.connector.endpoint()
    }

    /// What removes the run's secrets from text that others wrote.
    pub fn scrubber(&self) -> &Scrubber {
        self.connector.scrubber()
    }

    /// Runs `script`; each line of output goes to events as it comes, standard error among it. A time-out or an
    /// interrupt ends the remote process group. An exit status other than 0 is for the caller to judge.
    pub async fn run(
        &self,
        script: Script,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Ended, SshError> {
        let events = events.clone();
        let scrubber = self.connector.scrubber().clone();
        self.ask(interrupt, move |link, cancel| {
            script::run(link, &script, scrubber, &events, cancel)
        })
        .await?
    }

    /// Runs `script` and keeps its standard output, scrubbed, which may have 8 MiB. An exit status other than 0 is for
    /// the caller to judge.
    pub async fn capture(
        &self,
        script: Script,
        interrupt: &Interrupt,
    ) -> Result<Captured, SshError> {
        let scrubber = self.connector.scrubber().clone();
        self.ask(interrupt, move |link, cancel| {
            script::capture(link, &script, scrubber, cancel)
        })
        .await?
    }

    /// As [`Session::capture`], but an exit status other than 0 is an error, with the last lines of standard error.
    pub async fn output(&self, script: Script, interrupt: &Interrupt) -> Result<String, SshError> {
        let what = script.name.clone();
        match self.capture(script, interrupt).await? {
            Captured { exit: 0, text, .. } => Ok(text),
            Captured { exit, last, .. } => Err(SshError::Failed { what, exit, last }),
        }
    }

    /// Unpacks what `write` puts into the archive into `folder`, which is made; where it is [`GUEST_WORK`] a tmpfs
    /// is mounted there first. `write` runs on the session's thread. `total_bytes` is the size of all content, for
    /// progress events.
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
        self.ask(interrupt, move |link, cancel| {
            upload.run(link, write, cancel)
        })
        .await?
    }

    /// As [`Session::upload`], but what the machine sees on its disk [`UPLOAD_DISK`], an ext2 file system: the archive `work.tar` is
    /// unpacked, the folder `releases` is there as it lies, not to be written to. False, and nothing is done, where the machine sees no
    /// such disk.
    pub async fn upload_by_disk(
        &self,
        folder: &str,
        interrupt: &Interrupt,
    ) -> Result<bool, SshError> {
        let by_disk = upload::ByDisk {
            folder: folder.to_owned(),
            scrubber: self.connector.scrubber().clone(),
        };
        self.ask(interrupt, move |link, cancel| by_disk.run(link, cancel))
            .await?
    }

    /// A second session with the same machine, which runs things beside this one's.
    pub async fn another(&self, events: &Events, interrupt: &Interrupt) -> Result<Self, SshError> {
        let alive = async || None;
        self.connector
            .connect(ANOTHER_TIMEOUT, alive, events, interrupt)
            .await
    }

    /// Restarts the machine and returns a session with its next boot, which must be up within `timeout`.
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

    /// Has the session's thread do `work`. An interrupt, or dropping the future, cancels it; after an interrupt the
    /// thread is still waited for, so that what it started is ended, unless we are asked to leave now.
    async fn ask<T: Send + 'static>(
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
        let seen_by_work = cancel.clone();
        self.jobs
            .send(Box::new(move |link| {
                // Nobody waits for the answer any more where the future was dropped.
                let _ = reply.send(work(link, &seen_by_work));
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
