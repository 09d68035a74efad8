//! Layers: disks that the first steps of a plan were done on already.
//!
//! In: the key of what was done, which covers all that decided it. Out: where a machine can continue. Deliberately knows
//! neither plans nor steps: whoever keeps a layer says in its note what it is.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// A layer that machines can continue from, with all that it builds on, down to the base.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The disk.
    pub disk: PathBuf,
    /// What it consists of, in the order in which it was made; the last one is the layer itself.
    pub files: Vec<LayerFile>,
    /// While somebody holds this no layer is removed.
    pub(super) in_use: Option<Arc<File>>,
}

impl Layer {
    /// A layer of `files`, the last of which is `disk`.
    pub fn new(disk: PathBuf, files: Vec<LayerFile>) -> Self {
        Self {
            disk,
            files,
            in_use: None,
        }
    }

    /// Holds on to it no more: a machine that started from it does so itself.
    pub fn release(&mut self) {
        self.in_use = None;
    }
}

/// One file of a layer: what it has beyond those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerFile {
    /// What it is.
    pub made: Made,
    /// Of the file.
    pub sha256: Digest,
}

/// What was made, by whom and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Over all that decided what is in it, and in those below.
    pub key: Digest,
    /// The run that made it.
    pub run: String,
    /// When, in seconds since 1970.
    pub made_s: i64,
    /// What was done last, by name.
    pub step: String,
    /// The same in full, as whoever kept it wrote it down.
    pub note: serde_json::Value,
}

/// Which layers are used, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerRules {
    /// Whether a bake continues from one. It leaves layers for later bakes in any case.
    pub reuse: bool,
    /// Older ones are not continued from, and go.
    pub max_age: Duration,
    /// All together, in bytes, after a bake; of more, those that were not used for longest go.
    pub max_bytes: u64,
}

impl Default for LayerRules {
    fn default() -> Self {
        Self {
            reuse: true,
            max_age: Duration::from_secs(7 * 24 * 3600),
            max_bytes: 8 << 30,
        }
    }
}

/// The layers of a cache, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LayerUse {
    /// How many there are.
    pub layers: u64,
    /// What they take, in bytes.
    pub bytes: u64,
}
