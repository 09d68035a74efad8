//! What stands behind a virtual machine of the simulator: nothing, or something that a test can reach by SSH.
//!
//! The calls block, and are made on threads of their own: the operation that made one ends when it returns, and not
//! before its modelled latency is over. What fails makes the operation end `Failed`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;

/// What a disk is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An image of the marketplace; nothing of it is on this computer.
    Marketplace {
        publisher: String,
        offer: String,
        sku: String,
        version: String,
    },
    /// What [`Machines::capture`] answered for the image or version with this id.
    Captured { id: String, file: Option<PathBuf> },
}

/// A virtual machine that is to run.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The id of the virtual machine, in small letters: its name in all further calls.
    pub id: String,
    /// The body of its PUT.
    pub body: Value,
    pub source: Source,
    /// `osProfile.customData`, decoded.
    pub custom_data: Vec<u8>,
    /// `osProfile.adminUsername`.
    pub user: String,
    /// Public keys that may log in as that user.
    pub public_keys: Vec<String>,
    /// Where its SSH must be reached: the public address, or the private one where it has none, and [`super::Config::ssh_port`].
    /// `None` where nobody here can reach that, or where no rule of its network security groups lets that port in.
    pub ssh: Option<SocketAddr>,
}

/// What stands behind virtual machines.
pub trait Machines: Send + Sync {
    /// Makes the disk and starts the machine. Returns when it runs, not when it has booted.
    fn create(&self, spec: &Spec) -> Result<(), String>;

    /// Starts a machine again that was stopped.
    fn start(&self, id: &str) -> Result<(), String>;

    /// Stops a machine (`deallocate`, `powerOff`): an orderly shutdown if it still runs. Its disk stays.
    fn stop(&self, id: &str) -> Result<(), String>;

    /// Makes an image from the disk of a machine that is stopped, or gone with its disk left. Further machines start from it.
    fn capture(&self, id: &str, image: &str) -> Result<Option<PathBuf>, String>;

    /// Ends a machine at once. Its disk stays until [`Machines::discard`].
    fn delete(&self, id: &str);

    /// Its disk is gone.
    fn discard(&self, id: &str);

    /// What it wrote to its serial console.
    fn serial_log(&self, id: &str) -> String;

    /// Whether all calls return at once, so that they need no thread.
    fn instant(&self) -> bool {
        false
    }

    /// A user of this computer who may be the administrator although the service keeps such names back.
    fn own_user(&self) -> Option<String> {
        None
    }
}

/// Machines that are nothing but their entry.
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
        format!("[    0.000000] no machine stands behind {id}\n")
    }
}
