//! The artifact of a build: a disk image file, or images in a cloud.

use std::path::PathBuf;

use jiff::Timestamp;

use super::BuilderError;
use crate::definition::{Firmware, Security};
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
    /// Images in Azure. The first one is tested.
    Azure(Vec<CapturedImage>),
}

impl Artifact {
    /// Returns the file, or an error for images in a cloud.
    pub fn file(&self) -> Result<&CapturedFile, BuilderError> {
        match self {
            Self::File(file) => Ok(file),
            Self::Azure(_) => Err(BuilderError::WrongBuilder),
        }
    }

    /// Returns the resource ids of its cloud images. A file has none.
    pub fn ids(&self) -> Vec<&str> {
        match self {
            Self::File(_) => Vec::new(),
            Self::Azure(images) => images.iter().map(|image| image.id.as_str()).collect(),
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

/// An image in Azure, as read back after its creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedImage {
    /// The resource id.
    pub id: String,
    /// Whether it is a managed image or a gallery version.
    pub kind: CapturedKind,
    /// The Azure region.
    pub location: String,
    /// The firmware that boots it.
    pub firmware: Firmware,
    /// The architecture, as in `x86_64`.
    pub arch: String,
    /// The size of its disk, in GiB.
    pub disk_gib: u64,
    /// The creation time that Azure reports.
    pub created_at: Option<Timestamp>,
    /// The unique id that Azure assigns to some resources in addition to the resource id.
    pub unique_id: Option<String>,
    /// The security type of the VMs that boot it, such as trusted launch.
    pub security: Security,
}

/// The kind of an image in Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapturedKind {
    /// A managed image.
    ManagedImage,
    /// A version of an image definition in a Compute Gallery.
    GalleryVersion,
}
