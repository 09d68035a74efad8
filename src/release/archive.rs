//! Opens a release archive, and makes of it what goes to the machine.
//!
//! In: a zip archive whose digest is verified. Out: the product's binary as a gzip file, its digest, and the licence
//! files. Although a release server signed for the archive, nothing in it is believed before it was looked at.
//! Deliberately recompresses nothing: a deflate stream only gets another header.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder, bufread::GzDecoder};
use zip::read::{ArchiveOffset, Config, ZipFileEntry};
use zip::{CompressionMethod, ZipArchive};

use super::cache::{Cache, at, put};
use super::{ReleaseError, Unpacked};
use crate::digest::{Digest, Hashing};

/// Opens `archive` (the file of the lock, in the cache) and puts what is in it into `folder` of the cache.
pub(super) fn unpack(
    cache: &Cache,
    archive: &Path,
    product: &str,
    folder: &Path,
) -> Result<Unpacked, ReleaseError> {
    let zip = Zip {
        path: archive,
        product,
    };
    let (binary, licences) = zip.look()?;
    let gz = folder.join(format!("{product}.gz"));
    zip.binary_gz(&binary, cache, &gz)?;
    let binary_sha256 = zip.check_binary(&binary, &gz)?;
    let licences = licences
        .into_iter()
        .map(|entry| zip.licence(&entry, cache, folder))
        .collect::<Result<_, _>>()?;
    Ok(Unpacked {
        binary_gz: gz,
        binary_sha256,
        binary_size_bytes: binary.size_bytes,
        licences,
    })
}

/// An archive, and the product that it should be of.
struct Zip<'a> {
    path: &'a Path,
    product: &'a str,
}

/// One entry of the archive, found to be harmless.
struct Entry {
    index: usize,
    name: String,
    size_bytes: u64,
    crc32: u32,
    deflated: bool,
}

