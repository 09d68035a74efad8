//! A file whose blocks are checked on read: each block has a digest, and the footer has a digest
//! over those.
//! A read returns the written bytes, or `None` if a block that it needs was altered.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;

use crate::digest::Digest;

/// Larger blocks would hash bytes that a read does not need; smaller ones would need more digests.
const BLOCK_BYTES: usize = 16 * 1024;

/// The format of the file, in its footer. The number changes with every change of the content.
const FORMAT: &[u8; 32] = b"vault-bake history, format 0004\n";

/// The footer: the size of the content, the format, and a digest over both and all block digests.
const FOOTER_BYTES: usize = 8 + FORMAT.len() + 32;

/// A file for reading.
pub(super) struct Blocks {
    file: File,
    /// The size of the content in bytes, without digests and footer.
    len: u64,
    digests: Vec<u8>,
    /// The block that was read last, with its number.
    last_block: Option<(u64, Vec<u8>)>,
}

impl Blocks {
    /// Opens a file that [`Writer`] wrote. Returns `None` if its footer or its digests were
    /// altered.
    pub fn open(file: File) -> Option<Self> {
        let size = file.metadata().ok()?.len();
        let mut footer = [0; FOOTER_BYTES];
        let footer_at = size.checked_sub(FOOTER_BYTES as u64)?;
        file.read_exact_at(&mut footer, footer_at).ok()?;
        let len = u64::from_le_bytes(footer[..8].try_into().ok()?);
        // Checked before allocating, since the size in a damaged footer can be anything.
        let digests_bytes = footer_at.checked_sub(len)?;
        if digests_bytes != len.div_ceil(BLOCK_BYTES as u64) * 32 || footer[8..40] != *FORMAT {
            return None;
        }
        let mut digests = vec![0; usize::try_from(digests_bytes).ok()?];
        file.read_exact_at(&mut digests, len).ok()?;
        if footer[40..] != *seal(&digests, len).bytes() {
            return None;
        }
        Some(Self {
            file,
            len,
            digests,
            last_block: None,
        })
    }

    /// Returns the size of the content in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Fills `into` with the bytes from `at` on.
    pub fn read(&mut self, at: u64, into: &mut [u8]) -> Option<()> {
        let (mut at, mut into) = (at, into);
        while !into.is_empty() {
            let block = self.block(at / BLOCK_BYTES as u64)?;
            let rest = block.get((at % BLOCK_BYTES as u64) as usize..)?;
            let size = rest.len().min(into.len());
            if size == 0 {
                return None;
            }
            into[..size].copy_from_slice(&rest[..size]);
            into = &mut into[size..];
            at += size as u64;
        }
        Some(())
    }

    fn block(&mut self, number: u64) -> Option<&[u8]> {
        if self
            .last_block
            .as_ref()
            .is_none_or(|(last, _)| *last != number)
        {
            let at = number.checked_mul(BLOCK_BYTES as u64)?;
            let size = self.len.checked_sub(at)?.min(BLOCK_BYTES as u64);
            let mut bytes = vec![0; size as usize];
            self.file.read_exact_at(&mut bytes, at).ok()?;
            let digest = self
                .digests
                .chunks_exact(32)
                .nth(usize::try_from(number).ok()?)?;
            if digest != Digest::hash_bytes(&bytes).bytes() {
                return None;
            }
            self.last_block = Some((number, bytes));
        }
        self.last_block.as_ref().map(|(_, bytes)| bytes.as_slice())
    }
}

/// A file for writing.
pub(super) struct Writer<W> {
    into: W,
    len: u64,
    digests: Vec<u8>,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub fn new(into: W) -> Self {
        Self {
            into,
            len: 0,
            digests: Vec::new(),
            block: Vec::with_capacity(BLOCK_BYTES),
        }
    }

    fn end_block(&mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            self.digests.extend(Digest::hash_bytes(&self.block).bytes());
            self.into.write_all(&self.block)?;
            self.block.clear();
        }
        Ok(())
    }

    /// Writes the last block, the digests and the footer.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_block()?;
        self.into.write_all(&self.digests)?;
        self.into.write_all(&self.len.to_le_bytes())?;
        self.into.write_all(FORMAT)?;
        let seal = seal(&self.digests, self.len);
        self.into.write_all(seal.bytes())?;
        Ok(self.into)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..size]);
        self.len += size as u64;
        if self.block.len() == BLOCK_BYTES {
            self.end_block()?;
        }
        Ok(size)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

fn seal(digests: &[u8], len: u64) -> Digest {
    Digest::hash_bytes([digests, &len.to_le_bytes(), FORMAT].concat())
}
