//! What the QEMU builder needs on this computer, and which package has it.
//!
//! In: the settings. Out: a list for `doctor`. Deliberately does not look whether it is there.

use std::path::Path;

use crate::builder::Requirement;
use crate::builder::qemu::QemuSettings;

/// All that the QEMU builder needs, with Debian's package for each.
pub fn requirements(settings: &QemuSettings) -> Vec<Requirement> {
    let tools = &settings.tools;
    let bios = settings.grub.join("i386-pc").join("boot.img");
    let uefi = settings.grub.join("x86_64-efi").join("linux.mod");
    let mut all = vec![
        need(
            &tools.qemu_system,
            "qemu-system-x86",
            "runs the temporary machines",
        ),
        need(
            &tools.qemu_img,
            "qemu-utils",
            "makes, converts and checks disks",
        ),
        need(
            &tools.mmdebstrap,
            "mmdebstrap",
            "makes native bases from signed packages",
        ),
        need(
            &tools.unshare,
            "util-linux",
            "ends what the making of a base started",
        ),
        need(
            &tools.mke2fs,
            "e2fsprogs",
            "makes the root file system of native bases",
        ),
        need(&tools.sgdisk, "gdisk", "partitions native bases"),
        need(
            &tools.mformat,
            "mtools",
            "makes FAT file systems of bases and cloud-init seeds",
        ),
        need(&tools.mmd, "mtools", "makes folders in FAT file systems"),
        need(&tools.mcopy, "mtools", "copies files into FAT file systems"),
        need(
            &tools.grub_mkimage,
            "grub-common",
            "makes native bases bootable",
        ),
        need(&bios, "grub-pc-bin", "lets native bases boot by BIOS"),
        need(
            &uefi,
            "grub-efi-amd64-bin",
            "lets native bases boot by UEFI",
        ),
    ];
    if let Some((code, _)) = settings.ovmf.first() {
        all.push(need(code, "ovmf", "starts machines by UEFI"));
    }
    if !rustix::process::geteuid().is_root() {
        let why = "makes native bases as a user other than root";
        all.push(need(&tools.fakeroot, "fakeroot", why));
        all.push(need(Path::new("newuidmap"), "uidmap", why));
    }
    all
}

fn need(program: &Path, package: &'static str, why: &'static str) -> Requirement {
    Requirement {
        program: program.to_owned(),
        package,
        why,
    }
}
