//! Azure without Azure: the management interface played by a simulator, and the library against it.

mod bodies;
mod client;
mod door;
mod simulator;
mod smoke;
