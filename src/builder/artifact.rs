//! What comes out of a machine: a disk as a file, or images on a cloud.

use std::path::PathBuf;

use jiff::Timestamp;

use super::BuilderError;
use crate::definition::{Firmware, Security};
use crate::digest::Digest;

/// A disk that was captured, and what can be looked through of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// What is recorded.
    pub artifact: Artifact,
    /// The disk that was read back from it, as a raw file that the caller removes; none where only a cloud has it.
    pub raw: Option<PathBuf>,
}

/// What was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Artifact {
    /// A disk as a file.
    File(CapturedFile),
    /// Images on Azure, the one that is tested first.
    Azure(Vec<CapturedImage>),
}

impl Artifact {
    /// The file, where it is one.
    pub fn file(&self) -> Result<&CapturedFile, BuilderError> {
        match self {
            Self::File(file) => Ok(file),
            Self::Azure(_) => Err(BuilderError::OtherBuilder),
        }
    }

    /// The resource ids of its images on a cloud; a file has none.
    pub fn ids(&self) -> Vec<&str> {
        match self {
            Self::File(_) => Vec::new(),
            Self::Azure(images) => images.iter().map(|image| image.id.as_str()).collect(),
        }
    }
}

/// A captured disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFile {
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

/// An image on Azure, as it was read back after it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedImage {
    /// Its resource id.
    pub id: String,
    /// Whether it is a managed image or a version in a gallery.
    pub kind: CapturedKind,
    /// Its region.
    pub location: String,
    /// How it starts.
    pub firmware: Firmware,
    /// As in `x86_64`.
    pub arch: String,
    /// Of the disk in it, in GiB.
    pub disk_gib: u64,
    /// When Azure says that it was made.
    pub created_at: Option<Timestamp>,
    /// What Azure names it by beside its id, where it does.
    pub unique_id: Option<String>,
    /// Whether its machines boot as trusted-launch ones.
    pub security: Security,
}

/// What an image on Azure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapturedKind {
    /// A managed image.
    ManagedImage,
    /// A version in a gallery.
    GalleryVersion,
}
