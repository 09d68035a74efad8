//! The example of the library's documentation, run as its readers would.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "the example runs as a reader would run it, and a skipped test says why"
)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_example_of_the_library_bakes_an_image() {
    let output = Command::new(env!("CARGO"))
        .args(["test", "--locked", "--doc", "--", "--nocapture"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    for skipped in text.lines().filter(|line| line.starts_with("SKIPPED: ")) {
        eprintln!("{skipped}");
    }
    assert!(output.status.success(), "{text}");
    let passed = text
        .lines()
        .any(|line| line.starts_with("test result: ok. ") && !line.contains(" 0 passed"));
    assert!(passed, "no example ran: {text}");
}
