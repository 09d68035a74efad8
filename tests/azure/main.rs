//! Azure without Azure: the management interface played by a simulator, and the library against it.

mod bakes;
mod bodies;
mod client;
mod door;
mod fidelity;
mod ground;
mod guest;
#[path = "../judged/mod.rs"]
mod judged;
mod matrix;
mod rules;
#[expect(dead_code, unused_imports, reason = "rollouts will ask for more of it")]
mod simulator;
mod smoke;
mod support;
