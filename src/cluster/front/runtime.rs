//! A client of HAProxy's socket.
//! Takes commands; returns the state of servers. Changes last until HAProxy ends.
//! The caller also writes the configuration file, from which HAProxy starts again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::status::{self, Mode, ServerStatus};
use super::{BACKEND, EVENTS, FrontConfig, FrontError, Server, check_name, plain};

/// The deadline of one command. HAProxy answers within milliseconds.
const DEADLINE: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: u64 = 1 << 20;

/// The load balancer while it runs.
#[derive(Clone, Debug)]
pub struct Runtime {
    socket: PathBuf,
}

impl Runtime {
    /// Names the socket of [`FrontConfig::stats_socket`].
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// Returns the state of all servers.
    pub async fn servers(&self) -> Result<Vec<ServerStatus>, FrontError> {
        let states = self.run(&format!("show servers state {BACKEND}")).await?;
        // 4 selects servers, -1 all of them.
        let command = format!("show stat {BACKEND} 4 -1 json");
        let statistics = self.run(&command).await?;
        status::parse(&states, &statistics).map_err(|reason| FrontError::Answer { command, reason })
    }

    /// Sends no new connections to a server. Open ones continue, and the server is still probed.
    pub async fn drain(&self, name: &str) -> Result<(), FrontError> {
        self.set_state(name, "drain").await
    }

    /// Sends new connections to a server while its probe succeeds.
    pub async fn ready(&self, name: &str) -> Result<(), FrontError> {
        self.set_state(name, "ready").await
    }

    /// Adds a server that is probed and gets no connections until [`Self::ready`] is called.
    /// Changes nothing if it exists with this address.
    ///
    /// A server added as ready would get connections before its first probe ends.
    pub async fn add(&self, config: &FrontConfig, server: &Server) -> Result<(), FrontError> {
        let Server { name, address } = server;
        check_name(name)?;
        let servers = self.servers().await?;
        let existing = servers.into_iter().find(|existing| existing.name == *name);
        let existing = existing.filter(|existing| existing.address == address.to_string());
        match existing.map(|existing| existing.mode) {
            Some(Mode::Ready | Mode::Drain) => return Ok(()),
            // An earlier call ended halfway.
            Some(Mode::Maintenance) => {}
            None => {
                let probe = config.probe_options(|path| Ok(escaped(plain(path)?)))?;
                let command = format!("add server {BACKEND}/{name} {address} {probe}");
                self.expect(&command, "New server registered.").await?;
            }
        }
        self.set_state(name, "drain").await?;
        // A server that is added does not begin its probes by itself.
        self.expect(&format!("enable health {BACKEND}/{name}"), "")
            .await
    }

    /// Removes a server. Fails if it has open connections; then it gets no new ones.
    pub async fn remove(&self, name: &str) -> Result<(), FrontError> {
        self.set_state(name, "maint").await?;
        let command = format!("del server {BACKEND}/{name}");
        let removed = self.expect(&command, "Server deleted.").await;
        if removed.is_err() {
            let servers = self.servers().await?;
            let connected = servers
                .into_iter()
                .find(|server| server.name == name && server.connections > 0);
            if let Some(server) = connected {
                return Err(FrontError::Connected {
                    name: server.name,
                    connections: server.connections,
                });
            }
        }
        removed
    }

    /// Closes the open connections of a server.
    pub async fn disconnect(&self, name: &str) -> Result<(), FrontError> {
        check_name(name)?;
        let command = format!("shutdown sessions server {BACKEND}/{name}");
        self.expect(&command, "").await
    }

    /// Returns the last changes of health, oldest first.
    pub async fn events(&self) -> Result<Vec<String>, FrontError> {
        let answer = self.run(&format!("show events {EVENTS}")).await?;
        let lines = answer.lines().filter(|line| !line.is_empty());
        // A line begins with its level: `<5>`.
        let event = |line: &str| match line.split_once('>') {
            Some((level, event)) if level.starts_with('<') => event.to_owned(),
            _ => line.to_owned(),
        };
        Ok(lines.map(event).collect())
    }

    /// Returns the process id of HAProxy.
    pub async fn pid(&self) -> Result<u32, FrontError> {
        let command = "show info";
        let answer = self.run(command).await?;
        let pid = answer.lines().find_map(|line| line.strip_prefix("Pid: "));
        pid.and_then(|pid| pid.trim().parse().ok())
            .ok_or_else(|| FrontError::Answer {
                command: command.to_owned(),
                reason: "it has no process id".to_owned(),
            })
    }

    async fn set_state(&self, name: &str, state: &str) -> Result<(), FrontError> {
        check_name(name)?;
        let command = format!("set server {BACKEND}/{name} state {state}");
        self.expect(&command, "").await
    }

    /// Runs a command that has one successful answer.
    async fn expect(&self, command: &str, answer: &str) -> Result<(), FrontError> {
        let actual = self.run(command).await?;
        if actual.trim() == answer {
            return Ok(());
        }
        Err(FrontError::Refused {
            command: command.to_owned(),
            answer: actual.trim().to_owned(),
        })
    }

    /// Runs a command and returns its answer.
    async fn run(&self, command: &str) -> Result<String, FrontError> {
        let answer = tokio::time::timeout(DEADLINE, exchange(&self.socket, command)).await;
        answer
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| FrontError::Unreachable {
                socket: self.socket.clone(),
                error,
            })
    }
}

/// Sends a line on a new connection, and reads until HAProxy closes it.
async fn exchange(socket: &Path, command: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("{command}\n").as_bytes()).await?;
    let mut answer = String::new();
    stream
        .take(LONGEST_ANSWER)
        .read_to_string(&mut answer)
        .await?;
    Ok(answer)
}

/// Escapes a path for the command line of the socket.
fn escaped(path: &str) -> String {
    let mut escaped = String::new();
    for character in path.chars() {
        if matches!(character, '\\' | ' ' | ';') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
