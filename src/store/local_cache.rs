//! A cache of the checked history of a store, on this machine and for this user.
//! It returns the whole history, or the part that a query needs. Any defect makes it an absent
//! cache, not an error.
//! One file, `<origin>/history`: manifests in the order of recording, a sorted index of 32-byte
//! keys, the [`Frame`].

mod blocks;
mod row;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::history::{Frame, History, RecordedManifest};
use crate::digest::{Digest, canonical_json};
use crate::manifest::ImageVersion;
use blocks::{Blocks, Writer};
use row::Row;

/// The file with the history.
const FILE: &str = "history";

/// The prefix of temporary files.
const TEMPORARY: &str = "new-";

/// The size of an index record: a key and an offset.
const INDEX_ENTRY_BYTES: u64 = 40;

/// The offset of keys without a manifest.
const NO_ROW: u64 = u64::MAX;

/// An open cache. Its parts are read on demand.
pub(super) struct LocalCache {
    blocks: Blocks,
    frame: Frame,
    /// The offset at which the rows end and the index begins, in bytes.
    rows_end: u64,
    /// The number of keys in the index.
    keys: u64,
}

/// The frame, with the version and the store that it belongs to.
#[derive(Serialize, Deserialize)]
struct CachedFrame {
    /// The version of vault-bake: another one may apply other rules.
    tool: String,
    /// The digest of `store.json`.
    origin: Digest,
    frame: Frame,
}

/// A key of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Returns the key of a manifest.
    pub fn manifest(digest: &Digest) -> Self {
        Self(*digest.bytes())
    }

    /// Returns the key of a name.
    pub fn name(image: &str, version: ImageVersion) -> Self {
        Self(*Digest::hash_bytes(format!("{image}@{version}")).bytes())
    }

    /// Returns the key of the newest manifest of an image.
    pub fn newest(image: &str) -> Self {
        Self(*Digest::hash_bytes(image).bytes())
    }

    /// Returns the key of an event.
    pub fn event(id: Uuid) -> Self {
        let mut key = *b"                event by uuid   ";
        key[..16].copy_from_slice(id.as_bytes());
        Self(key)
    }

    fn id(&self) -> Option<Uuid> {
        let id = Uuid::from_slice(&self.0[..16]).ok()?;
        (Self::event(id) == *self).then_some(id)
    }
}

impl LocalCache {
    /// Opens the cache in `folder` for the store with this origin.
    pub fn open(folder: &Path, origin: Digest) -> Option<Self> {
        let file = File::open(folder.join(origin.hex()).join(FILE)).ok()?;
        let data = file.metadata().ok()?;
        if data.mode() & 0o077 != 0 || data.uid() != rustix::process::geteuid().as_raw() {
            return None;
        }
        let mut blocks = Blocks::open(file)?;
        let mut lengths = [0; 24];
        let footer = blocks.len().checked_sub(lengths.len() as u64)?;
        blocks.read(footer, &mut lengths)?;
        let length = |at: usize| Some(u64::from_le_bytes(lengths[at..at + 8].try_into().ok()?));
        let (rows_end, keys, frame) = (length(0)?, length(8)?, length(16)?);
        let mut bytes = vec![0; usize::try_from(frame).ok()?];
        blocks.read(footer.checked_sub(frame)?, &mut bytes)?;
        let kept: CachedFrame = serde_json::from_slice(&bytes).ok()?;
        if kept.origin != origin || kept.tool != env!("CARGO_PKG_VERSION") {
            return None;
        }
        Some(Self {
            blocks,
            frame: kept.frame,
            rows_end,
            keys,
        })
    }

    /// Returns the frame.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Reads the whole history.
    pub fn history(mut self) -> Option<History> {
        let mut ids = Vec::new();
        for at in 0..self.keys {
            ids.extend(self.index_entry(at)?.0.id());
        }
        let mut recorded = Vec::new();
        self.for_each(|one| recorded.push(one))?;
        Some(History::from_frame(self.frame, recorded, ids))
    }

