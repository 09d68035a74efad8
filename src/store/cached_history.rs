//! The history of a store, with the help of what this machine remembers of it.
//!
//! In: the log, and a [`Memory`] of it where the caller has given a place for one. Out: the history, the same as if every entry
//! had been read. Entries that are remembered are not read again but for the last: a store that does not have that any more,
//! or has another in its place, went back behind what was seen here, and that is an error.

use std::path::PathBuf;

use serde_json::Value;

use super::backend::Backend;
use super::event::ParsedPayload;
use super::history::{History, ReadEntry};
use super::local_cache::{Key, LocalCache, save};
use super::log::{self, LogView, entry_name};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::manifest::Reference;

/// With so many new entries it is time to remember them as well.
const MANY: u64 = 16;

/// And it is when the log has grown by this part of what is remembered, so that a short one is remembered almost whole.
const PART: u64 = 8;

impl<B: Backend> Store<B> {
    /// Remembers in `folder`, which should be this user's alone, what was checked, and believes it the next time. Then most calls
    /// read only what has been appended since, and notice a store that went back. [`Self::verify`] believes nothing but the store.
    #[must_use]
    pub fn with_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.memory = Some(folder.into());
        self
    }

    /// What the log amounts to.
    pub async fn history(&self) -> Result<History, StoreError> {
        let recalled = self.load_cached().await?.and_then(LocalCache::history);
        let (mut history, look) = match recalled {
            Some(history) => (history, LogView::Nearby),
            None => (self.empty_history(), LogView::Everywhere),
        };
        let remembered = history.head();
        log::advance(&mut history, &self.backend).await?;
        log::check_end(&mut history, &self.backend, look).await?;
        self.check_pinned(&history)?;
        if let Some(folder) = &self.memory
            && is_worth_caching(remembered, history.head())
        {
            // A full disk is no reason not to answer.
            let _ = save(folder, self.origin, &history);
        }
        Ok(history)
    }

    /// The history as far as `reference` and the newest entries are about it, and the rest; or, without a rest, all of it.
    pub(super) async fn history_about(
        &self,
        reference: Option<&Reference>,
    ) -> Result<(History, Option<LocalCache>), StoreError> {
        Ok(match self.load_cached_about(reference).await? {
            Some((history, memory)) => (history, Some(memory)),
            None => (self.history().await?, None),
        })
    }

    async fn load_cached_about(
        &self,
        reference: Option<&Reference>,
    ) -> Result<Option<(History, LocalCache)>, StoreError> {
        let Some(mut memory) = self.load_cached().await? else {
            return Ok(None);
        };
        let (head, trust) = (memory.frame().head, memory.frame().trust());
        let tail = log::read(&*self.backend, head + 1, trust).await?;
        if is_worth_caching(head, head + tail.len() as u64) {
            return Ok(None);
        }
        let (mut keys, hex) = requested(reference, &memory);
        tail.iter().for_each(|entry| mentioned(entry, &mut keys));
        let Some(mut history) = memory.about(&keys, hex) else {
            return Ok(None);
        };
        for entry in tail {
            history.admit(entry)?;
        }
        // Either somebody has written since, or an entry is missing: the whole history will tell.
        let beyond = log::beyond(history.head(), &*self.backend, LogView::Nearby).await?;
        if beyond.is_some() {
            return Ok(None);
        }
        self.check_pinned(&history)?;
        Ok(Some((history, memory)))
    }

    /// What is remembered of this store, if the store still has it.
    async fn load_cached(&self) -> Result<Option<LocalCache>, StoreError> {
        let Some(folder) = &self.memory else {
            return Ok(None);
        };
        let Some(memory) = LocalCache::open(folder, self.origin) else {
            return Ok(None);
        };
        let frame = memory.frame();
        let entry = self.backend.get(&entry_name(frame.head)).await?;
        if entry.is_some_and(|bytes| Digest::of(bytes) == frame.last) {
            return Ok(Some(memory));
        }
        Err(StoreError::WentBack {
            place: self.backend.place(),
            seq: frame.head,
            memory: folder.join(self.origin.hex()),
        })
    }
}

fn is_worth_caching(remembered: u64, head: u64) -> bool {
    let news = head - remembered;
    news > 0 && (news >= MANY || news * PART > remembered)
}

/// What a reference is about: keys, and what a digest begins with.
fn requested<'a>(
    reference: Option<&'a Reference>,
    memory: &LocalCache,
) -> (Vec<Key>, Option<&'a str>) {
    match reference {
        None => (Vec::new(), None),
        Some(Reference::Version { image, version }) => (vec![Key::name(image, *version)], None),
        Some(Reference::Newest { image }) => (vec![Key::newest(image)], None),
        Some(Reference::Digest { hex }) => (Vec::new(), Some(hex)),
        Some(Reference::Channel { image, channel }) => {
            let held = memory.frame().held_by(image, channel);
            (held.iter().map(Key::manifest).collect(), None)
        }
    }
}

/// Whatever an entry may be about: its id, a name, and its manifest or every digest in it. More than the rules ask for does no harm.
fn mentioned(entry: &ReadEntry, keys: &mut Vec<Key>) {
    let Some(entry) = entry.entry() else {
        return; // Taking it will say why.
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
    if let (Some(image), Some(version)) = (body["image"].as_str(), body["version"].as_str())
        && let Ok(version) = version.parse()
    {
        keys.push(Key::name(image, version));
    }
    digests(body, keys);
}

fn digests(value: &Value, keys: &mut Vec<Key>) {
    match value {
        Value::String(text) => keys.extend(text.parse().ok().as_ref().map(Key::manifest)),
        Value::Array(items) => items.iter().for_each(|item| digests(item, keys)),
        Value::Object(fields) => fields.values().for_each(|value| digests(value, keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
