//! The keys that the canary wrote: which can be read, which are unchecked, which to delete.
//! A key is read while it is among the last confirmed ones, then read back, then deleted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::recorder::Kind;

/// A key that was written.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub(super) number: u64,
    pub(super) writer: Kind,
}

struct Entry {
    key: Key,
    is_checked: bool,
    /// The time after which no read that began earlier is still waiting.
    free_at: Option<Instant>,
}

/// All keys that exist in Vault.
#[derive(Default)]
pub(super) struct Keys {
    next: u64,
    /// The last confirmed keys, which clients read.
    readable: VecDeque<Entry>,
    /// Keys that are deleted next.
    retired: VecDeque<Entry>,
}

impl Keys {
    /// Returns the number of a key for a new write.
    pub(super) fn new_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether so many keys wait for their deletion that clients read only.
    pub(super) fn is_full(&self) -> bool {
        self.retired.len() >= MOST_RETIRED
    }

    /// Returns a readable key, chosen by a random number.
    pub(super) fn choose(&self, random: usize) -> Option<u64> {
        let index = random.checked_rem(self.readable.len())?;
        self.readable.get(index).map(|entry| entry.key.number)
    }

    /// Adds a key whose write was confirmed. The oldest leaves after `longest_read`.
    pub(super) fn confirm(&mut self, key: Key, now: Instant, longest_read: Duration) {
        self.readable.push_back(Entry {
            key,
            is_checked: false,
            free_at: None,
        });
        if self.readable.len() > READABLE
            && let Some(oldest) = self.readable.pop_front()
        {
            let free_at = Some(now + longest_read);
            self.retired.push_back(Entry { free_at, ..oldest });
        }
    }

    /// Adds a key whose write was not confirmed. It may exist, now or later.
    pub(super) fn abandon(&mut self, key: Key, now: Instant, longest_read: Duration) {
        self.retired.push_back(Entry {
            key,
            is_checked: true,
            free_at: Some(now + longest_read),
        });
    }

    /// Returns the keys to read back: all that are unchecked, and of those that clients read at
    /// least `sample`, because an earlier write may be lost later.
    pub(super) fn to_check(&self, sample: usize) -> Vec<Key> {
        let every = (self.readable.len() / sample).max(1);
        let readable = self.readable.iter().enumerate();
        let readable = readable
            .filter(|(at, entry)| !entry.is_checked || at.is_multiple_of(every))
            .map(|(_, entry)| entry);
        let unchecked = self.retired.iter().filter(|entry| !entry.is_checked);
        unchecked.chain(readable).map(|entry| entry.key).collect()
    }

    /// Returns the number of confirmed keys that were not read back.
    pub(super) fn unchecked(&self) -> usize {
        let all = self.retired.iter().chain(&self.readable);
        all.filter(|entry| !entry.is_checked).count()
    }

    /// Notes the result of reading a key back. Returns whether it is news.
    ///
    /// A lost key is read no more.
    pub(super) fn set_checked(&mut self, number: u64, is_there: bool) -> bool {
        let is_it = |entry: &Entry| entry.key.number == number;
        let Some(index) = self.readable.iter().position(is_it) else {
            let found = self.retired.iter_mut().find(|entry| is_it(entry));
            return found.is_some_and(|entry| !std::mem::replace(&mut entry.is_checked, true));
        };
        let entry = &mut self.readable[index];
        let is_first = !std::mem::replace(&mut entry.is_checked, true);
        if !is_there && let Some(entry) = self.readable.remove(index) {
            self.retired.push_back(entry);
        }
        is_first || !is_there
    }

    /// Returns the next key to delete, and whether it has to be read back before.
    pub(super) fn next_to_delete(&self, now: Instant) -> Option<(Key, bool)> {
        let entry = self.retired.front()?;
        let is_free = entry.free_at.is_none_or(|free_at| free_at <= now);
        is_free.then_some((entry.key, !entry.is_checked))
    }

    pub(super) fn deleted(&mut self, number: u64) {
        self.retired.retain(|entry| entry.key.number != number);
    }

    /// Returns the confirmed keys that clients read, and ends reading.
    pub(super) fn close(&mut self) {
        let readable = self.readable.drain(..);
        self.retired.extend(readable);
        for entry in &mut self.retired {
            entry.free_at = None;
        }
    }

    /// Returns all keys that may exist.
    pub(super) fn all(&self) -> Vec<Key> {
        let all = self.retired.iter().chain(&self.readable);
        all.map(|entry| entry.key).collect()
    }
}

/// The number of keys that clients read: the writes of 16 s.
const READABLE: usize = 128;

/// The most keys that wait for their deletion.
const MOST_RETIRED: usize = 4096;
