//! The journal of a run: each entry undoes the creation of one resource.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{JournalError, Undo};

/// Returns the entries of a journal, without released ones.
/// Ignores a last line without newline, because its resource was not created.
pub(super) fn read(path: &Path) -> Result<Vec<Undo>, JournalError> {
    let journal_error = |error| JournalError {
        path: path.to_owned(),
        error,
    };
    let text = fs::read_to_string(path).map_err(journal_error)?;
    let lines = text.split_inclusive('\n');
    let mut undos = Vec::new();
    for line in lines.filter_map(|line| line.strip_suffix('\n')) {
        let line =
            serde_json::from_str(line).map_err(|error| journal_error(io::Error::other(error)))?;
        match line {
            Line::Undo(undo) => undos.push(undo),
            Line::Release { release } => undos.retain(|undo| *undo != release),
        }
    }
    Ok(undos)
}

/// A line of a journal.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Line {
    Undo(Undo),
    Release { release: Undo },
}
