//! What the binary's exit status says.

use std::process::ExitCode;

/// The exit statuses of `vault-bake`: a documented interface, never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed, for a reason that has no number of its own.
    Failed = 1,
    /// The command line or an input file is not valid. Nothing was done.
    Usage = 2,
    /// A step failed while the machine was provisioned.
    Provisioning = 3,
    /// A check failed, in the build or on the booted image.
    Checks = 4,
    /// Something of ours is still there and could not be removed; the list was printed.
    Leaked = 5,
    /// Refused by a guard, or somebody else was faster.
    Conflict = 6,
    /// A signature or a digest does not hold.
    Integrity = 7,
    /// Interrupted, and cleaned up.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
