//! What machines start from: a disk, and how keys get into whoever starts from it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::BuilderError;
use crate::definition::Firmware;
use crate::digest::Digest;
use crate::lock::LockedImage;

/// What machines start from; never written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its content.
    pub content: Content,
    /// How it starts.
    pub firmware: Firmware,
    /// How keys get in.
    pub access: AccessBy,
    /// Its kernel, where a machine may start it at once instead of by the disk's own loader, which is slow under emulation.
    pub kernel: Option<Kernel>,
}

/// A kernel beside its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The kernel.
    pub image: PathBuf,
    /// Its first file system.
    pub initrd: PathBuf,
    /// Its arguments, as the disk's loader would give them.
    pub arguments: String,
}

/// The content of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file of this computer.
    File(DiskFile),
    /// An image on Azure.
    Azure(LockedImage),
}

/// A disk as a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFile {
    /// Where.
    pub path: PathBuf,
    /// `qcow2` or `raw`.
    pub format: String,
    /// Of the file.
    pub sha256: Digest,
}

impl Disk {
    /// The file, where it is one.
    pub fn file(&self) -> Result<&DiskFile, BuilderError> {
        match &self.content {
            Content::File(file) => Ok(file),
            Content::Azure(_) => Err(BuilderError::OtherBuilder),
        }
    }
}

/// How a machine learns its host key and who may log in.
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
