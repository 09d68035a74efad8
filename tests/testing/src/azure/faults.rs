//! Injected faults: the operation, its occurrence and the kind of fault.

use std::time::Duration;

/// A fault at occurrences of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The operation as the log names it: `PUT Microsoft.Compute/virtualMachines`, `POST token`.
    pub operation: String,
    /// The first affected occurrence, from 1.
    pub nth: usize,
    /// The number of affected occurrences in a row.
    pub times: usize,
    pub kind: FaultKind,
}

/// The kinds of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// 429 with `Retry-After` in seconds, without effect.
    Throttled(u64),
    /// A status without effect: 500 or 503.
    Status(u16),
    /// A reset of the connection, without effect.
    ResetBefore,
    /// A reset of the connection after the effect.
    ResetAfter,
    /// 409 `AnotherOperationInProgress`, without effect.
    Busy,
    /// After a PUT, the next request does not find the resource. Other requests get 404.
    NotFound,
    /// A long-running operation ends `Failed` with this code. Other requests get 409 with it.
    Fails(String),
    /// A long-running operation never ends. Other requests get no answer for a minute.
    Stuck,
    /// No answer for a while, without effect, so that a test can kill the client.
    HeldBefore,
    /// No answer for a while, after the effect.
    HeldAfter,
    /// 401, although the token is valid.
    TokenExpired,
    /// A delayed answer.
    Slow(Duration),
}

impl Fault {
    /// Returns a fault of the first occurrence.
    pub fn once(operation: &str, kind: FaultKind) -> Self {
        Self::at(operation, 1, kind)
    }

    /// Returns a fault of one occurrence.
    pub fn at(operation: &str, nth: usize, kind: FaultKind) -> Self {
        Self {
            operation: operation.to_owned(),
            nth,
            times: 1,
            kind,
        }
    }

    /// Returns a fault of every occurrence.
    pub fn always(operation: &str, kind: FaultKind) -> Self {
        Self {
            times: usize::MAX,
            ..Self::once(operation, kind)
        }
    }

    pub fn hits(&self, operation: &str, nth: usize) -> bool {
        self.operation.eq_ignore_ascii_case(operation)
            && nth >= self.nth
            && nth - self.nth < self.times
    }
}
