//! Lists the programs and files that the QEMU builder needs, with their Debian packages.
//! The caller checks whether they are installed.

use std::path::Path;

use crate::builder::{AccessBy, Requirement};
use crate::definition::Firmware;
use crate::definition::platform::PlannedBase;
use crate::platform::qemu::definition::QemuBase;
use crate::platform::qemu::lock::LockedBase;
use crate::platform::qemu::{QemuOptions, base, base_of};

/// A task that needs programs or files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Running a VM.
    Machine,
    /// Running a VM with UEFI.
    Uefi,
    /// Making the upload disk of a build VM.
    Uploads,
    /// Passing keys to a VM with cloud-init.
    CloudSeed,
    /// Making a base from packages.
    Base,
}

/// Returns all requirements of the QEMU builder.
pub fn requirements(options: &QemuOptions) -> Vec<Requirement> {
    all(options).into_iter().map(|(_, one)| one).collect()
}

/// Returns the requirements of a build from `base`. A cached base does not need the programs that
/// make it.
pub fn build_requirements(options: &QemuOptions, base: &PlannedBase) -> Vec<Requirement> {
    let Ok((wanted, locked)) = base_of(base) else {
        return Vec::new();
    };
    let (firmware, of_base) = match &wanted {
        QemuBase::Packages { firmware, .. } => {
            let is_made = match &locked {
                LockedBase::Packages { index } => !base::is_cached(options, (&wanted, index)),
                LockedBase::CloudImage { .. } => true,
            };
            (firmware, is_made.then_some(Work::Base))
        }
        QemuBase::CloudImage { firmware, .. } => (firmware, Some(Work::CloudSeed)),
    };
    let mut works = vec![Work::Machine, Work::Uploads];
    works.extend(of_base);
    works.extend((*firmware == Firmware::Uefi).then_some(Work::Uefi));
    needed(options, &works)
}

/// Returns the requirements of a boot test of an image with this firmware and key access.
pub fn test_requirements(
    options: &QemuOptions,
    firmware: Firmware,
    access: AccessBy,
) -> Vec<Requirement> {
    let mut works = vec![Work::Machine];
    works.extend((firmware == Firmware::Uefi).then_some(Work::Uefi));
    works.extend((access == AccessBy::CloudInit).then_some(Work::CloudSeed));
    needed(options, &works)
}

fn needed(options: &QemuOptions, works: &[Work]) -> Vec<Requirement> {
    let is_needed = |by: &[Work]| by.iter().any(|work| works.contains(work));
    let all = all(options).into_iter();
    all.filter_map(|(by, one)| is_needed(by).then_some(one))
        .collect()
}

fn all(options: &QemuOptions) -> Vec<(&'static [Work], Requirement)> {
    use Work::{Base, CloudSeed, Machine, Uefi, Uploads};
    let tools = &options.tools;
    let bios = options.grub.join("i386-pc").join("boot.img");
    let uefi = options.grub.join("x86_64-efi").join("linux.mod");
    let need = |by: &'static [Work], program: &Path, package, why| {
        let program = program.to_owned();
        (
            by,
            Requirement {
                program,
                package,
                why,
            },
        )
    };
    let mut all = vec![
        need(
            &[Machine],
            &tools.qemu_system,
            "qemu-system-x86",
            "runs the temporary VMs",
        ),
        need(
            &[Machine, Base],
            &tools.qemu_img,
            "qemu-utils",
            "makes, converts and checks disks",
        ),
        need(
            &[Base],
            &tools.mmdebstrap,
            "mmdebstrap",
            "makes bases from signed packages",
        ),
        need(
            &[Base],
            Path::new("gpgv"),
            "gpgv",
            "verifies the signatures of a distribution's packages",
        ),
        need(
            &[Base],
            &tools.unshare,
            "util-linux",
            "ends all processes that making a base started",
        ),
        need(
            &[Base, Uploads],
            &tools.mke2fs,
            "e2fsprogs",
            "makes root file systems of bases, and upload disks",
        ),
        need(&[Base], &tools.sgdisk, "gdisk", "partitions bases"),
        need(
            &[Base, CloudSeed],
            &tools.mformat,
            "mtools",
            "makes FAT file systems of bases and cloud-init seeds",
        ),
        need(
            &[Base],
            &tools.mmd,
            "mtools",
            "makes folders in FAT file systems",
        ),
        need(
            &[Base, CloudSeed],
            &tools.mcopy,
            "mtools",
            "copies files into FAT file systems",
        ),
        need(
            &[Base],
            &tools.grub_mkimage,
            "grub-common",
            "makes bases bootable",
        ),
        need(&[Base], &bios, "grub-pc-bin", "lets bases boot with BIOS"),
        need(
            &[Base],
            &uefi,
            "grub-efi-amd64-bin",
            "lets bases boot with UEFI",
        ),
    ];
    // One existing pair of firmware files is enough.
    let exists =
        |pair: &&(std::path::PathBuf, std::path::PathBuf)| pair.0.is_file() && pair.1.is_file();
    let pairs = &options.ovmf;
    if let Some((code, _)) = pairs.iter().find(exists).or(pairs.first()) {
        all.push(need(&[Uefi], code, "ovmf", "boots VMs with UEFI"));
    }
    if !rustix::process::geteuid().is_root() {
        let why = "makes bases as a user other than root";
        all.push(need(&[Base], &tools.fakeroot, "fakeroot", why));
        all.push(need(&[Base], Path::new("newuidmap"), "uidmap", why));
    }
    all
}
