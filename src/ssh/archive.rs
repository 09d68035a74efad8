//! Writes files and folders, in the caller's order, as a tar archive for an upload.
//! Equal content gives equal bytes: owner root, time 0.
//! Streams are gzip members; content that is already compressed gets a member without compression.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

/// The compression of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// With gzip, for text.
    Compressed,
    /// None, for content that is already compressed.
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

/// A writer of a tar archive.
pub struct Archive<'a> {
    /// `None` only between two members.
    output: Option<Output<'a>>,
    packing: Packing,
    on_content: &'a mut dyn FnMut(u64),
}

enum Output<'a> {
    /// In gzip members, for a stream over SSH.
    Members(Box<GzEncoder<&'a mut dyn Write>>),
    /// Without compression, for a disk: reading it is faster than unpacking.
    Plain(&'a mut dyn Write),
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Members(member) => member.write(bytes),
            Self::Plain(output) => output.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Members(member) => member.flush(),
            Self::Plain(output) => output.flush(),
        }
    }
}

/// The size of tar's blocks, in bytes.
const BLOCK: usize = 512;

impl<'a> Archive<'a> {
    /// Writes a compressed archive to `output`.
    ///
    /// Calls `on_content` with the size in bytes of each written piece of content.
    pub fn new(output: &'a mut dyn Write, on_content: &'a mut dyn FnMut(u64)) -> Self {
        let packing = Packing::Compressed;
        let member = Box::new(GzEncoder::new(output, packing.level()));
        Self {
            output: Some(Output::Members(member)),
            packing,
            on_content,
        }
    }

    /// Writes an archive without compression to `output`; see [`Archive::new`].
    pub fn plain(output: &'a mut dyn Write, on_content: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            output: Some(Output::Plain(output)),
            packing: Packing::Stored,
            on_content,
        }
    }

    /// Adds the folder `path`, relative to the target folder, with `mode` as in 0o755.
    pub fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let header = header(path, EntryType::Directory, mode, 0)?;
        self.writer(Packing::Compressed)?
            .write_all(header.as_bytes())
    }

    /// Adds the parent folders of all `paths`, each once.
    pub(crate) fn folders_above<'p>(
        &mut self,
        paths: impl Iterator<Item = &'p str>,
    ) -> io::Result<()> {
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

    /// Adds the file `path` with `mode` and the content of the local file `from`.
    pub fn file(&mut self, path: &str, mode: u32, from: &Path, packing: Packing) -> io::Result<()> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", from.display()));
        let file = std::fs::File::open(from).map_err(named)?;
        let size_bytes = file.metadata().map_err(named)?.len();
        self.entry(path, mode, size_bytes, file, packing)
    }

    /// Writes the end of the archive.
    pub fn finish(mut self) -> io::Result<()> {
        self.writer(Packing::Compressed)?
            .write_all(&[0; 2 * BLOCK])?;
        match self.output.take() {
            Some(Output::Members(member)) => member.finish().map(|_output| ()),
            Some(Output::Plain(_)) => Ok(()),
            None => Err(failed_before()),
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
        let mut remaining = size_bytes;
        while remaining > 0 {
            let read = match content.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if read == 0 {
                let short = format!("{path} shrank while it was read");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, short));
            }
            self.writer(packing)?.write_all(&buffer[..read])?;
            (self.on_content)(read as u64);
            remaining -= read as u64;
        }
        let padding = (BLOCK - (size_bytes % BLOCK as u64) as usize) % BLOCK;
        self.writer(packing)?.write_all(&[0; BLOCK][..padding])
    }

    /// Returns the output for `packing`. Starts a new member if the open one has another packing.
    fn writer(&mut self, packing: Packing) -> io::Result<&mut Output<'a>> {
        if packing != self.packing {
            let output = match self.output.take().ok_or_else(failed_before)? {
                Output::Members(member) => {
                    let next = GzEncoder::new(member.finish()?, packing.level());
                    Output::Members(Box::new(next))
                }
                plain @ Output::Plain(_) => plain,
            };
            self.output = Some(output);
            self.packing = packing;
        }
        self.output.as_mut().ok_or_else(failed_before)
    }
}

fn failed_before() -> io::Error {
    io::Error::other("an earlier write to the archive failed")
}

fn header(path: &str, kind: EntryType, mode: u32, size_bytes: u64) -> io::Result<Header> {
    let inside = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !inside {
        let why = format!("`{path}` is not a path inside the target folder");
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
