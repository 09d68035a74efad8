//! Runs the nodes of a cluster on this computer, each from the captured disk of its image.
//! Takes a node's disk, address and identity archive; returns when it was started.
//! What the services of a node do is left to `cluster`.

pub mod containers;
mod files;
pub mod machines;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::definition::Firmware;
use crate::digest::Digest;
use crate::event::Events;
use crate::network::Network;
use crate::process::{ProcessError, Program};
use crate::ssh::SshError;
use crate::wait::{Interrupt, WaitError};

use containers::Containers;
use machines::Machines;

/// The private network of a cluster and the folder of its nodes.
#[derive(Clone, Debug)]
pub struct Site {
    /// The folder for disks, consoles and sockets. It outlives the process.
    pub folder: PathBuf,
    /// The unique id of the cluster, as in `dev-1f2e3d4c`. Processes and control groups have it in
    /// their names.
    pub id: String,
    /// The address of the gateway, from which the controller connects.
    pub gateway: Ipv4Addr,
    /// The length of the network's prefix in bits.
    pub prefix: u32,
}

impl Site {
    /// Returns the address of a node as a unit of systemd-networkd, for the device that matches.
    fn network_unit(&self, matching: &str, address: Ipv4Addr, more: &str) -> String {
        let prefix = self.prefix;
        format!(
            "[Match]\n{matching}\n\n[Network]\nAddress={address}/{prefix}\n{more}DHCP=no\n\
             IPv6AcceptRA=no\nLinkLocalAddressing=no\n"
        )
    }
}

/// A node to start.
pub struct Node {
    /// The unique name, which is also the host name.
    pub name: String,
    /// The address on the private network.
    pub address: Ipv4Addr,
    /// The captured disk, qcow2.
    pub disk: PathBuf,
    /// The digest of the captured disk.
    pub disk_digest: Digest,
    /// The firmware that boots the disk. A container boots without one.
    pub firmware: Firmware,
    /// The identity archive.
    pub identity: IdentityArchive,
}

/// The bytes of an identity archive. They are secret.
#[derive(Clone)]
pub struct IdentityArchive(Vec<u8>);

impl IdentityArchive {
    /// Wraps the bytes of a tar archive.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Returns the bytes. Use them only to pass the archive on.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// The way in which a node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its services stop in order, as at a power-off.
    Graceful,
    /// At once, as at a power failure.
    Kill,
}

/// What runs the nodes.
pub enum Platform {
    /// Containers of `systemd-nspawn`.
    Containers(Containers),
    /// QEMU VMs.
    Machines(Machines),
}

/// A platform that cannot run a node.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// A requirement that this computer lacks.
    #[error("cannot run nodes as {platform}: {why}")]
    Unavailable {
        /// The kind of nodes, as in `containers`.
        platform: &'static str,
        /// The missing requirement.
        why: String,
        /// The way out, as an imperative.
        hint: String,
    },
    /// A file or folder that cannot be used.
    #[error("cannot use {}: {error}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// A program that failed.
    #[error("cannot {action}: {error}")]
    Process {
        /// The action, as in `start node dev-vault-1-1`.
        action: String,
        /// The error.
        error: ProcessError,
    },
    /// A wait that ended without success.
    #[error("cannot {action}: {why}{}", crate::process::last_lines(.console))]
    Wait {
        /// The action, as in `start node dev-vault-1-1`.
        action: String,
        /// The reason.
        why: String,
        /// The last lines of the node's console.
        console: Vec<String>,
    },
    /// A control connection of QEMU that failed.
    #[error("cannot {action}: {error}")]
    Control {
        /// The action, as in `start node dev-vault-1-1`.
        action: String,
        /// The error.
        error: io::Error,
    },
    /// A login or a script in a node that failed.
    #[error("cannot {action}: {error}")]
    Ssh {
        /// The action, as in `run a script in node dev-vault-1-1`.
        action: String,
        /// The error.
        error: SshError,
    },
    /// The captured disk has no partition that can be the root.
    #[error("cannot mount {}: it has no Linux partition", disk.display())]
    NoRoot {
        /// The disk.
        disk: PathBuf,
    },
    /// An interrupt by the user.
    #[error(transparent)]
    Interrupted(#[from] crate::wait::Interrupted),
}

impl PlatformError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unavailable { hint, .. } => Some(hint.clone()),
            Self::Process { error, .. } => error.hint(),
            Self::Ssh { error, .. } => error.hint(),
            Self::NoRoot { .. } => {
                Some("Run `vault-bake test` for this image: it boots the disk.".to_owned())
            }
            _ => None,
        }
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }

    pub(crate) fn process(action: impl Into<String>) -> impl FnOnce(ProcessError) -> Self {
        let action = action.into();
        move |error| match error {
            ProcessError::Interrupted(interrupted) => interrupted.into(),
            error => Self::Process { action, error },
        }
    }

    pub(crate) fn control(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |error| Self::Control { action, error }
    }

    pub(crate) fn ssh(action: impl Into<String>) -> impl FnOnce(SshError) -> Self {
        let action = action.into();
        move |error| match error {
            SshError::Interrupted(interrupted) => interrupted.into(),
            error => Self::Ssh { action, error },
        }
    }

    pub(crate) fn wait<E: std::error::Error>(
        action: impl Into<String>,
        console: Vec<String>,
    ) -> impl FnOnce(WaitError<E>) -> Self {
        let action = action.into();
        move |error| match error {
            WaitError::Interrupted(interrupted) => interrupted.into(),
            error => Self::Wait {
                action,
                why: error.to_string(),
                console,
            },
        }
    }
}

