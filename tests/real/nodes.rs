//! Running nodes of a captured image: containers if this host allows them, or else VMs.
//! A container uses the host's kernel and no boot loader; the boot test of each image tests both.

mod container;
mod groups;
mod machine;

use std::path::Path;

use container::{Container, Containers};
pub use machine::disk;
use machine::{Machines, VmNode};

/// The platform of the nodes of a test run.
pub enum Nodes {
    Containers(Box<Containers>),
    Machines(Box<Machines>),
}

/// The image for [`Nodes::start`], which nodes share.
pub enum Image {
    Mounted(container::Image),
    Disk(Box<vault_bake::builder::Disk>),
}

/// A running node.
pub enum Node {
    Container(Box<Container>),
    Machine(Box<VmNode>),
}

/// Whether nodes can reach each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Separate,
    /// Node `n` has the address `10.77.0.n`.
    Shared,
}

/// How a node stops before it starts again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Down {
    InOrder,
    /// At once, as at a power failure.
    Crash,
}

/// The platform of the nodes of a test.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Containers if they are possible here.
    Fastest,
    Machines,
}

/// Returns whether this host can run containers. Prints the reason if it cannot.
#[expect(clippy::print_stderr, reason = "a test prints its platform")]
pub async fn containers_are_possible() -> bool {
    match Containers::begin().await {
        Ok(containers) => {
            containers.finish().await;
            true
        }
        Err(reason) => {
            eprintln!("no containers here, so nodes are VMs: {reason}");
            false
        }
    }
}

impl Nodes {
    /// Returns `None` and prints the reason if this host has neither containers nor VMs.
    #[expect(clippy::print_stderr, reason = "a test prints its platform")]
    pub async fn begin(run: &str, network: Network, kind: Kind) -> Option<Self> {
        if kind == Kind::Fastest {
            match Containers::begin().await {
                Ok(containers) => return Some(Self::Containers(Box::new(containers))),
                Err(reason) => eprintln!("no containers here, so nodes are VMs: {reason}"),
            }
        }
        Machines::begin(run, network).map(|machines| Self::Machines(Box::new(machines)))
    }

    /// Prepares the captured disk for nodes.
    pub async fn image(&mut self, artifact: &Path) -> Image {
        match self {
            Self::Containers(containers) => Image::Mounted(containers.mount(artifact).await),
            Self::Machines(_) => Image::Disk(Box::new(disk(artifact))),
        }
    }

    /// Starts a node. [`Node::booted`] waits for the end of its boot.
    pub async fn start(&mut self, image: &Image, number: u8, identity: Option<Vec<u8>>) -> Node {
        match (self, image) {
            (Self::Containers(containers), Image::Mounted(image)) => {
                let container = containers.start(image, number, identity).await;
                Node::Container(Box::new(container))
            }
            (Self::Machines(machines), Image::Disk(disk)) => {
                let machine = machines.start(disk, number, identity).await;
                Node::Machine(Box::new(machine))
            }
            _ => panic!("the image is of other nodes"),
        }
    }

    /// Returns whether a process of a node can lock its memory, as Vault does.
    pub fn may_lock_memory(&self) -> bool {
        match self {
            Self::Containers(containers) => containers.may_lock_memory,
            Self::Machines(_) => true,
        }
    }

    /// Returns whether scripts run by ssh, with a key in the memory of each node.
    pub fn are_reached_by_ssh(&self) -> bool {
        matches!(self, Self::Machines(_))
    }

    /// Ends all nodes, and asserts that nothing is left.
    pub async fn finish(self) {
        match self {
            Self::Containers(containers) => containers.finish().await,
            Self::Machines(machines) => machines.finish().await,
        }
    }
}

impl Node {
    /// Waits until all units were started, or have failed.
    pub async fn booted(&mut self) {
        match self {
            Self::Container(container) => container.booted().await,
            Self::Machine(machine) => machine.booted().await,
        }
    }

    /// Runs a script as root. Returns its standard output.
    pub async fn says(&self, script: &str) -> String {
        match self {
            Self::Container(container) => container.says(script).await,
            Self::Machine(machine) => machine.says(script).await,
        }
    }

    /// Replaces the identity that the node reads.
    pub async fn put(&self, identity: Vec<u8>) {
        match self {
            Self::Container(container) => container.put(identity).await,
            Self::Machine(machine) => machine.put(identity).await,
        }
    }

    /// Restarts the node. Returns after its boot.
    pub async fn restart(&mut self, down: Down) {
        match self {
            Self::Container(container) => {
                match down {
                    Down::InOrder => container.power_off().await,
                    Down::Crash => container.kill().await,
                }
                container.start_again().await;
            }
            Self::Machine(machine) => machine.restart(down).await,
        }
    }

    /// Returns the address by which other nodes reach it.
    pub fn address(&self) -> String {
        match self {
            Self::Container(container) => container.address(),
            Self::Machine(machine) => machine.address(),
        }
    }
}
