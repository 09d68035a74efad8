//! Whether KVM works here.
//!
//! In: the device and the list of processors. Out: the accelerator. Deliberately asks for more than that the device
//! opens: under some hypervisors it does and still cannot run an ordinary kernel, and then no processor has the flag.

use std::fs::{self, OpenOptions};
use std::path::Path;

use super::arguments::Accelerator;

/// KVM where `device` opens for reading and writing and a processor in `processors` has `vmx` or `svm`; else TCG.
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
