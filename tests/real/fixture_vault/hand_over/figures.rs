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
            "{what:<72} {measured:7.3} s ({:.2} to {:.2} s)",
            bounds.start(),
            bounds.end()
        );
        eprintln!("{row}");
        if !bounds.contains(&measured) {
            self.0.push(row);
        }
    }

    /// Prints a time next to that of a model in milliseconds, and notes whether it is more than
    /// `below` shorter or `above` longer, in seconds.
    pub fn compare(&mut self, what: &str, model: u64, measured: Duration, bounds: (f64, f64)) {
        let model = Duration::from_millis(model).as_secs_f64();
        let (below, above) = bounds;
        let what = format!("{what} (model {model:.2} s)");
        self.add(&what, measured, model - below..=model + above);
    }

    /// Prints a time next to the range that it has in a model, in milliseconds, and notes whether
    /// it is more than `below` before or `above` after the range, or the range is not as wide as
    /// `wide`, all in seconds.
    pub fn compare_range(
        &mut self,
        what: &str,
        model: RangeInclusive<u64>,
        wide: f64,
        measured: Duration,
        (below, above): (f64, f64),
    ) {
        let seconds = |time: &u64| Duration::from_millis(*time).as_secs_f64();
        let (first, last) = (seconds(model.start()), seconds(model.end()));
        let what = format!("{what} (model {first:.2} to {last:.2} s)");
        let earliest = (first - below).max(last - wide - below);
        let latest = (last + above).min(first + wide + above);
        self.add(&what, measured, earliest..=latest);
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
