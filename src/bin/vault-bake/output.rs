//! Writes to standard output and standard error; no other file of the program does.
//! All text passes [`visible`], so a terminal never obeys text from VMs, files or servers.

use std::io::{IsTerminal, Write, stderr, stdout};

use serde::Serialize;
use vault_bake::terminal::{visible, visible_json};

/// Prints a line of a result on standard output. Progress goes to standard error.
pub fn print_line(line: &str) {
    // A closed pipe is no failure of the command: the exit code still tells how it ended.
    let _ = writeln!(stdout().lock(), "{}", visible(line.trim_end_matches('\n')));
}

/// Prints the header of a table, only on a terminal.
pub fn print_header(line: &str) {
    if stdout().is_terminal() {
        print_line(line.trim_end());
    }
}

/// Prints a result that already has its line ends.
pub fn print_text(text: &str) {
    let _ = stdout().lock().write_all(visible(text).as_bytes());
}

/// Prints a result in place of everything on the screen, if standard output is a terminal.
pub fn print_screen(text: &str) {
    if stdout().is_terminal() {
        // Erases the screen and moves to its start: ECMA-48, ED and CUP.
        let _ = stdout().lock().write_all(b"\x1b[2J\x1b[H");
    }
    print_text(text);
}

/// Prints a result as one JSON object on one line.
pub fn print_json(value: &impl Serialize) {
    let json = serde_json::to_string(value).unwrap_or_default();
    let _ = writeln!(stdout().lock(), "{}", visible_json(&json));
}

/// Prints a stored file byte for byte, because records name its digest. On a terminal, control
/// characters are escaped.
pub fn print_file(bytes: &[u8]) {
    if stdout().is_terminal() {
        return print_text(&visible_json(&String::from_utf8_lossy(bytes)));
    }
    let _ = stdout().lock().write_all(bytes);
}

/// Prints a warning on standard error, apart from a result for programs.
pub fn print_warning(warning: &str) {
    eprint_line(&format!("warning: {warning}"));
}

/// Prints a line on standard error.
pub fn eprint_line(line: &str) {
    eprint_text(&format!("{line}\n"));
}

/// Prints text that already has its line ends on standard error.
pub fn eprint_text(text: &str) {
    // Without standard error, only the exit code remains.
    let _ = stderr().lock().write_all(visible(text).as_bytes());
}
