//! The servers that run as virtual machines of the simulator: none, or real SSH servers.
//!
//! Calls block and run on separate threads. An operation ends after its call and its latency, and ends
//! `Failed` if the call fails.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;

/// The source of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A marketplace image, which does not exist on this computer.
    Marketplace {
        publisher: String,
        offer: String,
        sku: String,
        version: String,
    },
    /// The result of [`Machines::capture`] for the image or version with this id.
    Captured { id: String, file: Option<PathBuf> },
}

/// The parameters of a virtual machine.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The id of the VM in lower case, which names it in all later calls.
    pub id: String,
    /// The body of the PUT.
    pub body: Value,
    pub source: Source,
    /// `osProfile.customData`, decoded.
    pub custom_data: Vec<u8>,
    /// `osProfile.adminUsername`.
    pub user: String,
    /// Public keys that may log in as that user.
    pub public_keys: Vec<String>,
    /// The SSH endpoint: the public or else the private address, and [`super::Config::ssh_port`].
    /// `None` if it is not on loopback, or if no security rule admits the port.
    pub ssh: Option<SocketAddr>,
}

/// The servers that run as virtual machines.
pub trait Machines: Send + Sync {
    /// Creates the disk and starts the VM. Returns before it has booted.
    fn create(&self, spec: &Spec) -> Result<(), String>;

    /// Starts a stopped VM.
    fn start(&self, id: &str) -> Result<(), String>;

    /// Shuts a VM down (`deallocate`, `powerOff`) and keeps its disk.
    fn stop(&self, id: &str) -> Result<(), String>;

    /// Creates an image from the disk of a stopped or deleted VM, for later VMs.
    fn capture(&self, id: &str, image: &str) -> Result<Option<PathBuf>, String>;

    /// Kills a VM. Its disk remains until [`Machines::discard`].
    fn delete(&self, id: &str);

    /// Deletes the disk of a VM.
    fn discard(&self, id: &str);

    /// Returns the text of the serial console.
    fn serial_log(&self, id: &str) -> String;

    /// Returns whether all calls return at once, so that they need no thread.
    fn instant(&self) -> bool {
        false
    }

    /// Returns a local user that is accepted as administrator although Azure reserves such names.
    fn own_user(&self) -> Option<String> {
        None
    }
}

/// Virtual machines without a server.
pub struct Instant;

impl Machines for Instant {
    fn create(&self, _spec: &Spec) -> Result<(), String> {
        Ok(())
    }

    fn start(&self, _id: &str) -> Result<(), String> {
        Ok(())
    }

    fn stop(&self, _id: &str) -> Result<(), String> {
        Ok(())
    }

    fn capture(&self, _id: &str, _image: &str) -> Result<Option<PathBuf>, String> {
        Ok(None)
    }

    fn delete(&self, _id: &str) {}

    fn discard(&self, _id: &str) {}

    fn instant(&self) -> bool {
        true
    }

    fn serial_log(&self, id: &str) -> String {
        format!("[    0.000000] no server runs as {id}\n")
    }
}
