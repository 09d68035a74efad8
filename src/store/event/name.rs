//! The names of entries of the log.

/// The folder of the entries.
pub(in crate::store) const ENTRIES: &str = "log/entries/";

/// Returns the name of entry `seq`: nine digits in three folders, so that names sort as numbers.
pub(in crate::store) fn entry_name(seq: u64) -> String {
    let (millions, thousands, ones) = (seq / 1_000_000, seq / 1000 % 1000, seq % 1000);
    format!("{ENTRIES}{millions:03}/{thousands:03}/{ones:03}")
}

/// Returns the number of the entry with this name.
pub(in crate::store) fn entry_seq(name: &str) -> Option<u64> {
    let seq = name.strip_prefix(ENTRIES)?.replace('/', "").parse().ok()?;
    (entry_name(seq) == name).then_some(seq)
}
