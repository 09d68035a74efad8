//! What the QEMU builder needs on this computer, and which package has it.
//!
//! In: the settings, and what is to be done. Out: a list for `doctor`, and for what is about to begin.
//! Leaves to others whether it is there.

use std::path::Path;

use crate::builder::qemu::{QemuOptions, base};
use crate::builder::{AccessBy, Requirement};
use crate::definition::{Firmware, QemuBase};
use crate::plan::PlannedBase;

/// What a program or file is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Running a machine.
    Machine,
    /// Running one that starts by UEFI.
    Uefi,
    /// Giving a build VM its uploads.
    Uploads,
    /// Giving a machine keys by cloud-init.
    CloudSeed,
    /// Making a base from packages.
    Base,
}

/// All that the QEMU builder needs, with Debian's package for each.
pub fn requirements(settings: &QemuOptions) -> Vec<Requirement> {
    all(settings).into_iter().map(|(_, one)| one).collect()
}

/// What a bake that starts from `base` needs. A base that is in the cache is not made.
pub fn build_requirements(settings: &QemuOptions, base: &PlannedBase) -> Vec<Requirement> {
    let PlannedBase::Qemu { wanted, .. } = base else {
        return Vec::new();
    };
    let (firmware, of_base) = match wanted {
        QemuBase::Packages { firmware, .. } => {
            let is_made = !base::is_cached(settings, base);
            (firmware, is_made.then_some(Work::Base))
        }
        QemuBase::CloudImage { firmware, .. } => (firmware, Some(Work::CloudSeed)),
    };
    let mut works = vec![Work::Machine, Work::Uploads];
    works.extend(of_base);
    works.extend((*firmware == Firmware::Uefi).then_some(Work::Uefi));
    needed(settings, &works)
}

/// What a boot test needs of an image that starts by `firmware` and takes keys as `access` says.
pub fn test_requirements(
    settings: &QemuOptions,
    firmware: Firmware,
    access: AccessBy,
) -> Vec<Requirement> {
    let mut works = vec![Work::Machine];
    works.extend((firmware == Firmware::Uefi).then_some(Work::Uefi));
    works.extend((access == AccessBy::CloudInit).then_some(Work::CloudSeed));
    needed(settings, &works)
}

fn needed(settings: &QemuOptions, works: &[Work]) -> Vec<Requirement> {
    let is_needed = |of: &[Work]| of.iter().any(|work| works.contains(work));
    let all = all(settings).into_iter();
    all.filter_map(|(of, one)| is_needed(of).then_some(one))
        .collect()
}

fn all(settings: &QemuOptions) -> Vec<(&'static [Work], Requirement)> {
    use Work::{Base, CloudSeed, Machine, Uefi, Uploads};
    let tools = &settings.tools;
    let bios = settings.grub.join("i386-pc").join("boot.img");
    let uefi = settings.grub.join("x86_64-efi").join("linux.mod");
    let need = |of: &'static [Work], program: &Path, package, why| {
        let program = program.to_owned();
        (
            of,
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
            "runs the temporary machines",
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
            "makes native bases from signed packages",
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
            "ends what the making of a base started",
        ),
        need(
            &[Base, Uploads],
            &tools.mke2fs,
            "e2fsprogs",
            "makes the root file system of native bases",
        ),
        need(&[Base], &tools.sgdisk, "gdisk", "partitions native bases"),
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
            "makes native bases bootable",
        ),
        need(
            &[Base],
            &bios,
            "grub-pc-bin",
            "lets native bases boot by BIOS",
        ),
        need(
            &[Base],
            &uefi,
            "grub-efi-amd64-bin",
            "lets native bases boot by UEFI",
        ),
    ];
    // Of several pairs of firmware one is enough.
    let there =
        |pair: &&(std::path::PathBuf, std::path::PathBuf)| pair.0.is_file() && pair.1.is_file();
    let pairs = &settings.ovmf;
    if let Some((code, _)) = pairs.iter().find(there).or(pairs.first()) {
        all.push(need(&[Uefi], code, "ovmf", "starts machines by UEFI"));
    }
    if !rustix::process::geteuid().is_root() {
        let why = "makes native bases as a user other than root";
        all.push(need(&[Base], &tools.fakeroot, "fakeroot", why));
        all.push(need(&[Base], Path::new("newuidmap"), "uidmap", why));
    }
    all
}
