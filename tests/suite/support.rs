//! Counterparts that tests share.

pub mod bakery;
pub mod far;
pub mod plan;
pub mod shelf;
pub mod recorded;
pub mod signing;
pub mod sshd;
pub mod standin;
pub mod wire;
