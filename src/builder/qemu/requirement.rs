//! What the QEMU builder needs on this computer, and which package has it.
//!
//! In: the settings. Out: a list for `doctor`. Deliberately does not look whether it is there.

use crate::builder::Requirement;
use crate::builder::qemu::QemuSettings;

/// All that the QEMU builder needs, with Debian's package for each.
pub fn requirements(settings: &QemuSettings) -> Vec<Requirement> {
    let tools = &settings.tools;
    let bios = settings.grub.join("i386-pc").join("boot.img");
    let uefi = settings.grub.join("x86_64-efi").join("linux.mod");
    let mut all: Vec<Requirement> = [
        (
            &tools.qemu_system,
            "qemu-system-x86",
            "runs the temporary machines",
        ),
        (
            &tools.qemu_img,
            "qemu-utils",
            "makes, converts and checks disks",
        ),
        (
            &tools.mmdebstrap,
            "mmdebstrap",
            "makes native bases from signed packages",
        ),
        (
            &tools.fakeroot,
            "fakeroot",
            "makes native bases without privileges",
        ),
        (
            &tools.mke2fs,
            "e2fsprogs",
            "makes the root file system of native bases",
        ),
        (&tools.sgdisk, "gdisk", "partitions native bases"),
        (
            &tools.mformat,
            "mtools",
            "makes the system partition of native bases, and seeds for cloud-init",
        ),
        (
            &tools.mmd,
            "mtools",
            "makes the system partition of native bases",
        ),
        (
            &tools.mcopy,
            "mtools",
            "makes the system partition of native bases, and seeds for cloud-init",
        ),
        (
            &tools.grub_mkimage,
            "grub-common",
            "makes native bases bootable",
        ),
        (&bios, "grub-pc-bin", "lets native bases boot by BIOS"),
        (
            &uefi,
            "grub-efi-amd64-bin",
            "lets native bases boot by UEFI",
        ),
    ]
    .into_iter()
    .map(|(program, package, why)| Requirement {
        program: program.clone(),
        package,
        why,
    })
    .collect();
    if !rustix::process::geteuid().is_root() {
        all.push(Requirement {
            program: "newuidmap".into(),
            package: "uidmap",
            why: "makes native bases as a user other than root",
        });
    }
    if let Some((code, _)) = settings.ovmf.first() {
        all.push(Requirement {
            program: code.clone(),
            package: "ovmf",
            why: "starts machines by UEFI",
        });
    }
    all
}
