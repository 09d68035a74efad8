//! What this machine has itself checked of a store: a copy of the history, beside the store and never in it.
//!
//! In: a [`History`]. Out: the same, or as much of it as a question is about, without reading the log again. Worth nothing
//! to anybody else, and may be deleted at any time. Whatever is wrong with it (cut, altered, another version's, another
//! user's), it is as if it were not there; so nothing in here fails with an error. Deliberately knows no backend: whether the
//! store still says what is remembered is for [`super::recall`] to find out.
//!
//! One file, `<origin>/history`: manifests in the order of recording; an index of keys of 32 bytes each, sorted, with the place
//! of the manifest that each is about; the [`Frame`]. Looking one up takes a few blocks of the file, however long it is.

mod blocks;
mod row;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::history::{Frame, History, Recorded};
use crate::digest::{Digest, canonical_json};
use crate::manifest::ImageVersion;
use blocks::{Blocks, Writer};
use row::Row;

/// The only file.
const FILE: &str = "history";

/// How names of files on their way begin.
const TEMPORARY: &str = "new-";

/// A key of the index and a place.
const RECORD_BYTES: u64 = 40;

/// The place of keys that only have to be there.
const NOWHERE: u64 = u64::MAX;

/// A remembered history, read as far as is needed.
pub(super) struct LocalCache {
    blocks: Blocks,
    frame: Frame,
    /// Where the rows end and the index begins, in bytes.
    rows_end: u64,
    /// How many keys the index has.
    keys: u64,
}

/// The frame, and for whom it is.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Another version may judge the same entries otherwise.
    tool: String,
    /// Of the store.
    origin: Digest,
    frame: Frame,
}

/// A key of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Of a manifest.
    pub fn manifest(digest: &Digest) -> Self {
        Self(*digest.bytes())
    }

    /// Of the manifest with a name.
    pub fn name(image: &str, version: ImageVersion) -> Self {
        Self(*Digest::of(format!("{image}@{version}")).bytes())
    }

    /// Of the manifest of an image that was recorded last.
    pub fn newest(image: &str) -> Self {
        Self(*Digest::of(image).bytes())
    }

    /// Of an event.
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
    /// What is remembered in `folder` of the store with this origin.
    pub fn open(folder: &Path, origin: Digest) -> Option<Self> {
        let file = File::open(folder.join(origin.hex()).join(FILE)).ok()?;
        let data = file.metadata().ok()?;
        if data.mode() & 0o077 != 0 || data.uid() != rustix::process::geteuid().as_raw() {
            return None;
        }
        let mut blocks = Blocks::open(file)?;
        let mut lengths = [0; 24];
        let foot = blocks.len().checked_sub(lengths.len() as u64)?;
        blocks.read(foot, &mut lengths)?;
        let length = |at: usize| Some(u64::from_le_bytes(lengths[at..at + 8].try_into().ok()?));
        let (rows_end, keys, frame) = (length(0)?, length(8)?, length(16)?);
        let mut bytes = vec![0; usize::try_from(frame).ok()?];
        blocks.read(foot.checked_sub(frame)?, &mut bytes)?;
        let kept: Kept = serde_json::from_slice(&bytes).ok()?;
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

    /// Of all but the manifests.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The whole history.
    pub fn history(mut self) -> Option<History> {
        let mut ids = Vec::new();
        for at in 0..self.keys {
            ids.extend(self.record(at)?.0.id());
        }
        let mut recorded = Vec::new();
        self.each(|one| recorded.push(one))?;
        Some(History::of(self.frame, recorded, ids))
    }

    /// A history that knows of manifests and events only those with these keys, and with digests that begin with `hex`.
    pub fn about(&mut self, keys: &[Key], hex: Option<&str>) -> Option<History> {
        let (mut places, mut ids) = (Vec::new(), Vec::new());
        for key in keys {
            let at = self.first_from(key)?;
            if at < self.keys
                && let (found, place) = self.record(at)?
                && found == *key
            {
                places.push(place);
                ids.extend(found.id());
            }
        }
        if let Some(hex) = hex {
            let first: Digest = format!("sha256:{hex:0<64}").parse().ok()?;
            for at in self.first_from(&Key::manifest(&first))?..self.keys {
                let (found, place) = self.record(at)?;
                if !Digest::from(found.0).hex().starts_with(hex) {
                    break;
                }
                places.push(place);
            }
        }
        places.retain(|place| *place != NOWHERE);
        // Rows stand in the order of recording.
        places.sort_unstable();
        places.dedup();
        let rows = places.iter().map(|place| Some(self.row(*place)?.0));
        let recorded = rows.collect::<Option<Vec<_>>>()?;
        Some(History::of(self.frame.clone(), recorded, ids))
    }

    /// Every manifest, in the order of recording.
    pub fn each(&mut self, mut take: impl FnMut(Recorded)) -> Option<()> {
        let mut place = 0;
        while place < self.rows_end {
            let (recorded, next) = self.row(place)?;
            take(recorded);
            place = next;
        }
        Some(())
    }

    /// The row at `place`, and where the next one is.
    fn row(&mut self, place: u64) -> Option<(Recorded, u64)> {
        let mut size = [0; 4];
        self.blocks.read(place, &mut size)?;
        let size = u32::from_le_bytes(size);
        let mut bytes = vec![0; size as usize];
        self.blocks.read(place + 4, &mut bytes)?;
        let row: Row<'_> = postcard::from_bytes(&bytes).ok()?;
        Some((row.recorded()?, place + 4 + u64::from(size)))
    }

    fn record(&mut self, at: u64) -> Option<(Key, u64)> {
        let mut bytes = [0; RECORD_BYTES as usize];
        let place = self.rows_end + at * RECORD_BYTES;
        self.blocks.read(place, &mut bytes)?;
        let (key, place) = bytes.split_at(32);
        Some((
            Key(key.try_into().ok()?),
            u64::from_le_bytes(place.try_into().ok()?),
        ))
    }

    /// Where in the index the first key stands that is not below `key`.
    fn first_from(&mut self, key: &Key) -> Option<u64> {
        let (mut low, mut high) = (0, self.keys);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.record(middle)?.0 < *key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(low)
    }
}

