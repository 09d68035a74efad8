//! Which pin files and lists of use a plan to remove artifacts was made with: remembered in the cache of this computer, so that
//! `gc --apply` need not be told again. The log has their number only: paths of one computer mean nothing to another.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vault_bake::digest::Digest;

use crate::args::gc::Gc;
use crate::exit::{Exit, Failure};

/// The files that say what is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Pin files.
    pub pins: Vec<PathBuf>,
    /// Lists of use.
    pub in_use: Vec<PathBuf>,
}

impl Sources {
    /// Those of the command line.
    pub fn given(wish: &Gc) -> Self {
        Self {
            pins: wish.pins.clone(),
            in_use: wish.in_use.clone(),
        }
    }

    /// Those of the command line, and for each kind that it does not name, those that the plan of entry `plan` was made with.
    pub fn of_plan(wish: &Gc, cache: &Path, origin: &Digest, plan: u64) -> Self {
        let given = Self::given(wish);
        let text = fs::read(file(cache, origin, plan)).unwrap_or_default();
        let remembered: Self = serde_json::from_slice(&text).unwrap_or_default();
        let or = |given: Vec<PathBuf>, remembered| match given.is_empty() {
            true => remembered,
            false => given,
        };
        Self {
            pins: or(given.pins, remembered.pins),
            in_use: or(given.in_use, remembered.in_use),
        }
    }

    /// Remembers them for the plan of entry `plan`.
    pub fn remember(&self, cache: &Path, origin: &Digest, plan: u64) -> Result<(), Failure> {
        let path = file(cache, origin, plan);
        let failed = |error: std::io::Error| {
            let why = format!(
                "cannot remember what the plan looked at: {}: {error}",
                path.display()
            );
            Failure::new(Exit::Failed, why).hint("Pass --pins and --in-use to `gc --apply` again.")
        };
        let absolute = |paths: &[PathBuf]| -> std::io::Result<Vec<PathBuf>> {
            paths.iter().map(std::path::absolute).collect()
        };
        let whole = Self {
            pins: absolute(&self.pins).map_err(failed)?,
            in_use: absolute(&self.in_use).map_err(failed)?,
        };
        let text = serde_json::to_vec(&whole).unwrap_or_default();
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
