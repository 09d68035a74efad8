//! Rollouts: plans, their checker, and executions of them in a model of a cluster.

mod clusters;
mod planner;
