//! What can go wrong between us and a machine.

use std::fmt;

use super::keys::InvalidKey;
use crate::process::last_lines;
use crate::wait::Interrupted;

/// How far a login came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectStage {
    /// No TCP connection.
    Tcp,
    /// Connected, but no SSH server spoke.
    Banner,
    /// A server spoke, but no keys were agreed upon.
    KeyExchange,
    /// Keys were agreed upon, but the host key is another.
    HostKey,
    /// The server is the right one, but did not let us in.
    Authentication,
}

impl fmt::Display for ConnectStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp connection",
            Self::Banner => "banner",
            Self::KeyExchange => "key exchange",
            Self::HostKey => "host key",
            Self::Authentication => "authentication",
        })
    }
}

impl ConnectStage {
    /// What usually helps where a login stays at this stage.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Tcp => {
                "nothing listens there: look at the machine's console, it may not have started"
            }
            Self::Banner => {
                "the machine has no ssh server yet: look at its console, or allow it more time to start"
            }
            Self::KeyExchange => {
                "the server must offer an ed25519 host key: look whether its key arrived in the machine"
            }
            Self::HostKey => {
                "something else answers at this address, or the machine made a host key of its own"
            }
            Self::Authentication => {
                "the machine does not know our key: look whether authorized_keys arrived and root may log in by key"
            }
        }
    }
}

/// What went wrong between us and a machine.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A key of ours cannot be used.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The session's thread could not be started.
    #[error("a thread for the session could not be started: {0}")]
    Thread(std::io::Error),
    /// The machine did not answer in time.
    #[error("{endpoint} did not answer on ssh within {waited_s} s; it came to: {stage}; last seen: {last}; {}", .stage.hint())]
    NotUp {
        /// Which machine.
        endpoint: String,
        /// For how long it was waited, in seconds.
        waited_s: u64,
        /// How far the last try came.
        stage: ConnectStage,
        /// What the last try saw.
        last: String,
    },
    /// The machine did not come back from a restart.
    #[error(
        "{endpoint} was to restart, but shows no new boot after {waited_s} s; last seen: {last}"
    )]
    NotRebooted {
        /// Which machine.
        endpoint: String,
        /// For how long it was waited, in seconds.
        waited_s: u64,
        /// What the last look saw.
        last: String,
    },
    /// The machine is gone.
    #[error("{endpoint} died before it answered on ssh: {words}")]
    Died {
        /// Which machine.
        endpoint: String,
        /// Its last words.
        words: String,
    },
    /// Somebody else answers.
    #[error("{endpoint} has the wrong host key: expected {expected}, found {found}; {}", ConnectStage::HostKey.hint())]
    HostKey {
        /// Which machine.
        endpoint: String,
        /// The fingerprint of the pinned key.
        expected: String,
        /// The fingerprint of the key that it has.
        found: String,
    },
    /// The machine does not let us in.
    #[error("{endpoint} refused our key {tries} times; {}", ConnectStage::Authentication.hint())]
    Refused {
        /// Which machine.
        endpoint: String,
        /// How often it was tried.
        tries: u32,
    },
    /// The connection broke.
    #[error("{what}: connection lost: {why}")]
    Lost {
        /// What was going on, as in `vault/install`.
        what: String,
        /// How it showed.
        why: String,
    },
    /// A script did not end in time.
    #[error("{script} did not end within {timeout_s} s and was killed: {killed}{}", last_lines(.last))]
    TimedOut {
        /// Which.
        script: String,
        /// What it had, in seconds.
        timeout_s: u64,
        /// What became of its processes.
        killed: String,
        /// Its last lines, scrubbed.
        last: Vec<String>,
    },
    /// A script was ended by a signal.
    #[error("{script} was ended by signal {signal}{}", last_lines(.last))]
    Signalled {
        /// Which.
        script: String,
        /// As in `KILL`.
        signal: String,
        /// Its last lines, scrubbed.
        last: Vec<String>,
    },
    /// A script ended, but nothing says how.
    #[error("{script} ended without its exit status; it must neither `exec` nor trap EXIT{}", last_lines(.last))]
    NoStatus {
        /// Which.
        script: String,
        /// Its last lines, scrubbed.
        last: Vec<String>,
    },
    /// A command that must succeed did not.
    #[error("{what} failed (exit {exit}){}", last_lines(.last))]
    Failed {
        /// Which.
        what: String,
        /// Its exit status.
        exit: i32,
        /// The last lines of its standard error, scrubbed.
        last: Vec<String>,
    },
    /// A command printed more than is taken.
    #[error("{what} printed more than {limit_bytes} bytes")]
    TooMuch {
        /// Which.
        what: String,
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// The archive to upload could not be made.
    #[error("upload: {0}")]
    Archive(std::io::Error),
    /// We were asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl SshError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}
