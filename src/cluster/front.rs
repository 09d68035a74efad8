//! Writes the configuration of the load balancer in front of Vault's nodes (HAProxy).
//! Takes a listener, nodes and the cluster's authority; returns text and the commands to run it.
//! TLS passes through: HAProxy has no key and reads no request.

mod runtime;
mod status;

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use crate::process::Program;
use crate::product::vault::SERVER_NAME as VAULT_NAME;

pub use runtime::Runtime;
pub use status::{Health, Mode, ServerStatus};

/// HAProxy, as Debian installs it: the search path of most users lacks the folder.
pub const HAPROXY: &str = "/usr/sbin/haproxy";

/// The path of the probe. Active nodes and standbys answer 200: a standby forwards requests.
/// A node that is sealed, not initialized or without a way to the active node answers otherwise.
pub const PROBE_PATH: &str = "/v1/sys/health?standbyok=true&perfstandbyok=true";

/// Azure's shortest interval, and the default here.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// Azure's default for connections without traffic.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4 * 60);

/// The name of the backend, and of the ring buffer with its events.
const BACKEND: &str = "vault";
const EVENTS: &str = "health";

/// HAProxy's limit for the path of a socket, in bytes. It adds a suffix while it creates one.
const LONGEST_SOCKET_PATH: usize = 97;

/// A shorter interval ends probes before a busy node has finished its handshake.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(500);

/// The way by which clients reach the nodes.
#[derive(Clone, Debug)]
pub enum Front {
    /// HAProxy: one address for all nodes.
    HaProxy(FrontConfig),
    /// No load balancer: clients get the addresses of all nodes.
    None(Vec<Server>),
}

impl Front {
    /// Returns the addresses that clients connect to.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::HaProxy(config) => vec![config.listener.address()],
            Self::None(servers) => servers.iter().map(|server| server.address).collect(),
        }
    }
}

/// The socket on which HAProxy accepts clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// An address that HAProxy binds.
    Address(SocketAddr),
    /// A listening socket that HAProxy inherits, so that it can run in another network namespace.
    Inherited {
        /// The number of the file descriptor.
        fd: RawFd,
        /// The address of the socket.
        address: SocketAddr,
    },
}

impl Listener {
    /// Lets programs that start from now on inherit `listener`, which must stay open until then.
    pub fn inherit(listener: &TcpListener) -> io::Result<Self> {
        let flags = fcntl_getfd(listener)?.difference(FdFlags::CLOEXEC);
        fcntl_setfd(listener, flags)?;
        Ok(Self::Inherited {
            fd: listener.as_raw_fd(),
            address: listener.local_addr()?,
        })
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Address(address) | Self::Inherited { address, .. } => *address,
        }
    }

    /// Returns the argument of `bind`.
    fn bind(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Inherited { fd, .. } => format!("fd@{fd}"),
        }
    }
}

/// A node behind the load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The name of the node.
    pub name: String,
    /// The address of Vault's listener.
    pub address: SocketAddr,
}

/// The user that HAProxy becomes if root starts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunAs {
    /// The name of the user.
    pub user: String,
    /// The name of the group.
    pub group: String,
}

/// The inputs of HAProxy's configuration.
#[derive(Clone, Debug)]
pub struct FrontConfig {
    /// The socket for clients.
    pub listener: Listener,
    /// The nodes.
    pub servers: Vec<Server>,
    /// The file with the authority of Vault's certificates, PEM.
    pub ca_file: PathBuf,
    /// The path of the socket for [`Runtime`]. Only the user that starts HAProxy can open it.
    pub stats_socket: PathBuf,
    /// A file that keeps the last events after HAProxy has ended.
    pub events_file: Option<PathBuf>,
    /// The time between two probes of a node, and the time-out of a probe.
    pub probe_interval: Duration,
    /// The time after which a connection without traffic is closed.
    pub idle_timeout: Duration,
    /// The user to become, if HAProxy is started by root.
    pub run_as: Option<RunAs>,
}

