//! Proves a plan by other code than the planner's: it replays the steps on names alone.
//! Takes a plan and the inventory that it is based on; returns every rule that it breaks.

mod back;
mod cluster;
mod demands;
mod names;
mod replay;

use std::collections::BTreeSet;
use std::fmt;

use super::Plan;
use super::plan::Purpose;
use super::planner::Inventory;

/// A rule that a plan breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    /// The position of the step, from 0, if it is one step's.
    pub step: Option<usize>,
    /// The rule and the difference.
    pub why: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => write!(f, "step {}: {}", step + 1, self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// The violations so far.
#[derive(Default)]
struct Report {
    step: Option<usize>,
    found: Vec<Violation>,
}

impl Report {
    /// Notes a violation of the present step unless a rule is kept.
    fn rule(&mut self, is_kept: bool, why: impl FnOnce() -> String) {
        if !is_kept {
            let step = self.step;
            self.found.push(Violation { step, why: why() });
        }
    }
}

/// Returns the rules that a plan breaks. An empty list proves it.
pub fn check(plan: &Plan, inventory: &Inventory) -> Vec<Violation> {
    let mut report = Report::default();
    names::check(plan, inventory, &mut report);
    if report.found.is_empty() {
        if plan.purpose == Purpose::Abort {
            back::check(plan, inventory, &mut report);
        }
        replay::check(plan, inventory, &mut report);
    }
    report.found
}

/// Joins names for a message.
fn list<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    names.join(", ")
}

/// Returns the names as a set.
fn set(names: &[String]) -> BTreeSet<String> {
    names.iter().cloned().collect()
}
