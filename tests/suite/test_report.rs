//! `scripts/test-report` with a JUnit report of the test runner.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const JUNIT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" failures="0" errors="0">
  <testsuite name="vault-bake::real" tests="2" disabled="0" errors="0" failures="0">
    <testcase name="bake::quickstart" classname="vault-bake::real" time="61.234"/>
    <testcase name="bake::audit" classname="vault-bake::real" time="0.013">
      <system-err>SKIPPED: the audit needs KVM
SKIPPED: the audit needs KVM
</system-err>
    </testcase>
  </testsuite>
  <testsuite name="vault-bake::suite" tests="1" disabled="0" errors="0" failures="0">
    <testcase name="pin::read" classname="vault-bake::suite" time="0.5"/>
  </testsuite>
</testsuites>
"#;

/// Returns exit status and output for a run that began so many minutes ago.
#[expect(
    clippy::disallowed_methods,
    reason = "the script reads the clock itself"
)]
fn report(minutes: u64, rest: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let junit = folder.path().join("junit.xml");
    fs::write(&junit, JUNIT).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let began = (now.as_secs() - 60 * minutes).to_string();
    let output = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/test-report"))
        .arg(&junit)
        .arg(began)
        .args(rest)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text)
}

#[test]
fn the_slowest_tests_and_the_reasons_for_skips_are_printed() {
    let (status, text) = report(3, &[]);
    assert_eq!(status, Some(0));
    // The script itself takes a while.
    insta::with_settings!({filters => vec![(r"\n3\.\d minutes", "\n3 minutes")]}, {
        insta::assert_snapshot!(text, @r"
        The slowest of 3 tests:
             61.2 s  real bake::quickstart
              0.5 s  suite pin::read
              0.0 s  real bake::audit
        SKIPPED real bake::audit: the audit needs KVM
        3 minutes
        ");
    });
}

#[test]
fn a_run_over_the_budget_by_a_fifth_fails_on_the_reference_machine_alone() {
    let table = [
        (25, "reference", 0),
        (29, "reference", 0),
        (31, "reference", 1),
        (31, "other", 0),
    ];
    for (minutes, machine, expected) in table {
        let (status, text) = report(minutes, &["25", machine]);
        assert_eq!(status, Some(expected), "{minutes} {machine}: {text}");
        assert_eq!(text.contains("FAILED"), expected == 1, "{text}");
        assert!(text.contains("61.2 s  real bake::quickstart"), "{text}");
    }
}

/// A machine that compiles longer than the reference machine is slower in everything.
#[test]
fn the_budget_grows_on_a_slower_machine() {
    let table = [
        (31, "100", 1),
        (31, "270", 1),
        (36, "351", 0),
        (40, "351", 1),
        (46, "2000", 1),
    ];
    for (minutes, build_s, expected) in table {
        let (status, text) = report(minutes, &["25", "reference", build_s]);
        assert_eq!(status, Some(expected), "{minutes} {build_s}: {text}");
        let slower = text.contains("this one compiled 1.30 times as long");
        assert_eq!(slower, build_s == "351", "{text}");
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test runs the script as the Makefile does"
)]
fn a_run_that_wrote_no_report_fails() {
    let output = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/test-report"))
        .args(["/nonexistent/junit.xml", "0"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    insta::assert_snapshot!(text, @"FAILED: no test ran: /nonexistent/junit.xml does not exist");
}