/// Remembers `history` in `folder`, in place of what is there. Whoever fails at that has lost nothing but time.
pub(super) fn save(folder: &Path, origin: Digest, history: &History) -> io::Result<()> {
    let folder = folder.join(origin.hex());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        // Left by a process that was killed. Where it was not, it fails to remember, and nothing else.
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(&folder)?;
    write(file.as_file(), origin, history)?;
    file.persist(folder.join(FILE))?;
    Ok(())
}

fn write(file: &File, origin: Digest, history: &History) -> io::Result<()> {
    let mut writer = Writer::new(io::BufWriter::new(file));
    let events = history.ids().map(|id| (Key::event(id), NOWHERE));
    let mut index: Vec<(Key, u64)> = events.collect();
    let mut newest = std::collections::HashMap::new();
    let mut place = 0;
    for recorded in history.recorded() {
        let put = &recorded.put;
        index.push((Key::manifest(&put.manifest), place));
        index.push((Key::name(&put.image, put.version), place));
        newest.insert(put.image.as_str(), place);
        let row = postcard::to_stdvec(&Row::of(recorded)).map_err(io::Error::other)?;
        let size = u32::try_from(row.len()).map_err(io::Error::other)?;
        writer.write_all(&size.to_le_bytes())?;
        writer.write_all(&row)?;
        place += 4 + u64::from(size);
    }
    index.extend(
        newest
            .iter()
            .map(|(image, place)| (Key::newest(image), *place)),
    );
    index.sort_unstable();
    for (key, place) in &index {
        writer.write_all(&key.0)?;
        writer.write_all(&place.to_le_bytes())?;
    }
    let kept = Kept {
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        origin,
        frame: history.frame(),
    };
    let frame = canonical_json(&kept);
    writer.write_all(&frame)?;
    for length in [place, index.len() as u64, frame.len() as u64] {
        writer.write_all(&length.to_le_bytes())?;
    }
    writer.finish()?.flush()
}
