//! The history of a store, with the help of what this machine remembers of it.
//!
//! In: the log, and a [`Memory`] of it where the caller has given a place for one. Out: the history, the same as if every entry
//! had been read. Entries that are remembered are not read again but for the last: a store that does not have that any more,
//! or has another in its place, went back behind what was seen here, and that is an error.

use std::path::PathBuf;

use serde_json::Value;

use super::backend::Backend;
use super::event::Said;
use super::history::{History, ReadEntry};
use super::log::{self, Look, entry_name};
use super::memory::{Key, Memory, remember};
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
    pub fn remembering(mut self, folder: impl Into<PathBuf>) -> Self {
        self.memory = Some(folder.into());
        self
    }

    /// What the log amounts to.
    pub async fn history(&self) -> Result<History, StoreError> {
        let recalled = self.recall().await?.and_then(Memory::history);
        let (mut history, look) = match recalled {
            Some(history) => (history, Look::Nearby),
            None => (self.empty_history(), Look::Everywhere),
        };
        let remembered = history.head();
        log::advance(&mut history, &self.backend).await?;
        log::check_end(&mut history, &self.backend, look).await?;
        self.check_pinned(&history)?;
        if let Some(folder) = &self.memory
            && is_worth_remembering(remembered, history.head())
        {
            // A full disk is no reason not to answer.
            let _ = remember(folder, self.origin, &history);
        }
        Ok(history)
    }

    /// The history as far as `reference` and the newest entries are about it, and the rest; or, without a rest, all of it.
    pub(super) async fn history_about(
        &self,
        reference: Option<&Reference>,
    ) -> Result<(History, Option<Memory>), StoreError> {
        Ok(match self.recall_about(reference).await? {
            Some((history, memory)) => (history, Some(memory)),
            None => (self.history().await?, None),
        })
    }

    async fn recall_about(
        &self,
        reference: Option<&Reference>,
    ) -> Result<Option<(History, Memory)>, StoreError> {
        let Some(mut memory) = self.recall().await? else {
            return Ok(None);
        };
        let (head, trust) = (memory.frame().head, memory.frame().trust());
        let tail = log::read(&*self.backend, head + 1, trust).await?;
        if is_worth_remembering(head, head + tail.len() as u64) {
            return Ok(None);
        }
        let (mut keys, hex) = wanted(reference, &memory);
        tail.iter().for_each(|entry| mentioned(entry, &mut keys));
        let Some(mut history) = memory.about(&keys, hex) else {
            return Ok(None);
        };
        for entry in tail {
            history.take(entry)?;
        }
        // Either somebody has written since, or an entry is missing: the whole history will tell.
        let beyond = log::beyond(history.head(), &*self.backend, Look::Nearby).await?;
        if beyond.is_some() {
            return Ok(None);
        }
        self.check_pinned(&history)?;
        Ok(Some((history, memory)))
    }

    /// What is remembered of this store, if the store still has it.
    async fn recall(&self) -> Result<Option<Memory>, StoreError> {
        let Some(folder) = &self.memory else {
            return Ok(None);
        };
        let Some(memory) = Memory::open(folder, self.origin) else {
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

fn is_worth_remembering(remembered: u64, head: u64) -> bool {
    let news = head - remembered;
    news > 0 && (news >= MANY || news * PART > remembered)
}

/// What a reference is about: keys, and what a digest begins with.
fn wanted<'a>(reference: Option<&'a Reference>, memory: &Memory) -> (Vec<Key>, Option<&'a str>) {
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
        Said::Put(put) => {
            keys.push(Key::name(&put.image, put.version));
            keys.push(Key::manifest(&put.manifest));
            return;
        }
        Said::Any(body) => body,
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
