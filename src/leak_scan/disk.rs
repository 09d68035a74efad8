//! Reads a raw disk: its partitions, their file systems, and its extents with data.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ext4_view::{Ext4, Ext4Read};
use gpt::GptConfig;
use rustix::fs::SeekFrom as SeekTo;
use rustix::io::Errno;

use super::LeakScanError;

/// A partition, or the whole disk if it has no partition table.
pub(super) struct Partition {
    disk: PathBuf,
    /// The name for findings, as in `partition 2`.
    name: String,
    start: u64,
}

const SECTOR: u64 = 512;
/// The position of the MBR partition table in the first sector: four entries of 16 bytes, each with
/// its first sector in bytes 8 to 11 (UEFI 2.10, 5.2.1).
const MBR_TABLE: usize = 446;

/// The bytes that identify the content of a partition.
struct Signature {
    name: &'static str,
    magic: &'static [u8],
    /// The distance from the start of the partition, in bytes.
    at: u64,
}

/// The signature of ext2, ext3 and ext4 (kernel.org, ext4 data structures, super block).
const EXT: Signature = Signature {
    name: "ext2, ext3 or ext4",
    magic: &[0x53, 0xef],
    at: 1080,
};

/// Contents with files that this version cannot read. The signatures are those of blkid.
const UNSUPPORTED: &[Signature] = &[
    Signature {
        name: "XFS",
        magic: b"XFSB",
        at: 0,
    },
    Signature {
        name: "Btrfs",
        magic: b"_BHRfS_M",
        at: 0x10040,
    },
    Signature {
        name: "LUKS",
        magic: b"LUKS\xba\xbe",
        at: 0,
    },
    Signature {
        name: "LVM",
        magic: b"LABELONE",
        at: 512,
    },
];

/// The content of a partition.
pub(super) enum Content {
    Files(Ext4),
    /// A description of a content that this version cannot read.
    Other(String),
    /// No system files: a boot loader, firmware data, or an empty partition.
    Nothing,
}

pub(super) fn file_error(path: &Path) -> impl Fn(io::Error) -> LeakScanError + '_ {
    |error| LeakScanError::File {
        path: path.to_owned(),
        error,
    }
}

/// Returns the used partitions of the disk at `path`, or the whole disk as one if it has no
/// partition table.
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
    // A disk that is smaller than one sector has no table.
    if file.read_exact_at(&mut sector, 0).is_err() || !sector.ends_with(&[0x55, 0xaa]) {
        return Ok(vec![partition("the disk".to_owned(), 0)]);
    }
    let entries = sector[MBR_TABLE..].as_chunks::<16>().0.iter().take(4);
    let starts = entries.enumerate().filter_map(|(index, entry)| {
        let first = u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]]);
        let name = format!("partition {}", index + 1);
        (first > 0).then(|| partition(name, u64::from(first) * SECTOR))
    });
    Ok(starts.collect())
}

/// Returns the first byte of the partition with systemd, the root of a system.
pub(crate) fn root_partition(path: &Path) -> Result<Option<u64>, LeakScanError> {
    for partition in partitions(path)? {
        if let Content::Files(files) = partition.content()?
            && files.exists(SYSTEMD).unwrap_or(false)
        {
            return Ok(Some(partition.start));
        }
    }
    Ok(None)
}

/// The program that a boot starts first.
const SYSTEMD: &str = "/usr/lib/systemd/systemd";

impl Partition {
    pub(super) fn content(&self) -> Result<Content, LeakScanError> {
        let disk = File::open(&self.disk).map_err(file_error(&self.disk))?;
        let has = |signature: &Signature| {
            let mut found = vec![0; signature.magic.len()];
            // A partition that ends before this position cannot have the signature.
            let read = disk.read_exact_at(&mut found, self.start + signature.at);
            read.is_ok() && found == signature.magic
        };
        if !has(&EXT) {
            let unsupported = UNSUPPORTED.iter().find(|signature| has(signature));
            return Ok(unsupported.map_or(Content::Nothing, |signature| {
                Content::Other(format!("{} is {}", self.name, signature.name))
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

/// A disk, read from the position `start`.
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

/// Returns the extents of a sparse file that have data, each with its start.
///
/// Opens one extent at a time, because a disk can have more extents than a process may open files.
pub(super) fn extents(
    path: &Path,
) -> Result<impl Iterator<Item = Result<(u64, impl Read), LeakScanError>>, LeakScanError> {
    let error = file_error(path);
    let file = File::open(path).map_err(&error)?;
    let end = file.metadata().map_err(&error)?.len();
    let seek = |to: SeekTo| match rustix::fs::seek(&file, to) {
        Ok(at) => Ok(at),
        // The rest of the file is a hole.
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
