//! Layers of the layer cache: disks with the changes of the first steps of a plan.
//! A layer is identified by a key over all its inputs.
//! Plans and steps are left to the caller, which adds a note.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// A cached layer with all layers below it, down to the base.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The path of the layer's disk.
    pub disk: PathBuf,
    /// All files, the lowest layer first. The last one is `disk`.
    pub files: Vec<LayerFile>,
    /// A shared lock. No layer is removed from the cache while it is locked.
    pub(crate) in_use: Option<Arc<File>>,
}

impl Layer {
    /// Returns a layer of `files`, of which `disk` is the last.
    pub fn new(disk: PathBuf, files: Vec<LayerFile>) -> Self {
        Self {
            disk,
            files,
            in_use: None,
        }
    }

    /// Releases the lock. A VM that started from the layer has its own lock.
    pub fn release(&mut self) {
        self.in_use = None;
    }
}

/// One file of a layer, with the changes on top of the files below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerFile {
    /// The origin of the file.
    pub made: LayerOrigin,
    /// The digest of the file.
    pub sha256: Digest,
}

/// The origin of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerOrigin {
    /// The digest of all inputs of this layer and of the layers below.
    pub key: Digest,
    /// The id of the run that made it.
    pub run: String,
    /// The time of creation, in seconds since 1970.
    pub made_s: i64,
    /// The name of the last step in it.
    pub step: String,
    /// The caller's data: the record of that step.
    pub note: serde_json::Value,
}

/// The limits of the layer cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerCacheLimits {
    /// Whether a build starts from a cached layer. It adds layers to the cache in any case.
    pub reuse: bool,
    /// The greatest age of a layer. Older layers are not used and are removed.
    pub max_age: Duration,
    /// The size of all layers after a build, in bytes. The least recently used layers are removed
    /// first.
    pub max_bytes: u64,
}

impl Default for LayerCacheLimits {
    fn default() -> Self {
        Self {
            reuse: true,
            max_age: Duration::from_secs(7 * 24 * 3600),
            max_bytes: 8 << 30,
        }
    }
}

/// The size of the layer cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LayerCacheUsage {
    /// The number of layers.
    pub layers: u64,
    /// Their size on disk, in bytes.
    pub bytes: u64,
}
