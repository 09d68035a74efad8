//! Tests of the Azure client and builder against simulators of ARM.

mod bakes;
mod bases;
mod documented;
mod client;
mod fidelity;
mod matrix;
mod rules;
mod smoke;
mod versions;
