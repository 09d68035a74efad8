//! Chooses between KVM and emulation.
//! Under some hypervisors /dev/kvm opens but cannot run an ordinary kernel.
//! Then no processor has the flag `vmx` or `svm`.

use std::fs::{self, OpenOptions};
use std::path::Path;

use super::arguments::Accelerator;

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