/// A configuration that cannot be written, or a command that HAProxy did not run.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// A value that HAProxy's configuration cannot express.
    #[error("cannot write HAProxy's configuration: {0}")]
    Config(String),
    /// A path that is too long for a socket.
    #[error("cannot use {path} as HAProxy's socket: it has more than {LONGEST_SOCKET_PATH} bytes", path = .0.display())]
    SocketPath(PathBuf),
    /// HAProxy does not run, does not answer in time, or closed the connection.
    #[error("cannot reach HAProxy at {socket}: {error}", socket = .socket.display())]
    Unreachable {
        /// The path of its socket.
        socket: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// A command that HAProxy refused.
    #[error("cannot run `{command}` in HAProxy: {answer}")]
    Refused {
        /// The command.
        command: String,
        /// HAProxy's answer.
        answer: String,
    },
    /// An answer in an unknown form.
    #[error("cannot read HAProxy's answer to `{command}`: {reason}")]
    Answer {
        /// The command.
        command: String,
        /// The problem.
        reason: String,
    },
    /// A server whose clients are still connected.
    #[error("cannot remove {name} from HAProxy: {} open", crate::terminal::counted(.connections, "connection"))]
    Connected {
        /// The name of the server.
        name: String,
        /// The number of open connections.
        connections: u64,
    },
}

