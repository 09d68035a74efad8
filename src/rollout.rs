//! Replaces the nodes of a running cluster without a failed request.
//! Takes an inventory and target images; plans every step, executes the plan, and records it.
//! How nodes run and how products answer is left to an implementation of [`Operations`].

pub mod check;
pub mod condition;
pub mod execute;
pub mod journal;
pub mod observation;
pub mod operations;
pub mod plan;
pub mod planner;

pub use check::{Violation, check};
pub use condition::{Condition, Progress};
pub use execute::{ExecuteError, ExecuteOptions, Outcome, Rest, execute};
pub use observation::Observation;
pub use operations::{Effect, EffectError, Evidence, Operations};
pub use plan::{Action, NodePlan, Plan, Step, Target};
pub use planner::{Inventory, InventoryNode, PlanError, Request, plan, plan_abort};
