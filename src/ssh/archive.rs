//! What an upload is: a tar archive, the same bytes for the same content. As a stream it comes in gzip members.
//!
//! In: files and folders, in the caller's order. Out: bytes. Everything belongs to root and to the beginning of time.
//! What is compressed already is stored in a member of its own, so that no time is lost on it.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

/// How an entry travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Compressed: text.
    Compressed,
    /// As it is: what is compressed already.
    Stored,
}

impl Packing {
    fn level(self) -> Compression {
        match self {
            Self::Compressed => Compression::new(6),
            Self::Stored => Compression::none(),
        }
    }
}

/// A tar archive that is being written.
pub struct Archive<'a> {
    /// Taken out only while a member is ended and the next one begun.
    to: Option<To<'a>>,
    packing: Packing,
    content: &'a mut dyn FnMut(u64),
}

/// Where it goes.
enum To<'a> {
    /// To a channel, in members.
    Members(Box<GzEncoder<&'a mut dyn Write>>),
    /// As it is: to where reading takes less time than unpacking.
    Plain(&'a mut dyn Write),
}

impl Write for To<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Members(member) => member.write(bytes),
            Self::Plain(to) => to.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Members(member) => member.flush(),
            Self::Plain(to) => to.flush(),
        }
    }
}

/// The size of tar's blocks, in bytes.
const BLOCK: usize = 512;

impl<'a> Archive<'a> {
    /// Writes to `to`; `content` learns of each piece of content that went, by its size in bytes.
    pub fn new(to: &'a mut dyn Write, content: &'a mut dyn FnMut(u64)) -> Self {
        let packing = Packing::Compressed;
        Self {
            to: Some(To::Members(Box::new(GzEncoder::new(to, packing.level())))),
            packing,
            content,
        }
    }

    /// As [`Archive::new`], but nothing is compressed.
    pub fn plain(to: &'a mut dyn Write, content: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            to: Some(To::Plain(to)),
            packing: Packing::Stored,
            content,
        }
    }

    /// Adds the folder `path`, below the folder that is uploaded to, with `mode` as in 0o755.
    pub fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let header = header(path, EntryType::Directory, mode, 0)?;
        self.writer(Packing::Compressed)?
            .write_all(header.as_bytes())
    }

    /// Adds all folders above these files, each once.
    pub fn folders_above<'p>(&mut self, paths: impl Iterator<Item = &'p str>) -> io::Result<()> {
        let above = paths.flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end]));
        let folders: BTreeSet<&str> = above.collect();
        folders
            .into_iter()
            .try_for_each(|folder| self.folder(folder, 0o755))
    }

    /// Adds the file `path` with `mode` and `content`.
    pub fn bytes(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(
            path,
            mode,
            content.len() as u64,
            content,
            Packing::Compressed,
        )
    }

    /// Adds the file `path` with `mode` and the content of the file `from`.
    pub fn file(&mut self, path: &str, mode: u32, from: &Path, packing: Packing) -> io::Result<()> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", from.display()));
        let file = std::fs::File::open(from).map_err(named)?;
        let size_bytes = file.metadata().map_err(named)?.len();
        self.entry(path, mode, size_bytes, file, packing)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<()> {
        self.writer(Packing::Compressed)?
            .write_all(&[0; 2 * BLOCK])?;
        match self.to.take() {
            Some(To::Members(member)) => member.finish().map(|_to| ()),
            Some(To::Plain(_)) => Ok(()),
            None => Err(broken()),
        }
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        size_bytes: u64,
        content: impl Read,
        packing: Packing,
    ) -> io::Result<()> {
        let header = header(path, EntryType::Regular, mode, size_bytes)?;
        self.writer(packing)?.write_all(header.as_bytes())?;
        let mut content = content.take(size_bytes);
        let mut buffer = [0; 32 * 1024];
        let mut left = size_bytes;
        while left > 0 {
            let read = match content.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if read == 0 {
                let short = format!("{path} became shorter while it was read");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, short));
            }
            self.writer(packing)?.write_all(&buffer[..read])?;
            (self.content)(read as u64);
            left -= read as u64;
        }
        let padding = (BLOCK - (size_bytes % BLOCK as u64) as usize) % BLOCK;
        self.writer(packing)?.write_all(&[0; BLOCK][..padding])
    }

    /// Where `packing` goes: to the open member, or to a new one.
    fn writer(&mut self, packing: Packing) -> io::Result<&mut To<'a>> {
        if packing != self.packing {
            let to = match self.to.take().ok_or_else(broken)? {
                To::Members(member) => {
                    To::Members(Box::new(GzEncoder::new(member.finish()?, packing.level())))
                }
                plain @ To::Plain(_) => plain,
            };
            self.to = Some(to);
            self.packing = packing;
        }
        self.to.as_mut().ok_or_else(broken)
    }
}

fn broken() -> io::Error {
    io::Error::other("the archive ended with an earlier error")
}

fn header(path: &str, kind: EntryType, mode: u32, size_bytes: u64) -> io::Result<Header> {
    let inside = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !inside {
        let why = format!("`{path}` is no path below the folder that is uploaded to");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_path(path)?;
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size_bytes);
    header.set_cksum();
    Ok(header)
}
