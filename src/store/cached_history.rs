//! Reads the history of a store with the help of the local cache.
//! Cached entries are not read again, except the last one. If the store lacks that entry, the store
//! is older than the cache, and reading fails.

use std::path::PathBuf;

use serde_json::Value;

use super::backend::Backend;
use super::event::entry_name;
use super::event::{Body, ParsedPayload};
use super::history::{History, ReadEntry};
use super::local_cache::{Key, LocalCache, save};
use super::log::{self, LogView};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::manifest::Reference;

/// The number of new entries from which the cache is rewritten.
const MANY: u64 = 16;

/// The cache is also rewritten when the log has grown by this fraction (1/8) of the cached entries.
const PART: u64 = 8;

impl<B: Backend> Store<B> {
    /// Caches checked entries in `folder`, which only this user may access. Later calls then read
    /// only new entries, and detect an older store. [`Self::verify`] does not use the cache.
    #[must_use]
    pub fn with_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache_folder = Some(folder.into());
        self
    }

    /// Returns the whole history.
    pub async fn history(&self) -> Result<History, StoreError> {
        let cached = self.load_cached().await?.and_then(LocalCache::history);
        let (mut history, view) = match cached {
            Some(history) => (history, LogView::Nearby),
            None => (self.empty_history(), LogView::Everywhere),
        };
        let cached_head = history.head();
        log::advance(&mut history, &self.backend).await?;
        log::check_end(&mut history, &self.backend, view).await?;
        self.check_pinned(&history)?;
        if let Some(folder) = &self.cache_folder
            && is_worth_caching(cached_head, history.head())
        {
            // A cache that cannot be written, for example on a full disk, is not an error.
            let _ = save(folder, self.origin, &history);
        }
        Ok(history)
    }

    /// Returns the part of the history that concerns `reference` and the newest entries, with the
    /// cache for the rest. Without a cache, returns the whole history.
    pub(super) async fn history_about(
        &self,
        reference: Option<&Reference>,
    ) -> Result<(History, Option<LocalCache>), StoreError> {
        Ok(match self.load_cached_about(reference).await? {
            Some((history, cache)) => (history, Some(cache)),
            None => (self.history().await?, None),
        })
    }

    async fn load_cached_about(
        &self,
        reference: Option<&Reference>,
    ) -> Result<Option<(History, LocalCache)>, StoreError> {
        let Some(mut cache) = self.load_cached().await? else {
            return Ok(None);
        };
        let (head, trust) = (cache.frame().head, cache.frame().trust());
        let tail = log::read(&*self.backend, head + 1, trust).await?;
        if is_worth_caching(head, head + tail.len() as u64) {
            return Ok(None);
        }
        let (mut keys, hex) = requested(reference, &cache);
        tail.iter().for_each(|entry| add_keys_of(entry, &mut keys));
        let Some(mut history) = cache.about(&keys, hex) else {
            return Ok(None);
        };
        for entry in tail {
            history.admit(entry)?;
        }
        // Another process has written since, or an entry is missing. Reading the whole history
        // shows which.
        let beyond = log::beyond(history.head(), &*self.backend, LogView::Nearby).await?;
        if beyond.is_some() {
            return Ok(None);
        }
        self.check_pinned(&history)?;
        Ok(Some((history, cache)))
    }

    /// Opens the cache of this store, and checks that the store still has the last cached entry.
    async fn load_cached(&self) -> Result<Option<LocalCache>, StoreError> {
        let Some(folder) = &self.cache_folder else {
            return Ok(None);
        };
        let Some(cache) = LocalCache::open(folder, self.origin) else {
            return Ok(None);
        };
        let frame = cache.frame();
        let entry = self.backend.get(&entry_name(frame.head)).await?;
        if entry.is_some_and(|bytes| Digest::hash_bytes(bytes) == frame.last) {
            return Ok(Some(cache));
        }
        Err(StoreError::OlderThanCache {
            place: self.backend.location(),
            seq: frame.head,
            cache: folder.join(self.origin.hex()),
        })
    }
}

fn is_worth_caching(cached: u64, head: u64) -> bool {
    let new = head - cached;
    new > 0 && (new >= MANY || new * PART > cached)
}

/// Returns the keys that a reference needs, and the beginning of the digest if it is one.
fn requested<'a>(
    reference: Option<&'a Reference>,
    cache: &LocalCache,
) -> (Vec<Key>, Option<&'a str>) {
    match reference {
        None => (Vec::new(), None),
        Some(Reference::Version { image, version }) => (vec![Key::name(image, *version)], None),
        Some(Reference::Newest { image }) => (vec![Key::newest(image)], None),
        Some(Reference::Digest { hex }) => (Vec::new(), Some(hex)),
        Some(Reference::Channel { image, channel }) => {
            let held = cache.frame().held_by(image, channel);
            (held.iter().map(Key::manifest).collect(), None)
        }
    }
}

/// Adds the keys of everything that an entry may refer to: its id, its name, all digests in it.
/// Extra keys are harmless.
fn add_keys_of(entry: &ReadEntry, keys: &mut Vec<Key>) {
    let Some(entry) = entry.entry() else {
        return; // `History::admit` reports the reason.
    };
    keys.push(Key::event(entry.id));
    let body = match &entry.body {
        ParsedPayload::Put(put) => {
            keys.push(Key::name(&put.image, put.version));
            keys.push(Key::manifest(&put.manifest));
            return;
        }
        ParsedPayload::Any(body) => body,
    };
    if entry.kind == Body::APPROVED {
        // Its payload is not text that `add_digests` could read.
        let body = Body::read(&entry.kind, ParsedPayload::Any(body.clone()));
        let body = body.map(|body| serde_json::json!(body.effective()));
        return add_digests(&body.unwrap_or_default(), keys);
    }
    if let (Some(image), Some(version)) = (body["image"].as_str(), body["version"].as_str())
        && let Ok(version) = version.parse()
    {
        keys.push(Key::name(image, version));
    }
    add_digests(body, keys);
}

fn add_digests(value: &Value, keys: &mut Vec<Key>) {
    match value {
        Value::String(text) => keys.extend(text.parse().ok().as_ref().map(Key::manifest)),
        Value::Array(items) => items.iter().for_each(|item| add_digests(item, keys)),
        Value::Object(fields) => fields.values().for_each(|value| add_digests(value, keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
