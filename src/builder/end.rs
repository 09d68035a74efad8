//! How machines end, and whose fault that is.
//!
//! In: what a builder saw of a machine's end. Out: a [`MachineEnd`] with its cause and its last words.
//! Leaves to others what follows from it: another start, an error, or a failed test.

use std::fmt;

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineEnd {
    /// What ended it.
    pub by: EndedBy,
    /// What was seen last: exit status, standard error, serial console.
    pub words: String,
}

/// What ended a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// A signal ended the program that runs the machine: it crashed, or the host killed it.
    Signal(i32),
    /// The program that runs the machine ended by itself, with this exit status, though the guest still ran.
    Exit(i32),
    /// The program that runs the machine did not come up.
    NeverStarted,
    /// The cloud did not provide the machine, or took it away.
    Cloud,
    /// The guest did not report to the cloud that it came up.
    GuestNotReady,
    /// The guest switched itself off.
    GuestShutdown,
    /// The guest restarted, and the machine was not to follow.
    GuestReset,
    /// The guest's kernel panicked.
    GuestPanic,
}

impl EndedBy {
    /// Whether the platform ended it: then the end says nothing about the image.
    pub fn is_platform(self) -> bool {
        match self {
            Self::Signal(_) | Self::Exit(_) | Self::NeverStarted | Self::Cloud => true,
            Self::GuestNotReady | Self::GuestShutdown | Self::GuestReset | Self::GuestPanic => {
                false
            }
        }
    }

    /// Whether another start of the same machine makes sense, and is possible.
    pub fn is_worth_another_start(self) -> bool {
        matches!(self, Self::Signal(_) | Self::Exit(_) | Self::NeverStarted)
    }
}

impl fmt::Display for EndedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "its emulator was ended by signal {number} ({name})"),
                None => write!(f, "its emulator was ended by signal {number}"),
            },
            Self::Exit(status) => write!(f, "its emulator ended by itself (exit status {status})"),
            Self::NeverStarted => f.write_str("its emulator did not start"),
            Self::Cloud => f.write_str("the cloud did not provide it, or took it away"),
            Self::GuestNotReady => f.write_str("the guest did not report that it is up"),
            Self::GuestShutdown => f.write_str("the guest switched itself off"),
            Self::GuestReset => f.write_str("the guest restarted"),
            Self::GuestPanic => f.write_str("the guest's kernel panicked"),
        }
    }
}

impl fmt::Display for MachineEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.by, self.words)
    }
}

/// The names of signals that end emulators.
fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT, as after a failed assertion",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL, as by the kernel when memory runs out",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        _ => return None,
    })
}
