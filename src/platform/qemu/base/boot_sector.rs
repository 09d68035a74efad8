//! Writes GRUB's BIOS boot code into a raw disk, like `grub-install` but without a block device.
//! Takes `boot.img`, `core.img` and the first sector of the BIOS boot partition.
//! Keeps the partition table in sector 0.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// The size of a sector, in bytes.
pub(super) const SECTOR: u64 = 512;
/// The size of the boot code in sector 0. The disk signature and the partition table follow.
const BOOT_CODE_BYTES: usize = 440;
/// The position in boot.img of the sector of core.img.
const KERNEL_SECTOR_AT: usize = 0x5c;
/// The position in core.img of the sector of its second part.
const BLOCK_LIST_AT: usize = 0x1f4;

/// Writes `boot` to sector 0 and `core` to the partition of `room_bytes` that begins at sector
/// `first`.
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
            "GRUB's core.img has {} bytes, its partition has {room_bytes} bytes",
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
