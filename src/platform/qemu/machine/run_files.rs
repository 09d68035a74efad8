//! Names the files and sockets of a VM in the run's work folder.
//! A name depends only on the role, so a second start of the VM can remove the files of the first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::builder::BuilderError;

/// A file, folder or socket of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The disk that the VM writes to.
    Overlay,
    Upload,
    FirmwareVariables,
    /// The SMBIOS string with keys.
    Credential,
    /// The disk image of a NoCloud seed.
    CloudSeed,
    /// The folder with the content of the seed.
    CloudFolder,
    /// The disk with the identity archive.
    Identity,
    /// The log of the serial console.
    Serial,
    /// The socket of the control connection.
    Control,
    /// The socket of the key channel.
    Keys,
    /// The socket through which memory is saved and loaded.
    Memory,
}

impl Part {
    const ALL: [Self; 11] = [
        Self::Overlay,
        Self::Upload,
        Self::FirmwareVariables,
        Self::Credential,
        Self::CloudSeed,
        Self::CloudFolder,
        Self::Identity,
        Self::Serial,
        Self::Control,
        Self::Keys,
        Self::Memory,
    ];

    /// Returns its name in the work folder, for a VM with this role.
    pub fn name(self, role: &str) -> PathBuf {
        PathBuf::from(match self {
            Self::Overlay => format!("overlay-{role}.qcow2"),
            Self::Upload => format!("upload-{role}.raw"),
            Self::FirmwareVariables => format!("vars-{role}.fd"),
            Self::Credential => format!("credential-{role}"),
            Self::CloudSeed => format!("cloud-{role}.raw"),
            Self::CloudFolder => format!("cloud-{role}"),
            Self::Identity => format!("identity-{role}.raw"),
            Self::Serial => format!("serial-{role}.log"),
            Self::Control => format!("{role}.qmp"),
            Self::Keys => format!("{role}.keys"),
            Self::Memory => format!("{role}.memory"),
        })
    }
}

/// Removes all files of an earlier start of the VM. Its killed process may still lock its disk for
/// a moment, and a new file of the same name is not locked.
pub(super) fn clear(role: &str, work: &Path) -> Result<(), BuilderError> {
    for part in Part::ALL {
        let path = work.join(part.name(role));
        let removed = match part {
            Part::CloudFolder => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(BuilderError::file(&path))?,
        }
    }
    Ok(())
}
