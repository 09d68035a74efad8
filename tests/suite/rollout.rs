//! Rollouts: plans, their checker, and executions of them in a model of a cluster.

mod back;
mod checker;
mod clusters;
mod executions;
mod guards;
mod journals;
mod model;
mod planner;
mod stops;
mod versions;
