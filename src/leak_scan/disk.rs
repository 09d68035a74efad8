//! A raw disk: its partitions, their file systems, and the parts of it that hold anything.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ext4_view::{Ext4, Ext4Read};
use gpt::GptConfig;
use rustix::fs::SeekFrom as SeekTo;
use rustix::io::Errno;

use super::LeakScanError;

/// A partition, or the whole disk where there is none.
pub(super) struct Partition {
    disk: PathBuf,
    /// As in `partition 2`.
    name: String,
    start: u64,
}

/// What is read of the first sector: the table that came before GPT, four entries of 16 bytes from byte 446 on, each with the
/// first sector in its bytes 8 to 11 (UEFI 2.10, 5.2.1).
const SECTOR: u64 = 512;
const OLD_TABLE: usize = 446;

/// An ext2, ext3 or ext4 file system has this at byte 1080 (kernel.org, ext4 data structures, super block).
const EXT: (&[u8], u64) = (&[0x53, 0xef], 1080);

/// What holds files that cannot be looked at one by one, and how it is known, with the byte where that stands (blkid's tables).
const OTHERS: &[(&str, &[u8], u64)] = &[
    ("XFS", b"XFSB", 0),
    ("Btrfs", b"_BHRfS_M", 0x10040),
    ("LUKS", b"LUKS\xba\xbe", 0),
    ("LVM", b"LABELONE", 512),
];

/// What a partition holds.
pub(super) enum Content {
    Files(Ext4),
    /// What this version cannot look into.
    Other(String),
    /// No files of a system: a boot loader, a place that firmware reads, nothing.
    Nothing,
}

pub(super) fn file_error(path: &Path) -> impl Fn(io::Error) -> LeakScanError + '_ {
    |error| LeakScanError::File {
        path: path.to_owned(),
        error,
    }
}

/// The partitions of the disk at `path`, none of them empty; the whole disk as one where it has no table.
pub(super) fn partitions(path: &Path) -> Result<Vec<Partition>, LeakScanError> {
    let partition = |name: String, start: u64| Partition {
        disk: path.to_owned(),
        name,
        start,
    };
    let file = File::open(path).map_err(file_error(path))?;
    let gpt = GptConfig::new().writable(false).open_from_device(&file);
    if let Ok(table) = gpt {
        let size = table.logical_block_size().as_u64();
        let used = table.partitions().iter().filter(|(_, one)| one.is_used());
        let starts = used.map(|(id, one)| {
            let start = one.first_lba * size;
            partition(format!("partition {id}"), start)
        });
        return Ok(starts.collect());
    }
    let mut sector = [0; SECTOR as usize];
    // A disk that has not even one sector has no table either.
    if file.read_exact_at(&mut sector, 0).is_err() || !sector.ends_with(&[0x55, 0xaa]) {
        return Ok(vec![partition("the disk".to_owned(), 0)]);
    }
    let entries = sector[OLD_TABLE..].as_chunks::<16>().0.iter().take(4);
    let starts = entries.enumerate().filter_map(|(index, entry)| {
        let first = u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]]);
        let name = format!("partition {}", index + 1);
        (first > 0).then(|| partition(name, u64::from(first) * SECTOR))
    });
    Ok(starts.collect())
}

impl Partition {
    /// What it holds.
    pub(super) fn content(&self) -> Result<Content, LeakScanError> {
        let disk = File::open(&self.disk).map_err(file_error(&self.disk))?;
        let is = |magic: &[u8], at: u64| {
            let mut found = vec![0; magic.len()];
            // What ends before has none of it.
            let read = disk.read_exact_at(&mut found, self.start + at);
            read.is_ok() && found == magic
        };
        if !is(EXT.0, EXT.1) {
            let mut others = OTHERS.iter().filter(|(_, magic, at)| is(magic, *at));
            return Ok(others.next().map_or(Content::Nothing, |(kind, ..)| {
                Content::Other(format!("{} is {kind}", self.name))
            }));
        }
        let start = self.start;
        let files = Ext4::load(Box::new(Window { disk, start }));
        let files = files.map_err(|error| LeakScanError::FileSystem {
            at: self.name.clone(),
            error,
        })?;
        Ok(Content::Files(files))
    }
}

/// A disk from one of its bytes on.
struct Window {
    disk: File,
    start: u64,
}

impl Ext4Read for Window {
    fn read(
        &mut self,
        at: u64,
        to: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(self.disk.read_exact_at(to, self.start + at)?)
    }
}

/// The parts of a file that are no holes: where each begins, and its bytes. One after the other: there can be more of them than a process may have files open.
pub(super) fn extents(
    path: &Path,
) -> Result<impl Iterator<Item = Result<(u64, impl Read), LeakScanError>>, LeakScanError> {
    let error = file_error(path);
    let file = File::open(path).map_err(&error)?;
    let end = file.metadata().map_err(&error)?.len();
    let seek = |to: SeekTo| match rustix::fs::seek(&file, to) {
        Ok(at) => Ok(at),
        // There is nothing but a hole from there on.
        Err(Errno::NXIO) => Ok(end),
        Err(errno) => Err(error(errno.into())),
    };
    let mut extents = Vec::new();
    let mut at = 0;
    while at < end {
        let start = seek(SeekTo::Data(at))?;
        let hole = seek(SeekTo::Hole(start))?;
        if start < hole {
            extents.push((start, hole - start));
        }
        at = hole.max(start + 1);
    }
    Ok(extents.into_iter().map(move |(start, length)| {
        let mut part = File::open(path).map_err(&error)?;
        part.seek(SeekFrom::Start(start)).map_err(&error)?;
        Ok((start, part.take(length)))
    }))
}
