//! Splits the output of a script into lines, and scrubs, emits and hashes them.
//! Control lines carry the script's process group and exit status; they are not output.

use std::collections::VecDeque;
use std::io::{self, Write as _};

use crate::digest::{Digest, HashingWriter};
use crate::event::{Event, Events};
use crate::secret::Scrubber;

/// The end of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit status.
    pub exit: i32,
    /// The last lines of its output, scrubbed, at most [`super::LAST_LINES`].
    pub last: Vec<String>,
    /// The digest of the whole output: scrubbed lines, each with its newline.
    pub log_digest: Digest,
}

/// The longest line in events and errors, in bytes.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// The longest line that is read, in bytes.
/// It exceeds [`MAX_LINE_BYTES`], so that a secret at the cut is scrubbed as a whole.
const MAX_READ_BYTES: usize = 4 * MAX_LINE_BYTES;

const GROUP: &str = "@vault-bake pgid=";
const EXIT: &str = "@vault-bake exit=";

/// Returns the start of a script that prints the control lines.
/// The process group is the first line, and the exit status the last.
pub(super) fn control_prologue() -> String {
    format!("trap 'echo \"{EXIT}$?\"' EXIT\necho \"{GROUP}$$\"\n")
}

/// A reader of one output stream of a script.
pub(super) struct Output {
    scrubber: Scrubber,
    events: Option<(String, Events)>,
    line: Vec<u8>,
    log: HashingWriter<io::Sink>,
    last: VecDeque<String>,
    text: Option<String>,
    /// The script's process group, from its control line.
    pub(super) group: Option<i32>,
    /// The script's exit status, from its control line.
    pub(super) exit: Option<i32>,
}

impl Output {
    /// Emits each line to `events`, with `source`.
    pub(super) fn streaming(source: &str, events: &Events, scrubber: Scrubber) -> Self {
        Self {
            events: Some((source.to_owned(), events.clone())),
            ..Self::last_lines(scrubber)
        }
    }

    /// Keeps the whole text.
    pub(super) fn capturing(scrubber: Scrubber) -> Self {
        Self {
            text: Some(String::new()),
            ..Self::last_lines(scrubber)
        }
    }

    /// Keeps only the last lines.
    pub(super) fn last_lines(scrubber: Scrubber) -> Self {
        Self {
            scrubber,
            events: None,
            line: Vec::new(),
            log: HashingWriter::new(io::sink()),
            last: VecDeque::new(),
            text: None,
            group: None,
            exit: None,
        }
    }

    /// Adds the next bytes of the output.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend_line(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.extend_line(bytes);
    }

    /// Ends a line without newline, and returns the last lines.
    pub(super) fn last(&mut self) -> Vec<String> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.last.iter().cloned().collect()
    }

    /// Ends the output and returns its last lines and digest.
    pub(super) fn into_ended(mut self, exit: i32) -> Ended {
        let last = self.last();
        Ended {
            exit,
            last,
            log_digest: self.log.finish().0,
        }
    }

    /// Returns the size of the captured text in bytes.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.as_ref().map_or(0, String::len)
    }

    /// Returns the captured text.
    pub(super) fn into_text(mut self) -> String {
        self.last();
        self.text.unwrap_or_default()
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        let room = MAX_READ_BYTES - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        // The script's last output may lack a newline, and then precedes the control line.
        let printed = match line.rfind("@vault-bake ") {
            Some(start) if self.parse_control_line(&line[start..]) => &line[..start],
            _ => return self.emit_line(line),
        };
        if !printed.is_empty() {
            self.emit_line(printed);
        }
    }

    /// Parses `text` if it is an expected control line. Returns whether it is.
    fn parse_control_line(&mut self, text: &str) -> bool {
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
        let line = truncate(&self.scrubber.scrub(line));
        // Writing to a sink cannot fail.
        let _ = writeln!(self.log, "{line}");
        if let Some(text) = &mut self.text {
            text.push_str(&line);
            text.push('\n');
        }
        if self.last.len() == super::LAST_LINES {
            self.last.pop_front();
        }
        if let Some((source, events)) = &self.events {
            events.emit(&Event::Output {
                source: source.clone(),
                line: line.clone(),
            });
        }
        self.last.push_back(line);
    }
}

/// Returns `line`, or its start and `[cut]` if it is too long.
fn truncate(line: &str) -> String {
    if line.len() <= MAX_LINE_BYTES {
        return line.to_owned();
    }
    let end = (0..=MAX_LINE_BYTES)
        .rev()
        .find(|end| line.is_char_boundary(*end))
        .unwrap_or_default();
    format!("{} [cut]", &line[..end])
}
