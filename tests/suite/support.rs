//! Counterparts that tests share.

pub mod sshd;
pub mod wire;
