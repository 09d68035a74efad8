//! SKELETON. Builders: start a temporary machine, and make an artifact of its disk.

pub mod qemu;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::definition::{Firmware, MachineSpec};
use crate::digest::Digest;
use crate::event::Events;
use crate::plan::PlannedBase;
use crate::ssh::{Endpoint, Keys};
use crate::teardown::Teardown;
use crate::wait::Interrupt;

/// A disk that machines start from; never written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Where.
    pub path: PathBuf,
    /// `qcow2` or `raw`.
    pub format: String,
    /// Of the file.
    pub sha256: Digest,
    /// How it starts.
    pub firmware: Firmware,
    /// How keys get in.
    pub access: AccessBy,
}

/// How a machine learns its host key and who may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessBy {
    /// systemd credentials through SMBIOS (systemd 252 and later).
    Credentials,
    /// A cloud-init NoCloud seed disk.
    CloudInit,
}

/// What a machine is started with.
pub struct Boot<'a> {
    /// The disk; the machine writes to an overlay of it.
    pub disk: &'a Disk,
    /// Its shape.
    pub machine: &'a MachineSpec,
    /// Keys of the run.
    pub keys: &'a Keys,
    /// A node's identity for its first boot: a tar archive, seen by the guest as a read-only disk.
    pub identity: Option<&'a [u8]>,
    /// Unique in the run: `build` or `test`.
    pub role: &'a str,
}

/// What was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// A file beside the store, under a temporary name; the caller moves it.
    pub path: PathBuf,
    /// `qcow2`.
    pub format: String,
    /// Of the file.
    pub sha256: Digest,
    /// Of the file, in bytes.
    pub size_bytes: u64,
    /// Of the disk in it, in bytes.
    pub virtual_size_bytes: u64,
}

/// A builder failed.
#[derive(Debug, thiserror::Error)]
pub enum BuilderError {}

/// Boots temporary machines and captures them. Undo entries are registered before anything is created.
pub trait Builder: Sync {
    /// A machine of this builder's. Dropping it kills it.
    type Machine: Machine;

    /// `qemu` or `azure`.
    fn name(&self) -> &'static str;

    /// Makes or finds the base disk of a plan, in the cache.
    fn base(
        &self,
        base: &PlannedBase,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Disk, BuilderError>> + Send;

    /// Starts a machine. Returns at once; whoever connects waits.
    fn boot(
        &self,
        boot: Boot<'_>,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Self::Machine, BuilderError>> + Send;

    /// Shuts the machine down and makes an artifact of its disk at `to`.
    fn capture(
        &self,
        machine: Self::Machine,
        to: PathBuf,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Artifact, BuilderError>> + Send;
}

/// A running machine.
pub trait Machine: Send {
    /// Where it answers on SSH.
    fn endpoint(&self) -> Endpoint;

    /// Why it died, where it has: its last words.
    fn died(&mut self) -> Option<String>;

    /// The last lines of its serial console.
    fn console(&self) -> Vec<String>;
}