impl Zip<'_> {
    fn read(&self) -> Result<ZipArchive<BufReader<File>>, ReleaseError> {
        let file = File::open(self.path).map_err(|error| at(self.path, error))?;
        let config = Config {
            archive_offset: ArchiveOffset::Known(0),
        };
        ZipArchive::with_config(config, BufReader::new(file)).map_err(|error| self.refuse(error))
    }

    /// All entries: the binary, and the licence files.
    fn look(&self) -> Result<(Entry, Vec<Entry>), ReleaseError> {
        let mut zip = self.read()?;
        zip.validate_header_consistency()
            .map_err(|error| self.refuse(error))?;
        let (mut binary, mut licences) = (None, Vec::new());
        for index in 0..zip.len() {
            let entry = zip
                .by_index_data(index)
                .map_err(|error| self.refuse(error))?;
            let entry = self.accept(index, &entry)?;
            if entry.name == self.product {
                binary = Some(entry);
            } else if is_licence(&entry.name) && entry.size_bytes <= LICENCE_LIMIT_BYTES {
                licences.push(entry);
            } else {
                return Err(self.refuse(format_args!(
                    "it holds `{}`, which is neither the binary `{}` nor a licence file",
                    entry.name, self.product
                )));
            }
        }
        let binary = binary
            .ok_or_else(|| self.refuse(format_args!("it does not hold `{}`", self.product)))?;
        Ok((binary, licences))
    }

    fn accept(&self, index: usize, entry: &ZipFileEntry<'_>) -> Result<Entry, ReleaseError> {
        let name = std::str::from_utf8(entry.name_raw())
            .map_err(|_| self.refuse("it holds a file whose name is not text"))?;
        let refuse = |why: &str| Err(self.refuse(format_args!("`{}` {why}", name.escape_debug())));
        let unsafe_part = |part: &str| part.is_empty() || part == "." || part == "..";
        let unsafe_character = |c: char| c.is_control() || matches!(c, '\\' | ':');
        if name.split('/').any(unsafe_part) || name.contains(unsafe_character) {
            return refuse("is not a safe file name");
        }
        // The type bits of a Unix mode; archives made elsewhere have none.
        let kind = entry.unix_mode().unwrap_or(0) & 0o170_000;
        if entry.is_dir() || entry.is_symlink() || (kind != 0 && kind != 0o100_000) {
            return refuse("is not a plain file");
        }
        if entry.encrypted() {
            return refuse("is encrypted");
        }
        let deflated = match entry.compression() {
            CompressionMethod::Stored => false,
            CompressionMethod::Deflated => true,
            _ => return refuse("is neither stored nor deflated"),
        };
        if entry.size() > BINARY_LIMIT_BYTES || entry.compressed_size() > BINARY_LIMIT_BYTES {
            return refuse("is larger than 2 GiB");
        }
        Ok(Entry {
            index,
            name: name.to_owned(),
            size_bytes: entry.size(),
            crc32: entry.crc32(),
            deflated,
        })
    }

    /// Makes the gzip file of the binary, unless the cache has it undamaged.
    fn binary_gz(&self, entry: &Entry, cache: &Cache, gz: &Path) -> Result<(), ReleaseError> {
        let (wanted, _, _) = self.write_gz(entry, io::sink(), gz)?;
        if matches!(Digest::of_file(gz), Ok((found, _)) if found == wanted) {
            return Ok(());
        }
        let mut fresh = cache.temporary()?;
        self.write_gz(entry, &mut fresh, gz)?;
        put(fresh, gz)
    }

    fn write_gz<W: Write>(
        &self,
        entry: &Entry,
        sink: W,
        gz: &Path,
    ) -> Result<(Digest, u64, W), ReleaseError> {
        let mut zip = self.read()?;
        let mut raw = zip
            .by_index_raw(entry.index)
            .map_err(|error| self.refuse(error))?;
        let mut sink = Hashing::new(sink);
        let written = if entry.deflated {
            reframe(&mut raw, entry, &mut sink)
        } else {
            let mut stored = GzBuilder::new().write(&mut sink, Compression::none());
            io::copy(&mut raw, &mut stored).and_then(|_| stored.finish().map(drop))
        };
        written.map_err(|error| at(gz, error))?;
        Ok(sink.finish())
    }

    /// Decompresses all of the gzip file: what the machine will get is what is hashed.
    fn check_binary(&self, entry: &Entry, gz: &Path) -> Result<Digest, ReleaseError> {
        let file = File::open(gz).map_err(|error| at(gz, error))?;
        let mut decoder = GzDecoder::new(BufReader::with_capacity(1 << 18, file));
        // One byte more than there should be shows that there is more.
        let limited = (&mut decoder).take(entry.size_bytes.saturating_add(1));
        let lies = |found: &dyn std::fmt::Display| {
            self.refuse(format_args!(
                "`{}` is not the {} bytes that it is declared to be: {found}",
                entry.name, entry.size_bytes
            ))
        };
        let (digest, size_bytes) = Digest::of_reader(limited).map_err(|error| lies(&error))?;
        if size_bytes != entry.size_bytes {
            return Err(lies(&format_args!("found {size_bytes} or more")));
        }
        let mut rest = Vec::new();
        decoder
            .get_mut()
            .take(1)
            .read_to_end(&mut rest)
            .map_err(|error| at(gz, error))?;
        if !rest.is_empty() {
            return Err(lies(&"something follows the compressed data"));
        }
        Ok(digest)
    }

    fn licence(
        &self,
        entry: &Entry,
        cache: &Cache,
        folder: &Path,
    ) -> Result<(String, PathBuf), ReleaseError> {
        let mut zip = self.read()?;
        let mut text = Vec::new();
        zip.by_index(entry.index)
            .map_err(|error| self.refuse(error))?
            .take(LICENCE_LIMIT_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(|error| self.refuse(format_args!("`{}`: {error}", entry.name)))?;
        if text.len() as u64 != entry.size_bytes {
            return Err(self.refuse(format_args!(
                "`{}` has {} bytes, declared are {}",
                entry.name,
                text.len(),
                entry.size_bytes
            )));
        }
        let path = folder.join("licences").join(&entry.name);
        if std::fs::read(&path).ok().as_ref() != Some(&text) {
            put(cache.temporary_with(&text)?, &path)?;
        }
        Ok((entry.name.clone(), path))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "errors and words are handed over where they arise"
    )]
    fn refuse(&self, reason: impl ToString) -> ReleaseError {
        ReleaseError::Archive {
            file: self
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            reason: reason.to_string(),
        }
    }
}

/// Copies a raw deflate stream under a gzip header and trailer.
fn reframe(raw: &mut impl Read, entry: &Entry, sink: &mut impl Write) -> io::Result<()> {
    // Deflate; no flags, no time, no extra flags; made by a system that need not be named.
    sink.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
    io::copy(raw, sink)?;
    sink.write_all(&entry.crc32.to_le_bytes())?;
    // The trailer counts modulo 2^32; entries are smaller than that.
    sink.write_all(
        &u32::try_from(entry.size_bytes)
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    )
}

/// Whether HashiCorp's archives have files of this name beside the binary: `LICENSE.txt`, `EULA.txt`,
/// `TermsOfEvaluation.txt`, and what else open-source licences ask for.
fn is_licence(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let (stem, extension) = lower.split_once('.').unwrap_or((&lower, "txt"));
    matches!(extension, "txt" | "md")
        && matches!(
            stem,
            "license"
                | "licence"
                | "notice"
                | "copying"
                | "copyright"
                | "eula"
                | "termsofevaluation"
                | "readme"
        )
}

/// The largest binary that is unpacked, in bytes.
const BINARY_LIMIT_BYTES: u64 = 2 << 30;
/// The largest licence file, in bytes.
const LICENCE_LIMIT_BYTES: u64 = 4 << 20;
