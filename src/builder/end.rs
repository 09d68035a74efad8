//! The causes for which a VM can end.
//! A builder makes a [`MachineEnd`] from its observations.
//! The caller decides what follows: a retry, an error or a failed test.

use std::fmt;

/// The end of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineEnd {
    /// The cause.
    pub cause: EndCause,
    /// The last observations: exit status, standard error, serial console.
    pub details: String,
}

/// The cause of the end of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The emulator was killed by this signal: it crashed, or the host killed it.
    Signal(i32),
    /// The emulator exited with this status while the guest was running.
    Exit(i32),
    /// The emulator did not start.
    NeverStarted,
    /// The emulator ran the guest's code wrongly, and the guest's kernel noticed it.
    Emulation,
    /// The cloud did not provide the VM, or removed it.
    Cloud,
    /// The guest did not report to the cloud that it booted.
    GuestNotReady,
    /// The guest shut down.
    GuestShutdown,
    /// The guest restarted while no restart was expected.
    GuestReset,
    /// The kernel of the guest panicked.
    GuestPanic,
}

impl EndCause {
    /// Returns whether the platform is the cause, so that the image cannot be.
    pub fn is_platform(self) -> bool {
        match self {
            Self::Signal(_)
            | Self::Exit(_)
            | Self::NeverStarted
            | Self::Emulation
            | Self::Cloud => true,
            Self::GuestNotReady | Self::GuestShutdown | Self::GuestReset | Self::GuestPanic => {
                false
            }
        }
    }

    /// Returns whether a second start of the same VM is possible and may succeed.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Signal(_) | Self::Exit(_) | Self::NeverStarted | Self::Emulation
        )
    }
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "the emulator was killed by signal {number} ({name})"),
                None => write!(f, "the emulator was killed by signal {number}"),
            },
            Self::Exit(status) => write!(f, "the emulator exited with status {status}"),
            Self::NeverStarted => f.write_str("the emulator did not start"),
            Self::Emulation => f.write_str(
                "the emulator ran old code, a defect of QEMU before 8.1 that stops the guest's kernel",
            ),
            Self::Cloud => f.write_str("the cloud did not provide it, or removed it"),
            Self::GuestNotReady => f.write_str("the guest did not report that it booted"),
            Self::GuestShutdown => f.write_str("the VM switched itself off"),
            Self::GuestReset => f.write_str("the guest restarted"),
            Self::GuestPanic => f.write_str("the guest's kernel panicked"),
        }
    }
}

impl fmt::Display for MachineEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause, self.details)
    }
}

/// Returns the name of a signal that may kill an emulator.
fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT, such as after a failed assertion",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL, such as by the kernel when memory is exhausted",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        _ => return None,
    })
}