    /// Reads the manifests and events with these keys, and those whose digests begin with `hex`.
    pub fn about(&mut self, keys: &[Key], hex: Option<&str>) -> Option<History> {
        let (mut offsets, mut ids) = (Vec::new(), Vec::new());
        for key in keys {
            let at = self.lower_bound(key)?;
            if at < self.keys
                && let (found, offset) = self.index_entry(at)?
                && found == *key
            {
                offsets.push(offset);
                ids.extend(found.id());
            }
        }
        if let Some(hex) = hex {
            let first: Digest = format!("sha256:{hex:0<64}").parse().ok()?;
            for at in self.lower_bound(&Key::manifest(&first))?..self.keys {
                let (found, offset) = self.index_entry(at)?;
                if !Digest::from(found.0).hex().starts_with(hex) {
                    break;
                }
                offsets.push(offset);
            }
        }
        offsets.retain(|offset| *offset != NO_ROW);
        // Sorting by offset restores the order of recording.
        offsets.sort_unstable();
        offsets.dedup();
        let rows = offsets.iter().map(|offset| Some(self.row(*offset)?.0));
        let recorded = rows.collect::<Option<Vec<_>>>()?;
        Some(History::from_frame(self.frame.clone(), recorded, ids))
    }

    /// Calls `handle` with every manifest, in the order of recording.
    pub fn for_each(&mut self, mut handle: impl FnMut(RecordedManifest)) -> Option<()> {
        let mut offset = 0;
        while offset < self.rows_end {
            let (recorded, next) = self.row(offset)?;
            handle(recorded);
            offset = next;
        }
        Some(())
    }

    /// Reads the row at `offset`, and returns it with the offset of the next one.
    fn row(&mut self, offset: u64) -> Option<(RecordedManifest, u64)> {
        let mut size = [0; 4];
        self.blocks.read(offset, &mut size)?;
        let size = u32::from_le_bytes(size);
        let mut bytes = vec![0; size as usize];
        self.blocks.read(offset + 4, &mut bytes)?;
        let row: Row<'_> = postcard::from_bytes(&bytes).ok()?;
        Some((row.recorded()?, offset + 4 + u64::from(size)))
    }

    fn index_entry(&mut self, at: u64) -> Option<(Key, u64)> {
        let mut bytes = [0; INDEX_ENTRY_BYTES as usize];
        let offset = self.rows_end + at * INDEX_ENTRY_BYTES;
        self.blocks.read(offset, &mut bytes)?;
        let (key, row) = bytes.split_at(32);
        Some((
            Key(key.try_into().ok()?),
            u64::from_le_bytes(row.try_into().ok()?),
        ))
    }

    /// Returns the index of the first key that is not below `key`.
    fn lower_bound(&mut self, key: &Key) -> Option<u64> {
        let (mut low, mut high) = (0, self.keys);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.index_entry(middle)?.0 < *key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(low)
    }
}

/// Writes `history` to the cache in `folder`, and replaces the file there.
pub(super) fn save(folder: &Path, origin: Digest, history: &History) -> io::Result<()> {
    let folder = folder.join(origin.hex());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        // A killed process left it. If its owner still runs, only that write of the cache fails.
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(&folder)?;
    write_cache(file.as_file(), origin, history)?;
    file.persist(folder.join(FILE))?;
    Ok(())
}

fn write_cache(file: &File, origin: Digest, history: &History) -> io::Result<()> {
    let mut writer = Writer::new(io::BufWriter::new(file));
    let events = history.ids().map(|id| (Key::event(id), NO_ROW));
    let mut index: Vec<(Key, u64)> = events.collect();
    let mut newest = std::collections::HashMap::new();
    let mut offset = 0;
    for recorded in history.recorded() {
        let put = &recorded.put;
        index.push((Key::manifest(&put.manifest), offset));
        index.push((Key::name(&put.image, put.version), offset));
        newest.insert(put.image.as_str(), offset);
        let row = postcard::to_stdvec(&Row::new(recorded)).map_err(io::Error::other)?;
        let size = u32::try_from(row.len()).map_err(io::Error::other)?;
        writer.write_all(&size.to_le_bytes())?;
        writer.write_all(&row)?;
        offset += 4 + u64::from(size);
    }
    index.extend(
        newest
            .iter()
            .map(|(image, offset)| (Key::newest(image), *offset)),
    );
    index.sort_unstable();
    for (key, offset) in &index {
        writer.write_all(&key.0)?;
        writer.write_all(&offset.to_le_bytes())?;
    }
    let cached = CachedFrame {
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        origin,
        frame: history.frame(),
    };
    let frame = canonical_json(&cached);
    writer.write_all(&frame)?;
    for length in [offset, index.len() as u64, frame.len() as u64] {
        writer.write_all(&length.to_le_bytes())?;
    }
    writer.finish()?.flush()
}
