//! Replaces the nodes of a running cluster without a failed request.
//! Takes an inventory and target images; plans every step, executes the plan, and records it.
//! How nodes run and how products answer is left to an implementation of [`Operations`].

pub mod canary;
pub mod condition;
pub mod execute;
pub mod journal;
pub mod figures;
pub mod observation;
pub mod operations;
pub mod plan;

pub use canary::{Canary, CanaryNode, CanaryOptions};
pub use condition::{Condition, Progress};
pub use execute::{ExecuteError, ExecuteOptions, Outcome, Rest, execute};
pub use figures::{ClientFigures, ErrorKind, Figures};
pub use observation::Observation;
pub use operations::{Counts, EffectError, Evidence, Operations};
pub use plan::{Action, NodePlan, Plan, Step, Target};
