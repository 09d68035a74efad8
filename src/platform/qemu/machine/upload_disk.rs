//! Writes the content of a folder to the upload disk of a VM, as an ext2 file system.
//! The content needs no transfer over the VM's network, and no unpacking in the VM.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::builder::BuilderError;
use crate::platform::qemu::{Tools, cache};
use crate::process::Program;
use crate::wait::Interrupt;

/// The file of an upload disk, which is read-only for the VM.
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

    /// Writes the content of `folder` to the disk.
    pub async fn fill(&self, folder: &Path, interrupt: &Interrupt) -> Result<(), BuilderError> {
        let from = folder.to_owned();
        let usage = cache::blocking(interrupt, move || {
            Usage::measure(&from).map_err(BuilderError::file(&from))
        });
        let Usage { files, blocks } = usage.await?;
        // The disk is read-only for the VM, so it needs neither a journal (ext2) nor reserved
        // blocks.
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

/// The space that the content of a folder needs.
#[derive(Default)]
struct Usage {
    files: u64,
    blocks: u64,
}

impl Usage {
    fn measure(folder: &Path) -> io::Result<Self> {
        let mut usage = Self::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                usage.files += 1;
                usage.blocks += metadata.len().div_ceil(BLOCK_BYTES) + 1;
                if metadata.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        Ok(usage)
    }
}

const BLOCK_BYTES: u64 = 4096;
/// Space for the tables and special files of the file system: 8 MiB.
const SPARE_BLOCKS: u64 = 2048;
const SPARE_FILES: u64 = 32;
