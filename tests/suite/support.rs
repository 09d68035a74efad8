//! Counterparts that tests share.

pub mod plan;
pub mod sshd;
pub mod wire;
