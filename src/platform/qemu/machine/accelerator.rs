//! Chooses between KVM and emulation.
//! Under some hypervisors /dev/kvm opens but cannot run an ordinary kernel.
//! Then no processor has the flag `vmx` or `svm`.

use std::fs::{self, OpenOptions};
use std::path::Path;

use super::emulation::processor;

/// The way in which the processors of the guest run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// On the processors of the host.
    Kvm,
    /// By emulation, which works everywhere and is several times slower.
    Tcg,
    /// By emulation of all processors in one thread, for QEMU before 8.1.
    TcgOneThread,
}

impl Accelerator {
    /// Returns the values of `-accel` and `-cpu`.
    pub fn options(self) -> (&'static str, &'static str) {
        match self {
            Self::Kvm => ("kvm", "host"),
            Self::Tcg => (processor::THREADS, processor::FLAGS),
            Self::TcgOneThread => (processor::ONE_THREAD, processor::FLAGS),
        }
    }

    /// Returns whether processors are emulated.
    pub fn is_emulation(self) -> bool {
        self != Self::Kvm
    }
}

/// Returns KVM if `device` can be opened for reading and writing and a processor in `processors`
/// has `vmx` or `svm`. Otherwise returns TCG.
pub fn choose(device: &Path, processors: &Path) -> Accelerator {
    let opens = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(device)
            .is_ok()
    };
    let virtualizes = || {
        fs::read_to_string(processors).is_ok_and(|text| {
            text.lines()
                .filter(|line| line.starts_with("flags"))
                .flat_map(str::split_whitespace)
                .any(|flag| matches!(flag, "vmx" | "svm"))
        })
    };
    if virtualizes() && opens() {
        Accelerator::Kvm
    } else {
        Accelerator::Tcg
    }
}
