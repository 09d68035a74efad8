//! The disk that a VM starts from, and the way in which the VM gets its keys.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::BuilderError;
use crate::definition::Firmware;
use crate::digest::Digest;

/// The disk that a VM starts from. It is read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The file or cloud image.
    pub content: Content,
    /// The firmware that boots it.
    pub firmware: Firmware,
    /// The way in which the VM gets its keys.
    pub access: AccessBy,
    /// A copy of its kernel for direct boot. The boot loader on the disk is slow under emulation.
    pub kernel: Option<Kernel>,
}

/// A kernel in separate files next to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The path of the kernel.
    pub image: PathBuf,
    /// The path of the initial RAM disk.
    pub initrd: PathBuf,
    /// The kernel command line, the same as in the boot loader on the disk.
    pub arguments: String,
}

/// The content of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file on this host.
    File(DiskFile),
    /// An image in the builder's cloud, in the form of its platform.
    Cloud(serde_json::Value),
}

/// A disk image file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The format: `qcow2` or `raw`.
    pub format: String,
    /// The digest of the file.
    pub sha256: Digest,
}

impl Disk {
    /// Returns the file, or an error for a cloud image.
    pub fn file(&self) -> Result<&DiskFile, BuilderError> {
        match &self.content {
            Content::File(file) => Ok(file),
            Content::Cloud(_) => Err(BuilderError::WrongBuilder),
        }
    }
}

/// The way in which a VM gets its host key and authorized keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessBy {
    /// systemd credentials through SMBIOS (systemd 252 and later).
    Credentials,
    /// A cloud-init NoCloud seed disk.
    CloudInit,
    /// Azure's custom data, for cloud-init.
    CustomData,
}
