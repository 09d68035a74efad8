//! The disk that a machine sees its uploads on.
//!
//! In: a folder. Out: an ext2 file system with its content, written to the file that the machine has as a disk already. No copy
//! travels through the machine's network, and nothing is unpacked in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::builder::BuilderError;
use crate::builder::qemu::{Tools, cache};
use crate::process::Program;
use crate::wait::Interrupt;

/// The file of a machine's disk for uploads. The machine never writes to it.
pub(super) struct UploadDisk {
    path: PathBuf,
    mke2fs: PathBuf,
}

impl UploadDisk {
    pub fn new(path: PathBuf, tools: &Tools) -> Self {
        Self {
            path,
            mke2fs: tools.mke2fs.clone(),
        }
    }

    /// Puts the content of `folder` on it.
    pub async fn fill(&self, folder: &Path, interrupt: &Interrupt) -> Result<(), BuilderError> {
        let from = folder.to_owned();
        let needed = cache::blocking(interrupt, move || {
            Needed::of(&from).map_err(BuilderError::file(&from))
        });
        let Needed { files, blocks } = needed.await?;
        // A journal is of no use to who only reads, nor is room for more.
        Program::new(&self.mke2fs)
            .args(["-q", "-F", "-t", "ext2", "-m", "0"])
            .args(["-E", "nodiscard", "-b", &BLOCK_BYTES.to_string()])
            .args(["-N", &(files + SPARE_FILES).to_string(), "-d"])
            .args([folder, &self.path])
            .arg((blocks + blocks / 50 + SPARE_BLOCKS).to_string())
            .run(interrupt)
            .await?;
        Ok(())
    }
}

/// What a folder takes.
#[derive(Default)]
struct Needed {
    files: u64,
    blocks: u64,
}

impl Needed {
    fn of(folder: &Path) -> io::Result<Self> {
        let mut needed = Self::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                needed.files += 1;
                needed.blocks += metadata.len().div_ceil(BLOCK_BYTES) + 1;
                if metadata.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        Ok(needed)
    }
}

const BLOCK_BYTES: u64 = 4096;
/// Room for tables of the file system, and what it has of its own: 8 MiB.
const SPARE_BLOCKS: u64 = 2048;
const SPARE_FILES: u64 = 32;
