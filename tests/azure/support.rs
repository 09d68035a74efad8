//! Counterparts that the fast suite has too.

#![expect(dead_code, reason = "bakes on this computer need more of them")]

#[path = "../suite/support/bakery.rs"]
pub mod bakery;
#[path = "../suite/support/plan.rs"]
pub mod plan;
#[path = "../suite/support/signing.rs"]
pub mod signing;
#[path = "../suite/support/sshd.rs"]
pub mod sshd;
#[path = "../suite/support/standin.rs"]
pub mod standin;
