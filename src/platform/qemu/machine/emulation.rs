//! What a VM without KVM needs to be bearable: VM snapshots, fixed addresses, fewer features of
//! processors. [`start`] replaces a boot. With KVM, it does not run.

mod cache;
mod key_channel;
mod migration;
pub mod processor;
mod snapshot;

use super::accelerator::Accelerator;
use super::{Launch, QemuMachine};
use crate::builder::{Boot, BuilderError};
use crate::process::Program;
use crate::teardown::Teardown;

pub(super) use cache::Snapshot;
pub(in crate::platform::qemu) use cache::{prune, usage};
pub(super) use key_channel::KEYS_PORT;

/// A line for systemd-tmpfiles that turns off address randomization in a build VM.
///
/// An emulator caches translated code by address, and with random addresses it would translate each
/// short program again. Nodes and boot tests keep address randomization.
pub const FIXED_ADDRESSES: &str = "w /proc/sys/kernel/randomize_va_space - - - - 0\n";

/// Starts an emulated VM: from a VM snapshot if possible, otherwise by booting it.
pub(super) async fn start(
    launch: Launch<'_>,
    teardown: &mut Teardown,
) -> Result<QemuMachine, BuilderError> {
    let events = launch.events;
    events.note("KVM is not available: the VM is emulated, which is several times slower");
    let launch = Launch {
        accelerator: accelerator(&launch).await?,
        guest_lines: FIXED_ADDRESSES,
        ..launch
    };
    snapshot::start(launch, teardown).await
}

/// Returns the emulation that is right for a VM and this QEMU.
async fn accelerator(launch: &Launch<'_>) -> Result<Accelerator, BuilderError> {
    if is_direct_build(&launch.boot) {
        // It mostly resumes, and if it boots and ends by the emulator, it is started again.
        return Ok(Accelerator::Tcg);
    }
    let qemu = Program::new(&launch.options.tools.qemu_system).arg("--version");
    let printed = qemu.run(launch.interrupt).await?;
    Ok(
        match processor::may_use_threads(&String::from_utf8_lossy(&printed)) {
            true => Accelerator::Tcg,
            false => Accelerator::TcgOneThread,
        },
    )
}

/// Whether this is the first start of a build VM that boots its kernel directly, so that no step
/// reboots it.
fn is_direct_build(boot: &Boot<'_>) -> bool {
    boot.role == "build" && boot.disk.kernel.is_some() && !boot.is_retry
}
