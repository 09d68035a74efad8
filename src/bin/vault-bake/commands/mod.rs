//! The verbs, a file each, and how all of them print results.

pub mod build;
pub mod channel;
pub mod completions;
pub mod diff;
pub mod doctor;
pub mod images;
pub mod lock;
pub mod plan;
pub mod promote;
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

use std::io::{Write, stdout};

/// Prints a result for people. Results go to standard output, what happens on the way to standard error.
pub fn print_line(line: &str) {
    // Whoever read us has gone; the exit status still says what happened.
    let _ = writeln!(stdout().lock(), "{}", line.trim_end_matches('\n'));
}

/// Prints a result for programs: one JSON object on one line.
pub fn print_json(value: &serde_json::Value) {
    print_line(&value.to_string());
}
