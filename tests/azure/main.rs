//! Azure without Azure: the management interface played by a simulator, and the library against it.

mod bakes;
mod documented;
mod door;
mod fidelity;
mod matrix;
mod rules;
mod smoke;
