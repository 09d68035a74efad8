//! What a script prints: split into lines, scrubbed, told as events, hashed, and its last lines kept.
//!
//! Control lines, by which a script tells its process group and its exit status, are swallowed.

use std::collections::VecDeque;
use std::io::{self, Write as _};

use crate::digest::{Digest, Hashing};
use crate::event::{Event, Events};
use crate::secret::Scrubber;

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status.
    pub exit: i32,
    /// Its output, scrubbed, at most the last [`super::LAST_LINES`] lines.
    pub last: Vec<String>,
    /// Of the whole output (scrubbed lines, each with its newline).
    pub log_digest: Digest,
}

/// A line is shown up to this length, in bytes.
const LINE_BYTES: usize = 16 * 1024;

/// A line is read up to this length, in bytes; it is longer than what is shown, so that a secret across the cut is still
/// scrubbed as a whole.
const READ_BYTES: usize = 4 * LINE_BYTES;

const GROUP: &str = "@vault-bake pgid=";
const EXIT: &str = "@vault-bake exit=";

/// What makes a script tell its process group, before anything else, and at last its exit status.
pub(super) fn with_events() -> String {
    format!("trap 'echo \"{EXIT}$?\"' EXIT\necho \"{GROUP}$$\"\n")
}

/// Takes what a script prints.
pub(super) struct Output {
    scrubber: Scrubber,
    told: Option<(String, Events)>,
    line: Vec<u8>,
    log: Hashing<io::Sink>,
    last: VecDeque<String>,
    kept: Option<String>,
    /// The script's process group, once it was told.
    pub(super) group: Option<i32>,
    /// The script's exit status, once it was told.
    pub(super) exit: Option<i32>,
}

impl Output {
    /// Tells each line to `events`, as printed by `source`.
    pub(super) fn next_line(source: &str, events: &Events, scrubber: Scrubber) -> Self {
        Self {
            told: Some((source.to_owned(), events.clone())),
            ..Self::kept_last(scrubber)
        }
    }

    /// Keeps the whole text.
    pub(super) fn kept(scrubber: Scrubber) -> Self {
        Self {
            kept: Some(String::new()),
            ..Self::kept_last(scrubber)
        }
    }

    /// Keeps the last lines only.
    pub(super) fn kept_last(scrubber: Scrubber) -> Self {
        Self {
            scrubber,
            told: None,
            line: Vec::new(),
            log: Hashing::new(io::sink()),
            last: VecDeque::new(),
            kept: None,
            group: None,
            exit: None,
        }
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.append(bytes);
    }

    /// Ends a last line without newline, and returns the last lines.
    pub(super) fn last(&mut self) -> Vec<String> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.last.iter().cloned().collect()
    }

    /// Ends the output.
    pub(super) fn ended(mut self, exit: i32) -> Ended {
        let last = self.last();
        Ended {
            exit,
            last,
            log_digest: self.log.finish().0,
        }
    }

    /// How much text was kept so far, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, String::len)
    }

    /// The text that was kept.
    pub(super) fn into_text(mut self) -> String {
        self.last();
        self.kept.unwrap_or_default()
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = READ_BYTES - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        // What a script printed last may lack its newline, and then stands before the control line.
        let printed = match line.rfind("@vault-bake ") {
            Some(start) if self.control(&line[start..]) => &line[..start],
            _ => return self.emit_line(line),
        };
        if !printed.is_empty() {
            self.emit_line(printed);
        }
    }

    /// Whether `text` is a control line that is still expected.
    fn control(&mut self, text: &str) -> bool {
        let number = |prefix| text.strip_prefix(prefix)?.parse::<i32>().ok();
        if let (None, Some(group)) = (self.group, number(GROUP)) {
            self.group = Some(group);
            return true;
        }
        match number(EXIT) {
            Some(exit) if self.group.is_some() => {
                self.exit = Some(exit);
                true
            }
            _ => false,
        }
    }

    fn emit_line(&mut self, line: &str) {
        let line = cut(&self.scrubber.scrub(line));
        // Writing to a sink cannot fail.
        let _ = writeln!(self.log, "{line}");
        if let Some(kept) = &mut self.kept {
            kept.push_str(&line);
            kept.push('\n');
        }
        if self.last.len() == super::LAST_LINES {
            self.last.pop_front();
        }
        if let Some((source, events)) = &self.told {
            events.emit(&Event::Output {
                source: source.clone(),
                line: line.clone(),
            });
        }
        self.last.push_back(line);
    }
}

/// `line`, or its beginning and a word that it was cut.
fn cut(line: &str) -> String {
    if line.len() <= LINE_BYTES {
        return line.to_owned();
    }
    let end = (0..=LINE_BYTES)
        .rev()
        .find(|end| line.is_char_boundary(*end))
        .unwrap_or_default();
    format!("{} [cut]", &line[..end])
}
