//! What goes wrong, and when: an operation by its name, the occurrence, and what happens instead.

use std::time::Duration;

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// As the log names it: `PUT Microsoft.Compute/virtualMachines`, `POST token`.
    pub operation: String,
    /// The first occurrence that it hits, from 1.
    pub nth: usize,
    /// How many occurrences it hits, in a row.
    pub times: usize,
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// 429 with `Retry-After` in seconds; nothing is done.
    Throttled(u64),
    /// A status without effect: 500 or 503.
    Status(u16),
    /// The connection is reset; nothing is done.
    ResetBefore,
    /// Everything is done, and then the connection is reset.
    ResetAfter,
    /// 409 `AnotherOperationInProgress`; nothing is done.
    Busy,
    /// On a PUT: what was made is not found by the next request for it. On others: 404.
    NotFound,
    /// The operation begins and ends `Failed`, with this code. What is not long-running answers 409 with it.
    Fails(String),
    /// The operation begins and never ends. What is not long-running is not answered for a minute.
    Stuck,
    /// Nothing is done, and nothing is answered for a while: whoever asks can be killed meanwhile.
    HeldBefore,
    /// Everything is done, and nothing is answered for a while.
    HeldAfter,
    /// 401, although the token is good.
    TokenExpired,
    /// The answer comes late.
    Slow(Duration),
}

impl Fault {
    /// A fault of the first occurrence alone.
    pub fn once(operation: &str, kind: FaultKind) -> Self {
        Self::at(operation, 1, kind)
    }

    /// A fault of one occurrence.
    pub fn at(operation: &str, nth: usize, kind: FaultKind) -> Self {
        Self {
            operation: operation.to_owned(),
            nth,
            times: 1,
            kind,
        }
    }

    /// A fault of every occurrence.
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
