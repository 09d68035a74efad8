//! Unpacks a release archive whose digest is verified.
//! Returns the product's binary as a gzip file, its digest, and the licence files.
//! Every entry is checked, although the archive is signed. Nothing is compressed again.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder, bufread::GzDecoder};
use zip::read::{ArchiveOffset, Config, ZipFileEntry};
use zip::{CompressionMethod, ZipArchive};

use super::cache::{Cache, file_error, persist};
use super::{ReleaseError, Unpacked};
use crate::digest::{Digest, HashingWriter};

/// Unpacks `archive`, a file of the cache, into `folder` of the cache.
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
    let (binary, licences) = zip.entries()?;
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

/// An archive, and the product that it must contain.
struct Zip<'a> {
    path: &'a Path,
    product: &'a str,
}

/// One entry of the archive, checked.
struct Entry {
    index: usize,
    name: String,
    size_bytes: u64,
    crc32: u32,
    deflated: bool,
}

impl Zip<'_> {
    fn read(&self) -> Result<ZipArchive<BufReader<File>>, ReleaseError> {
        let file = File::open(self.path).map_err(|error| file_error(self.path, error))?;
        let config = Config {
            archive_offset: ArchiveOffset::Known(0),
        };
        ZipArchive::with_config(config, BufReader::new(file)).map_err(|error| self.refuse(error))
    }

    /// Checks all entries. Returns the binary and the licence files.
    fn entries(&self) -> Result<(Entry, Vec<Entry>), ReleaseError> {
        let mut zip = self.read()?;
        zip.validate_header_consistency()
            .map_err(|error| self.refuse(error))?;
        let (mut binary, mut licences) = (None, Vec::new());
        for index in 0..zip.len() {
            let entry = zip
                .by_index_data(index)
                .map_err(|error| self.refuse(error))?;
            let entry = self.check_entry(index, &entry)?;
            if entry.name == self.product {
                binary = Some(entry);
            } else if is_licence(&entry.name) && entry.size_bytes <= LICENCE_LIMIT_BYTES {
                licences.push(entry);
            } else {
                return Err(self.refuse(format_args!(
                    "it contains `{}`, which is neither the binary `{}` nor a licence file",
                    entry.name, self.product
                )));
            }
        }
        let binary = binary
            .ok_or_else(|| self.refuse(format_args!("it does not contain `{}`", self.product)))?;
        Ok((binary, licences))
    }

    fn check_entry(&self, index: usize, entry: &ZipFileEntry<'_>) -> Result<Entry, ReleaseError> {
        let name = std::str::from_utf8(entry.name_raw())
            .map_err(|_| self.refuse("it contains a file name that is not UTF-8"))?;
        let refuse = |why: &str| Err(self.refuse(format_args!("`{}` {why}", name.escape_debug())));
        let unsafe_part = |part: &str| part.is_empty() || part == "." || part == "..";
        let unsafe_character = |c: char| c.is_control() || matches!(c, '\\' | ':');
        if name.split('/').any(unsafe_part) || name.contains(unsafe_character) {
            return refuse("is not a safe file name");
        }
        // The type bits of a Unix mode. Archives made on other systems have none.
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

    /// Writes the gzip file of the binary, unless the cache has an undamaged copy.
    fn binary_gz(&self, entry: &Entry, cache: &Cache, gz: &Path) -> Result<(), ReleaseError> {
        let (expected, _, _) = self.write_gz(entry, io::sink(), gz)?;
        if matches!(Digest::hash_file(gz), Ok((found, _)) if found == expected) {
            return Ok(());
        }
        let mut file = cache.temporary()?;
        self.write_gz(entry, &mut file, gz)?;
        persist(file, gz)
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
        let mut sink = HashingWriter::new(sink);
        let written = if entry.deflated {
            copy_as_gzip(&mut raw, entry, &mut sink)
        } else {
            let mut stored = GzBuilder::new().write(&mut sink, Compression::none());
            io::copy(&mut raw, &mut stored).and_then(|_| stored.finish().map(drop))
        };
        written.map_err(|error| file_error(gz, error))?;
        Ok(sink.finish())
    }

    /// Decompresses the gzip file and hashes the bytes that the build VM will get.
    fn check_binary(&self, entry: &Entry, gz: &Path) -> Result<Digest, ReleaseError> {
        let file = File::open(gz).map_err(|error| file_error(gz, error))?;
        let mut decoder = GzDecoder::new(BufReader::with_capacity(1 << 18, file));
        // One more byte than declared reveals a longer file.
        let limited = (&mut decoder).take(entry.size_bytes.saturating_add(1));
        let wrong_size = |found: &dyn std::fmt::Display| {
            self.refuse(format_args!(
                "`{}` does not have its declared size of {} bytes: {found}",
                entry.name, entry.size_bytes
            ))
        };
        let (digest, size_bytes) =
            Digest::hash_reader(limited).map_err(|error| wrong_size(&error))?;
        if size_bytes != entry.size_bytes {
            return Err(wrong_size(&format_args!("found {size_bytes} or more")));
        }
        let mut rest = Vec::new();
        decoder
            .get_mut()
            .take(1)
            .read_to_end(&mut rest)
            .map_err(|error| file_error(gz, error))?;
        if !rest.is_empty() {
            return Err(wrong_size(&"bytes follow the compressed data"));
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
                "`{}` does not have its declared size of {} bytes: found {}",
                entry.name,
                entry.size_bytes,
                text.len()
            )));
        }
        let path = folder.join("licences").join(&entry.name);
        if std::fs::read(&path).ok().as_ref() != Some(&text) {
            persist(cache.temporary_with(&text)?, &path)?;
        }
        Ok((entry.name.clone(), path))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "each call site builds the error or the text that it passes"
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

/// Copies a raw deflate stream and adds a gzip header and trailer.
fn copy_as_gzip(raw: &mut impl Read, entry: &Entry, sink: &mut impl Write) -> io::Result<()> {
    // Method deflate, no flags, no time, no extra flags, operating system unknown.
    sink.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
    io::copy(raw, sink)?;
    sink.write_all(&entry.crc32.to_le_bytes())?;
    // The trailer has the size modulo 2^32. Entries are smaller.
    sink.write_all(
        &u32::try_from(entry.size_bytes)
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    )
}

/// Whether `name` is that of a licence or notice file, such as `LICENSE.txt` or `EULA.txt`.
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

/// The size limit of a binary, in bytes.
const BINARY_LIMIT_BYTES: u64 = 2 << 30;
/// The size limit of a licence file, in bytes.
const LICENCE_LIMIT_BYTES: u64 = 4 << 20;
