//! Measured times and their bounds.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Measured times, each with its bounds in seconds.
#[derive(Default)]
pub struct Figures(Vec<String>);

impl Figures {
    /// Prints a time, and notes whether it is out of its bounds.
    #[expect(clippy::print_stderr, reason = "the figures are for people too")]
    pub fn add(&mut self, what: &str, measured: Duration, bounds: RangeInclusive<f64>) {
        let measured = measured.as_secs_f64();
        let row = format!(
            "{what:<58} {measured:7.3} s ({:.2} to {:.2} s)",
            bounds.start(),
            bounds.end()
        );
        eprintln!("{row}");
        if !bounds.contains(&measured) {
            self.0.push(row);
        }
    }

    /// Asserts that all times are within their bounds.
    pub fn check(self) {
        assert!(self.0.is_empty(), "{:#?}", self.0);
    }
}

/// Asserts that all answers are among those that Vault gives.
pub fn assert_known(answers: &BTreeSet<String>, known: &[&str]) {
    let unknown = |answer: &&String| !known.contains(&answer.as_str());
    let unknown: Vec<_> = answers.iter().filter(unknown).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not among {known:?}");
}
