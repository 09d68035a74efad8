//! The artifact of a build: a disk image file, or images in a cloud.

use std::path::PathBuf;

use jiff::Timestamp;

use super::BuilderError;
use crate::definition::Firmware;
use crate::digest::Digest;

/// A captured disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The artifact to record.
    pub artifact: Artifact,
    /// A raw copy of the disk for the leak scan, which the caller removes. `None` if only the cloud
    /// has the disk.
    pub raw: Option<PathBuf>,
}

/// The artifact of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Artifact {
    /// A disk image file.
    File(CapturedFile),
    /// Images in a cloud. The first one is tested.
    Cloud(Vec<CapturedImage>),
}

impl Artifact {
    /// Returns the file, or an error for images in a cloud.
    pub fn file(&self) -> Result<&CapturedFile, BuilderError> {
        match self {
            Self::File(file) => Ok(file),
            Self::Cloud(_) => Err(BuilderError::WrongBuilder),
        }
    }

    /// Returns the resource ids of its cloud images. A file has none.
    pub fn ids(&self) -> Vec<&str> {
        match self {
            Self::File(_) => Vec::new(),
            Self::Cloud(images) => images.iter().map(|image| image.id.as_str()).collect(),
        }
    }
}

/// A captured disk image file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFile {
    /// The temporary path of the file. The caller moves it into the store.
    pub path: PathBuf,
    /// The format, `qcow2`.
    pub format: String,
    /// The digest of the file.
    pub sha256: Digest,
    /// The size of the file, in bytes.
    pub size_bytes: u64,
    /// The size of the disk in the file, in bytes.
    pub virtual_size_bytes: u64,
}

/// An image in a cloud, as read back after its creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedImage {
    /// The id at the cloud.
    pub id: String,
    /// Its class in a manifest, as in `azure-managed-image`.
    pub class: &'static str,
    /// The region.
    pub location: String,
    /// The firmware that boots it.
    pub firmware: Firmware,
    /// The architecture, as in `x86_64`.
    pub arch: String,
    /// The size of its disk, in GiB.
    pub disk_gib: u64,
    /// The creation time that the cloud reports.
    pub created_at: Option<Timestamp>,
    /// The unique id that the cloud assigns to some images in addition.
    pub unique_id: Option<String>,
    /// The security type of the VMs that boot it, such as `trusted-launch`.
    pub security: String,
}

/// An image in a cloud, as a manifest names it.
#[derive(Clone, Copy, Debug)]
pub struct RecordedImage<'a> {
    /// The id at the cloud.
    pub id: &'a str,
    /// Its class.
    pub class: &'a str,
    /// The architecture, as in `x86_64`.
    pub arch: &'a str,
    /// The firmware that boots it.
    pub firmware: Firmware,
    /// The base that it was made from, as the lock file had it.
    pub base: &'a serde_json::Value,
}
