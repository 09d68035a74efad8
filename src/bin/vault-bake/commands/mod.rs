//! The verbs, a file each, and how all of them print results.

pub mod build;
pub mod channel;
pub mod check_plan;
pub mod completions;
pub mod diff;
pub mod doctor;
pub mod gc;
mod gc_sources;
pub mod images;
pub mod lint;
pub mod lock;
pub mod pin;
pub mod plan;
pub mod promote;
pub mod resolve;
pub mod restore;
pub mod revoke;
pub mod rollback;
pub mod sbom;
pub mod show;
pub mod sweep;
pub mod test;
pub mod trust;
pub mod validate;
pub mod verify;

use std::io::{IsTerminal as _, Write, stderr, stdout};

/// Prints a result for people. Results go to standard output, what happens on the way to standard error.
pub fn print_line(line: &str) {
    // Whoever read us has gone; the exit status still says what happened.
    let _ = writeln!(stdout().lock(), "{}", line.trim_end_matches('\n'));
}

/// Prints the header of a table, to people at a terminal only.
pub fn print_header(line: &str) {
    if stdout().is_terminal() {
        print_line(line.trim_end());
    }
}

/// Tells people something beside a result that programs read whole.
pub fn print_warning(warning: &str) {
    let _ = writeln!(stderr().lock(), "warning: {warning}");
}

/// Prints text that has its line ends already, as it is.
pub fn print_text(text: &str) {
    let _ = stdout().lock().write_all(text.as_bytes());
}

/// Prints a result for programs: one JSON object on one line.
pub fn print_json(value: &serde_json::Value) {
    print_line(&value.to_string());
}