impl FrontError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::SocketPath(_) => "Put the state of clusters into a folder with a shorter path.",
            Self::Unreachable { .. } => "Start the cluster again if its HAProxy has ended.",
            Self::Connected { .. } => "Wait until clients have disconnected, or disconnect them.",
            Self::Config(_) | Self::Refused { .. } | Self::Answer { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

impl FrontConfig {
    /// Creates a configuration with Azure's interval and time-out.
    pub fn new(
        listener: Listener,
        servers: Vec<Server>,
        ca_file: impl Into<PathBuf>,
        stats_socket: impl Into<PathBuf>,
    ) -> Self {
        Self {
            listener,
            servers,
            ca_file: ca_file.into(),
            stats_socket: stats_socket.into(),
            events_file: None,
            probe_interval: PROBE_INTERVAL,
            idle_timeout: IDLE_TIMEOUT,
            run_as: None,
        }
    }

    /// Returns HAProxy's configuration. Equal inputs give equal text.
    pub fn haproxy(&self) -> Result<String, FrontError> {
        let probe = self.probe_options(quoted)?;
        let mut servers = String::new();
        for (index, server) in self.servers.iter().enumerate() {
            let Server { name, address } = server;
            check_name(name)?;
            if self.servers[..index]
                .iter()
                .any(|other| other.name == *name)
            {
                return Err(FrontError::Config(format!("two nodes are named {name}")));
            }
            // Writing to a string cannot fail.
            let _ = write!(servers, "\n    server {name} {address}");
        }
        let events_file = match &self.events_file {
            Some(path) => format!("\n    backing-file {}", quoted(path)?),
            None => String::new(),
        };
        let run_as = match &self.run_as {
            Some(RunAs { user, group }) => {
                check_name(user)?;
                check_name(group)?;
                format!("\n    user {user}\n    group {group}")
            }
            None => String::new(),
        };
        let (socket, bind) = (socket(&self.stats_socket)?, self.listener.bind());
        let idle = time(self.idle_timeout)?;
        Ok(format!(
            "\
# Written by vault-bake, which overwrites it.
global
    nbthread 1
    maxconn 1000
    # A node counts as up until its first probe ends, so all are probed at once after a start.
    max-spread-checks 1
    ssl-default-server-options ssl-min-ver TLSv1.2
    stats socket {socket} mode 600 level admin{run_as}

# The last changes of health. Connections are not logged, so it has no address of a client.
ring {EVENTS}
    format timed
    maxlen 512
    size 65536{events_file}

defaults
    mode tcp
    timeout connect 5s
    timeout client {idle}
    timeout server {idle}
    timeout tunnel {idle}
    # A client that closed its connection does not hold that to a node without a network: HAProxy
    # cannot cut connections that one side has closed, nor remove their server.
    timeout client-fin 10s
    timeout server-fin 10s
    # As behind Azure's load balancer, a node that refuses a connection is an error of the client.
    retries 0

frontend clients
    bind {bind}
    default_backend {BACKEND}

backend {BACKEND}
    # Azure hashes addresses and ports of a connection, which ignores how busy a node is, too.
    balance roundrobin
    log ring@{EVENTS} local0
    option log-health-checks
    option httpchk
    http-check send meth GET uri {PROBE_PATH} ver HTTP/1.1 hdr Host {VAULT_NAME}
    http-check expect status 200
    # Azure's probe accepts any certificate. Here another program may take the port of a node that
    # is down, so the probe demands the cluster's authority.
    # Open connections of a node that is down are not cut, as on Azure.
    default-server {probe}{servers}
"
        ))
    }

    /// Returns the options of a server's probe. `quote` writes a path for their reader.
    fn probe_options(
        &self,
        quote: impl Fn(&Path) -> Result<String, FrontError>,
    ) -> Result<String, FrontError> {
        if self.probe_interval < SHORTEST_INTERVAL {
            let least = SHORTEST_INTERVAL.as_millis();
            let reason = format!("the interval of probes is below {least} ms");
            return Err(FrontError::Config(reason));
        }
        let (ca, inter) = (quote(&self.ca_file)?, time(self.probe_interval)?);
        Ok(format!(
            "check check-ssl verify required ca-file {ca} verifyhost {VAULT_NAME} \
             inter {inter} fall 1 rise 1"
        ))
    }
}

/// Returns the command that checks a configuration file. It needs an inherited listener, too.
pub fn check(config: &Path) -> Program {
    Program::new(HAPROXY).args(["-c", "-f"]).arg(config)
}

/// Returns the command that starts HAProxy in the background. It ends when the listener is open,
/// or fails with the reason. HAProxy writes its process id to `pid_file`.
///
/// Run it with [`Program::leaving_daemon`].
pub fn start_command(config: &Path, pid_file: &Path) -> [String; 6] {
    let [config, pid_file] = [config, pid_file].map(|path| path.display().to_string());
    let [daemon, pid, file] = ["-D", "-p", "-f"].map(ToOwned::to_owned);
    [HAPROXY.to_owned(), daemon, pid, pid_file, file, config]
}

/// A path in single quotes, where HAProxy expands nothing.
fn quoted(path: &Path) -> Result<String, FrontError> {
    let text = plain(path)?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// A path of a socket. HAProxy expands variables in it, in quotes too.
fn socket(path: &Path) -> Result<String, FrontError> {
    let text = quoted(path)?;
    if path.as_os_str().len() > LONGEST_SOCKET_PATH {
        return Err(FrontError::SocketPath(path.to_owned()));
    }
    if !path.is_absolute() || text.contains('$') {
        let reason = "is no path of a socket: it must be absolute and without '$'";
        return Err(FrontError::Config(format!("{} {reason}", path.display())));
    }
    Ok(text)
}

/// Returns a path as text, if a line of HAProxy's configuration can contain it.
fn plain(path: &Path) -> Result<&str, FrontError> {
    let text = path
        .to_str()
        .filter(|text| !text.contains(char::is_control));
    text.ok_or_else(|| {
        let shown = path.display();
        FrontError::Config(format!("{shown} has a byte that its syntax cannot express"))
    })
}

/// Accepts the names that HAProxy reads as one word.
fn check_name(name: &str) -> Result<(), FrontError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(FrontError::Config(format!(
        "'{name}' has other characters than letters, digits, '-', '_' and '.'"
    )))
}

/// Returns a time for HAProxy, which accepts at most 24 days.
fn time(time: Duration) -> Result<String, FrontError> {
    let milliseconds = i32::try_from(time.as_millis())
        .map_err(|_| FrontError::Config(format!("{} s is longer than 24 days", time.as_secs())))?;
    Ok(match milliseconds % 1000 {
        0 => format!("{}s", milliseconds / 1000),
        _ => format!("{milliseconds}ms"),
    })
}
