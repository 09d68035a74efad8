//! SKELETON. Talks to guests: one session, commands with live output, one compressed upload.

use std::net::SocketAddr;
use std::time::Duration;

use crate::event::Events;
use crate::secret::Scrubber;
use crate::wait::Interrupt;

/// The keys of one run: made for it, gone with it.
pub struct Keys {
    /// The host's private key, OpenSSH format; goes into the machine.
    pub host_private: crate::secret::Secret,
    /// `ssh-ed25519 AAAA…`: the only host key that is accepted.
    pub host_public: String,
    /// Ours, OpenSSH format; stays in memory.
    pub user_private: crate::secret::Secret,
    /// `ssh-ed25519 AAAA…`: the only key that the machine lets in.
    pub user_public: String,
}

impl Keys {
    /// Makes new keys.
    pub fn generate() -> Self {
        unimplemented!()
    }
}

/// A machine that should answer on SSH.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where.
    pub address: SocketAddr,
    /// As whom.
    pub user: String,
}

/// A command for the guest. What it does goes in by standard input, so that nothing of it is in an argument list.
pub struct Script {
    /// For events and errors, as in `vault/install`.
    pub name: String,
    /// POSIX sh, run by root with standard input closed.
    pub text: String,
    /// At the most.
    pub timeout: Duration,
}

/// How a script ended.
pub struct Ended {
    /// Its exit status.
    pub exit: i32,
    /// Its output, scrubbed, at most the last `LAST_LINES` lines.
    pub last: Vec<String>,
    /// Of the whole output (scrubbed lines, each with its newline).
    pub log_digest: crate::digest::Digest,
}

/// What went wrong between us and a machine.
#[derive(Debug, thiserror::Error)]
pub enum SshError {}

/// An authenticated session.
pub struct Session {}

impl Session {
    /// Tries until the machine answers, `timeout` passes, or `died` (looked at between tries) says that it never will.
    pub async fn connect(
        endpoint: &Endpoint,
        keys: &Keys,
        timeout: Duration,
        died: impl AsyncFnMut() -> Option<String>,
        scrubber: Scrubber,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Self, SshError> {
        unimplemented!()
    }

    /// Runs `script`; each line of output goes to events as it comes. A time-out or an interrupt kills the remote process
    /// group. An exit status other than 0 is for the caller to judge.
    pub async fn run(
        &self,
        script: Script,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Ended, SshError> {
        unimplemented!()
    }

    /// Unpacks a gzip-compressed tar stream, made by `write` on another thread, into `folder`, which is made.
    pub async fn upload(
        &self,
        folder: &str,
        write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()> + Send + 'static,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), SshError> {
        unimplemented!()
    }
}
