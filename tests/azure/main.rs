//! The Azure simulator, and what is tested with it.

mod bodies;
mod client;
mod simulator;
mod smoke;
