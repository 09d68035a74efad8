//! The log: numbered envelopes, each chained to the one before.
//!
//! In: a backend. Out: a [`History`] of all entries, or the name of the one that is missing or altered.

use super::StoreError;
use super::backend::Backend;
use super::history::History;

/// Where the entries are.
pub(super) const ENTRIES: &str = "log/entries/";

/// Reads the entries that have come since.
pub(super) async fn advance(
    history: &mut History,
    backend: &impl Backend,
) -> Result<(), StoreError> {
    while let Some(bytes) = backend.get(&entry_name(history.head() + 1)).await? {
        history.take(&bytes)?;
    }
    Ok(())
}

/// An error where there is an entry beyond the head: then one in between is missing.
pub(super) async fn check_end(
    history: &mut History,
    backend: &impl Backend,
) -> Result<(), StoreError> {
    let names = backend.list(ENTRIES).await?;
    let Some(last) = names.last() else {
        return Ok(());
    };
    // Others may have written since, so the head is looked for again before anything is called missing.
    advance(history, backend).await?;
    if *last > entry_name(history.head()) || history.head() == 0 {
        let why = format!("missing, although there is {last}");
        return Err(StoreError::integrity(entry_name(history.head() + 1), why));
    }
    Ok(())
}

/// The name of entry `seq`: nine digits in three folders, so that names sort as numbers.
pub(super) fn entry_name(seq: u64) -> String {
    let (millions, thousands, ones) = (seq / 1_000_000, seq / 1000 % 1000, seq % 1000);
    format!("{ENTRIES}{millions:03}/{thousands:03}/{ones:03}")
}
