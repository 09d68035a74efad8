//! TEMP
use super::{Plan, planner::Inventory};
/// x
#[derive(Debug, Clone)]
pub struct Violation(String);
impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
/// x
pub fn check(_: &Plan, _: &Inventory) -> Vec<Violation> {
    vec![]
}
