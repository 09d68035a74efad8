//! Reads the numbered entries of the log into a [`History`], and reports the first missing or
//! altered one.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::StoreError;
use super::backend::{Backend, BackendError};
use super::event::{ENTRIES, entry_name, entry_seq};
use super::history::{History, ReadEntry};
use super::parallel::in_order;
use crate::sign::Trust;

/// How many entries one thread reads at a time.
pub(super) const AT_A_TIME: u64 = 128;

/// The range in which entries beyond the head are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogView {
    /// The whole log: all names are listed.
    Everywhere,
    /// The folder of the next entry and the one after it: two requests, for any length of the log.
    Nearby,
}

/// Appends the entries after the head of `history`.
pub(super) async fn advance<B: Backend>(
    history: &mut History,
    backend: &Arc<B>,
) -> Result<(), StoreError> {
    // Usually there are few new entries, which are not worth a thread.
    let first = read(&**backend, history.head() + 1, history.trust()).await?;
    if admit_all(history, first)?.is_break() {
        return Ok(());
    }
    let trust = Arc::new(history.trust().clone());
    let starts = (history.head() + 1..).step_by(AT_A_TIME as usize);
    let pieces = starts.map(|from| {
        let (backend, trust) = (backend.clone(), trust.clone());
        async move { read(&*backend, from, &trust).await }
    });
    in_order(pieces, |entries| admit_all(history, entries?)).await
}

/// Reads the entries from `from` on, at most [`AT_A_TIME`].
pub(super) async fn read(
    backend: &impl Backend,
    from: u64,
    trust: &Trust,
) -> Result<Vec<ReadEntry>, BackendError> {
    let mut entries = Vec::new();
    for seq in from..from + AT_A_TIME {
        let Some(bytes) = backend.get(&entry_name(seq)).await? else {
            break;
        };
        entries.push(bytes);
    }
    Ok(ReadEntry::all(&entries, trust))
}

/// Appends entries to `history`. Breaks if they were the last ones.
fn admit_all(
    history: &mut History,
    entries: Vec<ReadEntry>,
) -> Result<ControlFlow<()>, StoreError> {
    let is_full = entries.len() as u64 == AT_A_TIME;
    for entry in entries {
        history.admit(entry)?;
    }
    Ok(if is_full {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    })
}

/// Fails if an entry exists beyond the head, since then one in between is missing.
pub(super) async fn check_end<B: Backend>(
    history: &mut History,
    backend: &Arc<B>,
    view: LogView,
) -> Result<(), StoreError> {
    let Some(last) = beyond(history.head(), &**backend, view).await? else {
        return Ok(());
    };
    // Another writer may have appended since, so the head is read again first.
    advance(history, backend).await?;
    if last > entry_name(history.head()) || history.head() == 0 {
        let why = format!("missing, although {last} exists");
        return Err(StoreError::integrity(entry_name(history.head() + 1), why));
    }
    Ok(())
}

/// Returns the last name beyond entry `head`, if there is one.
pub(super) async fn beyond(
    head: u64,
    backend: &impl Backend,
    view: LogView,
) -> Result<Option<String>, BackendError> {
    let mut names = match view {
        LogView::Everywhere => backend.list(ENTRIES).await?,
        LogView::Nearby => {
            let mut names = backend.list(&folder(head + 1)).await?;
            names.extend(backend.list(&folder(head + 1001)).await?);
            names
        }
    };
    // Other files have no effect on the log. `verify` reports them.
    names.retain(|name| entry_seq(name).is_some());
    let last = names.pop();
    Ok(last.filter(|last| head == 0 || *last > entry_name(head)))
}

/// Returns the folder of entry `seq`, with its trailing slash. A folder has up to a thousand
/// entries.
fn folder(seq: u64) -> String {
    let name = entry_name(seq);
    name[..name.len() - "000".len()].to_owned()
}
