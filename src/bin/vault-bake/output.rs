//! Writes to the terminal: the one place of the binary that does. All text goes through [`visible`], so nothing that a
//! machine, a file or a server sent is obeyed by a terminal.

use std::io::{IsTerminal, Write, stderr, stdout};

use serde::Serialize;
use vault_bake::terminal::{visible, visible_json};

/// Prints a result for people. Results go to standard output, what happens on the way to standard error.
pub fn print_line(line: &str) {
    // A reader that has gone changes nothing: the exit status still says what happened.
    let _ = writeln!(stdout().lock(), "{}", visible(line.trim_end_matches('\n')));
}

/// Prints the header of a table, to people at a terminal only.
pub fn print_header(line: &str) {
    if stdout().is_terminal() {
        print_line(line.trim_end());
    }
}

/// Prints text that has its line ends already.
pub fn print_text(text: &str) {
    let _ = stdout().lock().write_all(visible(text).as_bytes());
}

/// Prints a result for programs: one JSON object on one line.
pub fn print_json(value: &impl Serialize) {
    let json = serde_json::to_string(value).unwrap_or_default();
    let _ = writeln!(stdout().lock(), "{}", visible_json(&json));
}

/// Prints a stored file whose digest a record names: byte for byte, unless it goes to a terminal.
pub fn print_file(bytes: &[u8]) {
    if stdout().is_terminal() {
        return print_text(&visible_json(&String::from_utf8_lossy(bytes)));
    }
    let _ = stdout().lock().write_all(bytes);
}

/// Tells people something in addition to a result that programs read whole.
pub fn print_warning(warning: &str) {
    eprint_line(&format!("warning: {warning}"));
}

/// Writes a line on standard error.
pub fn eprint_line(line: &str) {
    eprint_text(&format!("{line}\n"));
}

/// Writes text on standard error that has its line ends already.
pub fn eprint_text(text: &str) {
    // Without a standard error the exit status is all that can be said.
    let _ = stderr().lock().write_all(visible(text).as_bytes());
}
