//! Chooses between KVM and emulation.
//! Under some hypervisors /dev/kvm opens but cannot run an ordinary kernel.
//! Then no processor has the flag `vmx` or `svm`.

use std::fs::{self, OpenOptions};
use std::path::Path;

use super::arguments::Accelerator;
use crate::builder::BuilderError;
use crate::process::Program;
use crate::wait::Interrupt;

/// The first version, major and minor, that runs processors in threads of their own without running
/// old code of the guest's kernel.
const THREADS_SINCE: (u32, u32) = (8, 1);

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

/// Returns the emulation that is right for this QEMU.
pub(super) async fn emulation(
    qemu: &Path,
    interrupt: &Interrupt,
) -> Result<Accelerator, BuilderError> {
    let printed = Program::new(qemu).arg("--version").run(interrupt).await?;
    Ok(emulation_of(&String::from_utf8_lossy(&printed)))
}

/// Returns the emulation for what QEMU prints of its version, as in `QEMU emulator version 7.2.22
/// (Debian …)`. Without a number, it is the safe one.
pub fn emulation_of(printed: &str) -> Accelerator {
    let mut words = printed.split_whitespace();
    let version = words
        .find(|word| *word == "version")
        .and_then(|_| words.next());
    let mut numbers = version.unwrap_or_default().split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= THREADS_SINCE => Accelerator::Tcg,
        _ => Accelerator::TcgOneThread,
    }
}