/// Returns whether the folder of a cluster has folders of nodes.
pub(crate) fn has_nodes(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder.join("nodes"));
    entries.is_ok_and(|mut entries| entries.next().is_some())
}

/// Returns whether processes of a cluster run, on any platform.
pub(crate) fn is_alive(site: &Site) -> bool {
    containers::is_alive(site) || machines::is_alive(site)
}

impl Platform {
    /// Starts a node, unless it runs. Its disk is kept if it ran before.
    pub async fn start(
        &self,
        node: &Node,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        match self {
            Self::Containers(containers) => containers.start(node, events, interrupt).await,
            Self::Machines(machines) => machines.start(node, events, interrupt).await,
        }
    }

    /// Returns whether a node runs.
    pub fn is_running(&self, name: &str) -> bool {
        match self {
            Self::Containers(containers) => containers.is_running(name),
            Self::Machines(machines) => machines.is_running(name),
        }
    }

    /// Stops a node and waits for its end. A node that does not run is not an error.
    pub async fn stop(
        &self,
        name: &str,
        stop: Stop,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        match self {
            Self::Containers(containers) => containers.stop(name, stop, events, interrupt).await,
            Self::Machines(machines) => machines.stop(name, stop, events, interrupt).await,
        }
    }

    /// Stops a node at once and deletes its disk.
    pub async fn remove(
        &self,
        name: &str,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        match self {
            Self::Containers(containers) => containers.remove(name, events, interrupt).await,
            Self::Machines(machines) => machines.remove(name, events, interrupt).await,
        }
    }

    /// Replaces the identity archive that a node reads at its next boot or reload.
    pub fn put_identity(
        &self,
        name: &str,
        identity: &IdentityArchive,
    ) -> Result<(), PlatformError> {
        match self {
            Self::Containers(containers) => containers.put_identity(name, identity),
            Self::Machines(machines) => machines.put_identity(name, identity),
        }
    }

    /// Runs a script as root in a node. Returns its standard output.
    pub async fn run_script(
        &self,
        name: &str,
        script: &str,
        interrupt: &Interrupt,
    ) -> Result<String, PlatformError> {
        match self {
            Self::Containers(containers) => containers.run_script(name, script, interrupt).await,
            Self::Machines(machines) => machines.run_script(name, script, interrupt).await,
        }
    }

    /// Returns the command line of an interactive shell, as root, in a running node.
    /// Its last word is the shell.
    pub async fn shell(
        &self,
        name: &str,
        interrupt: &Interrupt,
    ) -> Result<Vec<String>, PlatformError> {
        match self {
            Self::Containers(containers) => {
                let shell = containers.shell(name);
                shell.ok_or_else(|| PlatformError::Wait {
                    action: format!("enter node {name}"),
                    why: "it does not run".to_owned(),
                    console: containers.console(name),
                })
            }
            Self::Machines(machines) => machines.shell(name, interrupt).await,
        }
    }

    /// Returns the last lines of a node's console.
    pub fn console(&self, name: &str) -> Vec<String> {
        match self {
            Self::Containers(containers) => containers.console(name),
            Self::Machines(machines) => machines.console(name),
        }
    }

    /// Returns a program that runs in the network of the nodes, and ends with the cluster.
    pub(crate) fn run_beside(&self, command: &[String]) -> Program {
        match self {
            Self::Containers(containers) => containers.run_beside(command),
            Self::Machines(_) => Machines::run_beside(command),
        }
    }

    /// Returns the network in which the addresses of [`Self::route`] can be reached.
    pub fn network(&self) -> &Network {
        match self {
            Self::Containers(containers) => containers.network(),
            Self::Machines(machines) => machines.network(),
        }
    }

    /// Returns the address to connect to in [`Self::network`] for an address and port of a node.
    /// The node sees a connection from the gateway.
    pub async fn route(
        &self,
        to: SocketAddr,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<SocketAddr, PlatformError> {
        match self {
            Self::Containers(_) => Ok(to),
            Self::Machines(machines) => machines.route(to, events, interrupt).await,
        }
    }

    /// Returns whether a process of a node can lock its memory, as Vault does.
    pub fn can_lock_memory(&self) -> bool {
        match self {
            Self::Containers(containers) => containers.can_lock_memory(),
            Self::Machines(_) => true,
        }
    }
}
