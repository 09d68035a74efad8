//! The files and sockets of a machine in the run's work folder, by name.
//!
//! In: a role. Out: names, each the same for every start of the machine. Knows all of them, so that an earlier start leaves
//! none in the way of the next one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::builder::BuilderError;

/// A file, folder or socket that a machine is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The disk that it writes to.
    Overlay,
    /// The disk that uploads go by.
    Upload,
    /// Its variables of UEFI firmware.
    FirmwareVariables,
    /// The SMBIOS string with keys.
    Credential,
    /// The image of a NoCloud seed.
    CloudSeed,
    /// What the seed is made of.
    CloudFolder,
    /// The disk with a node's identity.
    Identity,
    /// The serial console.
    Serial,
    /// The socket of the control connection.
    Control,
    /// The socket that keys come by.
    Keys,
    /// The socket that memory goes and comes by.
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

    /// Its name in the work folder, for a machine of this role.
    pub fn of(self, role: &str) -> PathBuf {
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

/// Removes everything that an earlier start of the machine left, however far it came. Its process was killed and may take a
/// moment to release its disk's lock: a new file of that name has none.
pub(super) fn clear(role: &str, work: &Path) -> Result<(), BuilderError> {
    for part in Part::ALL {
        let path = work.join(part.of(role));
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
