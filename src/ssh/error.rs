//! Errors of an SSH session.

use std::fmt;

use super::keys::InvalidKey;
use crate::process::last_lines;
use crate::wait::Interrupted;

/// The stage at which a login failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectStage {
    /// The TCP connection.
    Tcp,
    /// The banner of the SSH server.
    Banner,
    /// The key exchange.
    KeyExchange,
    /// The check of the host key.
    HostKey,
    /// The login with the run's key.
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
    /// Returns what usually helps if a login fails at this stage, as an imperative.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Tcp => "Look at the VM's console: it may not have started.",
            Self::Banner => {
                "Look at the VM's console: its SSH server may not have started. \
                 Or raise `boot_timeout_s`."
            }
            Self::KeyExchange => {
                "Check that the run's ed25519 host key arrived in the VM, \
                 and that its SSH server offers it."
            }
            Self::HostKey => {
                "Check that no other machine has this address, \
                 and that the VM does not generate its host key."
            }
            Self::Authentication => {
                "Check that `authorized_keys` arrived in the VM, \
                 and that its SSH server lets root log in by key."
            }
        }
    }
}

/// An SSH session, or an operation of one, that failed.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A key of the run that cannot be used.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// A thread that cannot be started.
    #[error("cannot start a thread for the SSH session: {0}")]
    Thread(std::io::Error),
    /// A machine that did not answer in time.
    #[error(
        "{endpoint} did not answer on SSH within {waited_s} s: failed at {stage}; last seen: {last}"
    )]
    NotUp {
        /// The user and address.
        endpoint: String,
        /// The time waited, in seconds.
        waited_s: u64,
        /// The stage that the last try reached.
        stage: ConnectStage,
        /// The observation of the last try.
        last: String,
    },
    /// A machine that did not reboot in time.
    #[error("{endpoint} did not reboot within {waited_s} s; last seen: {last}")]
    NotRebooted {
        /// The user and address.
        endpoint: String,
        /// The time waited, in seconds.
        waited_s: u64,
        /// The last observation.
        last: String,
    },
    /// A machine that ended before a login.
    #[error("{endpoint} died before it answered on SSH: {words}")]
    Died {
        /// The user and address.
        endpoint: String,
        /// The reason.
        words: String,
    },
    /// A server with another host key.
    #[error("{endpoint} has the wrong host key: expected {expected}, found {found}")]
    HostKey {
        /// The user and address.
        endpoint: String,
        /// The fingerprint of the pinned key.
        expected: String,
        /// The fingerprint of the server's key.
        found: String,
    },
    /// A server that refuses the run's key.
    #[error("{endpoint} refused the run's SSH key {tries} times")]
    Refused {
        /// The user and address.
        endpoint: String,
        /// The number of tries.
        tries: u32,
    },
    /// A connection that broke.
    #[error("{what}: connection lost: {why}")]
    Lost {
        /// The operation, as in `vault/install`.
        what: String,
        /// The reason.
        why: String,
    },
    /// A script that did not end in time.
    #[error("{script} did not end within {timeout_s} s and was killed: {killed}{}", last_lines(.last))]
    TimedOut {
        /// The name of the script.
        script: String,
        /// The limit in seconds.
        timeout_s: u64,
        /// The state of its processes afterwards.
        killed: String,
        /// Its last lines, scrubbed.
        last: Vec<String>,
    },
    /// A script that a signal ended.
    #[error("{script} was ended by signal {signal}{}", last_lines(.last))]
    Signalled {
        /// The name of the script.
        script: String,
        /// The name of the signal, as in `KILL`.
        signal: String,
        /// Its last lines, scrubbed.
        last: Vec<String>,
    },
    /// A script that ended without an exit status.
    #[error("{script} ended without its exit status{}", last_lines(.last))]
    NoStatus {
        /// The name of the script.
        script: String,
        /// Its last lines, scrubbed.
        last: Vec<String>,
    },
    /// A command that failed.
    #[error("{what} failed (exit {exit}){}", last_lines(.last))]
    Failed {
        /// The name of the script, or the operation.
        what: String,
        /// The exit status.
        exit: i32,
        /// The last lines of its standard error, scrubbed.
        last: Vec<String>,
    },
    /// A script whose output is too long.
    #[error("{what} printed more than {limit_bytes} bytes")]
    OutputTooLong {
        /// The name of the script.
        what: String,
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// An upload archive that cannot be written.
    #[error("upload: cannot write the archive: {0}")]
    Archive(std::io::Error),
    /// An interrupt by the user.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl SshError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotUp { stage, .. } => stage.hint(),
            Self::HostKey { .. } => ConnectStage::HostKey.hint(),
            Self::Refused { .. } => ConnectStage::Authentication.hint(),
            Self::NoStatus { .. } => "Remove `exec` and traps on EXIT from the script.",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
