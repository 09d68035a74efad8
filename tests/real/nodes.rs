//! Running nodes of a captured image: containers if this computer allows them, else VMs.
//!
//! A container shares this computer's kernel and has no boot loader: the boot test of each image shows those.

mod container;
mod groups;
mod machine;

use std::path::Path;

use container::{Container, Containers};
pub use machine::disk;
use machine::{Machines, VmNode};

/// What the nodes of one test run on.
pub enum Nodes {
    Containers(Box<Containers>),
    Machines(Box<Machines>),
}

/// What [`Nodes::start`] starts from; nodes share it.
pub enum Image {
    Mounted(container::Image),
    Disk(Box<vault_bake::builder::Disk>),
}

/// A running node.
pub enum Node {
    Container(Box<Container>),
    Machine(Box<VmNode>),
}

/// Whether nodes see each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Separate,
    /// Node `n` has the address `10.77.0.n`.
    Shared,
}

/// How a node goes down before it starts again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Down {
    InOrder,
    /// At once, as by a loss of power.
    Crash,
}

/// What tests run their nodes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Containers if they are possible here.
    Fastest,
    Machines,
}

impl Nodes {
    /// Returns nothing, with the reason printed, if this computer has neither containers nor VMs.
    #[expect(clippy::print_stderr, reason = "a test says what it runs on")]
    pub async fn begin(run: &str, network: Network, kind: Kind) -> Option<Self> {
        if kind == Kind::Fastest {
            match Containers::begin().await {
                Ok(containers) => return Some(Self::Containers(Box::new(containers))),
                Err(reason) => eprintln!("no containers here, so nodes are VMs: {reason}"),
            }
        }
        Machines::begin(run, network).map(|machines| Self::Machines(Box::new(machines)))
    }

    /// Makes the captured disk ready for nodes.
    pub async fn image(&mut self, artifact: &Path) -> Image {
        match self {
            Self::Containers(containers) => Image::Mounted(containers.mount(artifact).await),
            Self::Machines(_) => Image::Disk(Box::new(disk(artifact))),
        }
    }

    /// Starts a node, which [`Node::booted`] waits for.
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

    /// Whether a process of a node may lock its memory, as Vault does.
    pub fn may_lock_memory(&self) -> bool {
        match self {
            Self::Containers(containers) => containers.may_lock_memory,
            Self::Machines(_) => true,
        }
    }

    /// Whether scripts run by ssh, with a key that was put into the memory of each node.
    pub fn are_reached_by_ssh(&self) -> bool {
        matches!(self, Self::Machines(_))
    }

    /// Ends all, and asserts that nothing is left.
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

    /// Runs a script as root, and returns what it prints on standard output.
    pub async fn says(&self, script: &str) -> String {
        match self {
            Self::Container(container) => container.says(script).await,
            Self::Machine(machine) => machine.says(script).await,
        }
    }

    /// Puts another identity where the node looks for it.
    pub async fn put(&self, identity: Vec<u8>) {
        match self {
            Self::Container(container) => container.put(identity).await,
            Self::Machine(machine) => machine.put(identity).await,
        }
    }

    /// Restarts the node, and returns once it has booted.
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

    /// The address by which other nodes reach it.
    pub fn address(&self) -> String {
        match self {
            Self::Container(container) => container.address(),
            Self::Machine(machine) => machine.address(),
        }
    }
}
