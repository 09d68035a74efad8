//! The log: numbered envelopes, each chained to the one before.
//!
//! In: a backend. Out: a [`History`] of all entries, or the name of the one that is missing or altered.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::StoreError;
use super::backend::{Backend, BackendError};
use super::history::{History, ReadEntry};
use super::parallel::in_order;
use crate::sign::Trust;

/// Where the entries are.
pub(super) const ENTRIES: &str = "log/entries/";

/// How many entries one thread reads at a time.
pub(super) const AT_A_TIME: u64 = 128;

/// Where entries beyond the head are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogView {
    /// Everywhere: every name is listed.
    Everywhere,
    /// In the folder of the entry that would come next, and in the one after that: two requests, however long the log is.
    Nearby,
}

/// Reads the entries that have come since.
pub(super) async fn advance<B: Backend>(
    history: &mut History,
    backend: &Arc<B>,
) -> Result<(), StoreError> {
    // Mostly there are none or few, which are not worth a thread.
    let first = read(&**backend, history.head() + 1, history.trust()).await?;
    if take(history, first)?.is_break() {
        return Ok(());
    }
    let trust = Arc::new(history.trust().clone());
    let starts = (history.head() + 1..).step_by(AT_A_TIME as usize);
    let pieces = starts.map(|from| {
        let (backend, trust) = (backend.clone(), trust.clone());
        async move { read(&*backend, from, &trust).await }
    });
    in_order(pieces, |entries| take(history, entries?)).await
}

/// The entries from `from` on that are there, at most [`AT_A_TIME`].
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

/// Takes entries that were read; breaks where that were the last ones.
fn take(history: &mut History, entries: Vec<ReadEntry>) -> Result<ControlFlow<()>, StoreError> {
    let whole = entries.len() as u64 == AT_A_TIME;
    for entry in entries {
        history.admit(entry)?;
    }
    Ok(if whole {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    })
}

/// An error where there is an entry beyond the head: then one in between is missing.
pub(super) async fn check_end<B: Backend>(
    history: &mut History,
    backend: &Arc<B>,
    look: LogView,
) -> Result<(), StoreError> {
    let Some(last) = beyond(history.head(), &**backend, look).await? else {
        return Ok(());
    };
    // Others may have written since, so the head is looked for again before anything is called missing.
    advance(history, backend).await?;
    if last > entry_name(history.head()) || history.head() == 0 {
        let why = format!("missing, although there is {last}");
        return Err(StoreError::integrity(entry_name(history.head() + 1), why));
    }
    Ok(())
}

/// The last name beyond the entry `head`, where there is one.
pub(super) async fn beyond(
    head: u64,
    backend: &impl Backend,
    look: LogView,
) -> Result<Option<String>, BackendError> {
    let mut names = match look {
        LogView::Everywhere => backend.list(ENTRIES).await?,
        LogView::Nearby => {
            let mut names = backend.list(&folder(head + 1)).await?;
            names.extend(backend.list(&folder(head + 1001)).await?);
            names
        }
    };
    // Other files have no effect on what the log says; a check of the whole store reports them.
    names.retain(|name| entry_seq(name).is_some());
    let last = names.pop();
    Ok(last.filter(|last| head == 0 || *last > entry_name(head)))
}

/// The name of entry `seq`: nine digits in three folders, so that names sort as numbers.
pub(super) fn entry_name(seq: u64) -> String {
    let (millions, thousands, ones) = (seq / 1_000_000, seq / 1000 % 1000, seq % 1000);
    format!("{ENTRIES}{millions:03}/{thousands:03}/{ones:03}")
}

/// The folder of entry `seq`, which has a thousand of them.
fn folder(seq: u64) -> String {
    let name = entry_name(seq);
    name[..name.len() - "000".len()].to_owned()
}

/// The number of the entry with this name.
pub(super) fn entry_seq(name: &str) -> Option<u64> {
    let seq = name.strip_prefix(ENTRIES)?.replace('/', "").parse().ok()?;
    (entry_name(seq) == name).then_some(seq)
}
