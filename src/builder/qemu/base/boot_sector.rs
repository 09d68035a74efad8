//! Writes GRUB's BIOS boot code into a raw disk, as `grub-install` would, without a block device.
//!
//! In: `boot.img` and `core.img`, the first sector of the partition that core lies in. Out: the patched disk.
//! Deliberately leaves the protective partition table in sector 0 alone.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// Bytes of a sector.
pub(super) const SECTOR: u64 = 512;
/// Boot code in sector 0 ends where the disk signature and partition table begin.
const BOOT_CODE_BYTES: usize = 440;
/// Where boot.img keeps the sector of core.img.
const KERNEL_SECTOR_AT: usize = 0x5c;
/// Where the first sector of core.img keeps the sector of the rest.
const BLOCK_LIST_AT: usize = 0x1f4;

/// Writes `boot` to sector 0 and `core` to the partition of `room_bytes` that begins at sector `first`.
pub(super) fn install(
    disk: &mut File,
    mut boot: Vec<u8>,
    mut core: Vec<u8>,
    first: u64,
    room_bytes: u64,
) -> io::Result<()> {
    if boot.len() as u64 != SECTOR {
        return Err(io::Error::other("GRUB's boot.img is not one sector"));
    }
    if (core.len() as u64) <= SECTOR || core.len() as u64 > room_bytes {
        return Err(io::Error::other(format!(
            "GRUB's core.img of {} bytes does not fit into the {room_bytes} bytes for it",
            core.len()
        )));
    }
    boot[KERNEL_SECTOR_AT..KERNEL_SECTOR_AT + 8].copy_from_slice(&first.to_le_bytes());
    core[BLOCK_LIST_AT..BLOCK_LIST_AT + 8].copy_from_slice(&(first + 1).to_le_bytes());
    disk.seek(SeekFrom::Start(0))?;
    disk.write_all(&boot[..BOOT_CODE_BYTES])?;
    disk.seek(SeekFrom::Start(first * SECTOR))?;
    disk.write_all(&core)
}
