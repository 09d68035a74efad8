//! The pin files and lists of a `gc` plan, saved in the cache of this computer.
//! `gc --apply` reads the same files again. The event log has only their number, because paths of
//! one computer mean nothing on another.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vault_bake::digest::Digest;

use crate::args::gc::Gc;
use crate::exit::{Exit, Failure};

/// Files that name images in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Pin files.
    pub pins: Vec<PathBuf>,
    /// Lists of images that nodes use.
    pub in_use: Vec<PathBuf>,
}

impl Sources {
    /// Returns the files of the command line.
    pub fn given(args: &Gc) -> Self {
        Self {
            pins: args.pins.clone(),
            in_use: args.in_use.clone(),
        }
    }

    /// Returns the files of the command line. A kind that it does not name is taken from the plan.
    pub fn of_plan(args: &Gc, cache: &Path, origin: &Digest, plan: u64) -> Self {
        let given = Self::given(args);
        let text = fs::read(file(cache, origin, plan)).unwrap_or_default();
        let saved: Self = serde_json::from_slice(&text).unwrap_or_default();
        let or_saved = |given: Vec<PathBuf>, saved| if given.is_empty() { saved } else { given };
        Self {
            pins: or_saved(given.pins, saved.pins),
            in_use: or_saved(given.in_use, saved.in_use),
        }
    }

    /// Saves the files for the plan of entry `plan`.
    pub fn save(&self, cache: &Path, origin: &Digest, plan: u64) -> Result<(), Failure> {
        let path = file(cache, origin, plan);
        let failed = |error: std::io::Error| {
            let message = format!(
                "cannot save the files of the plan in {}: {error}",
                path.display()
            );
            Failure::new(Exit::Failed, message)
                .hint("Pass --pins and --in-use to `gc --apply` again.")
        };
        let absolute = |paths: &[PathBuf]| -> std::io::Result<Vec<PathBuf>> {
            paths.iter().map(std::path::absolute).collect()
        };
        let sources = Self {
            pins: absolute(&self.pins).map_err(failed)?,
            in_use: absolute(&self.in_use).map_err(failed)?,
        };
        let text = serde_json::to_vec(&sources).unwrap_or_default();
        let folder = path.parent().unwrap_or(cache);
        fs::create_dir_all(folder).map_err(failed)?;
        fs::write(&path, text).map_err(failed)
    }
}

fn file(cache: &Path, origin: &Digest, plan: u64) -> PathBuf {
    cache
        .join("gc")
        .join(origin.hex())
        .join(format!("{plan}.json"))
}
