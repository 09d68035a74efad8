//! Makes a bootable disk from `root.tar`: partition table, boot loaders and root file system.
//! Takes `root.tar` and a key for all ids; writes `base.qcow2`, `vmlinuz` and `initrd.img`.
//! Works on plain files, without block devices. Removes intermediate files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::boot_sector::{self, SECTOR};
use super::isolation;
use crate::builder::BuilderError;
use crate::digest::Digest;
use crate::platform::qemu::QemuOptions;
use crate::process::Program;
use crate::wait::Interrupt;

/// The script that makes the root file system. It is an input of the key of a base.
pub(super) const ROOT_SCRIPT: &str = include_str!("root.sh");

/// The size of the disk, in sectors. The root partition grows if an overlay is larger.
const DISK_SECTORS: u64 = (3 << 30) / SECTOR;
const BIOS_FIRST: u64 = 2048;
const SYSTEM_FIRST: u64 = 4096;
const ROOT_FIRST: u64 = SYSTEM_FIRST + (32 << 20) / SECTOR;
/// The backup of the partition table follows the root partition.
const ROOT_LAST: u64 = DISK_SECTORS - 2048 - 1;

/// The GRUB modules that find the root file system and boot its kernel.
const MODULES: [&str; 10] = [
    "part_gpt",
    "ext2",
    "normal",
    "configfile",
    "linux",
    "search",
    "search_fs_uuid",
    "serial",
    "terminal",
    "test",
];

/// The parameters for one disk.
struct Work<'a> {
    options: &'a QemuOptions,
    key: &'a Digest,
    epoch_s: i64,
    folder: &'a Path,
    interrupt: &'a Interrupt,
}

/// Makes `base.qcow2` from `root.tar`, both in `folder`. No time stamp in it is later than
/// `epoch_s`.
pub(super) async fn make_disk(
    options: &QemuOptions,
    key: &Digest,
    epoch_s: i64,
    folder: &Path,
    interrupt: &Interrupt,
) -> Result<(), BuilderError> {
    let work = Work {
        options,
        key,
        epoch_s,
        folder,
        interrupt,
    };
    let disk = work.path("disk.raw");
    File::create(&disk)
        .and_then(|file| file.set_len(DISK_SECTORS * SECTOR))
        .map_err(BuilderError::file(&disk))?;
    work.partition().await?;
    work.install_bios_boot().await?;
    work.install_uefi_boot().await?;
    work.make_root().await?;
    work.run(Program::new(&options.tools.qemu_img).args([
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "disk.raw",
        "base.qcow2",
    ]))
    .await?;
    for name in [
        "disk.raw",
        "root.tar",
        "esp.raw",
        "core.img",
        "BOOTX64.EFI",
        "early.cfg",
    ] {
        let path = work.path(name);
        fs::remove_file(&path).map_err(BuilderError::file(&path))?;
    }
    Ok(())
}

impl Work<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns a version 4 UUID for `what`, the same for each build of the same base.
    fn uuid(&self, what: &str) -> Uuid {
        let digits = Digest::hash_bytes(format!("{} {what}", self.key)).hex();
        let bits = u128::from_str_radix(&digits[..32], 16).unwrap_or_default();
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    async fn run(&self, program: Program) -> Result<(), BuilderError> {
        program
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("SOURCE_DATE_EPOCH", self.epoch_s.to_string())
            .in_folder(self.folder)
            .run(self.interrupt)
            .await?;
        Ok(())
    }

    async fn partition(&self) -> Result<(), BuilderError> {
        let mut program = Program::new(&self.options.tools.sgdisk)
            .args(["--clear", "--set-alignment=1"])
            .arg(format!("--disk-guid={}", self.uuid("disk")));
        // EF02 contains GRUB's core.img for BIOS, EF00 is the EFI system partition, 8304 an x86-64
        // root.
        for (number, name, first, last, kind) in [
            (1, "bios", BIOS_FIRST, SYSTEM_FIRST - 1, "ef02"),
            (2, "esp", SYSTEM_FIRST, ROOT_FIRST - 1, "ef00"),
            (3, "root", ROOT_FIRST, ROOT_LAST, "8304"),
        ] {
            program = program
                .arg(format!("--new={number}:{first}:{last}"))
                .arg(format!("--typecode={number}:{kind}"))
                .arg(format!("--change-name={number}:{name}"))
                .arg(format!("--partition-guid={number}:{}", self.uuid(name)));
        }
        self.run(program.arg("disk.raw")).await
    }

    /// Links GRUB for `target` into `output`. It finds the root file system by its UUID.
    async fn link_grub(
        &self,
        target: &str,
        output: &str,
        modules: &[&str],
    ) -> Result<(), BuilderError> {
        let early = self.path("early.cfg");
        let text = format!(
            "search.fs_uuid {} root\nset prefix=($root)'/boot/grub'\n",
            self.uuid("filesystem")
        );
        fs::write(&early, text).map_err(BuilderError::file(&early))?;
        let program = Program::new(&self.options.tools.grub_mkimage)
            .arg(format!("--format={target}"))
            .arg("--directory")
            .arg(self.options.grub.join(target))
            .args(["--config=early.cfg", "--prefix=/boot/grub"])
            .arg(format!("--output={output}"))
            .args(MODULES)
            .args(modules);
        self.run(program).await
    }

    async fn install_bios_boot(&self) -> Result<(), BuilderError> {
        self.link_grub("i386-pc", "core.img", &["biosdisk"]).await?;
        let boot = self.options.grub.join("i386-pc/boot.img");
        let core = self.path("core.img");
        let boot_code = fs::read(&boot).map_err(BuilderError::file(&boot))?;
        let core_code = fs::read(&core).map_err(BuilderError::file(&core))?;
        let room_bytes = (SYSTEM_FIRST - BIOS_FIRST) * SECTOR;
        let disk = self.path("disk.raw");
        self.open_disk()
            .and_then(|mut file| {
                boot_sector::install(&mut file, boot_code, core_code, BIOS_FIRST, room_bytes)
            })
            .map_err(BuilderError::file(&disk))
    }

    async fn install_uefi_boot(&self) -> Result<(), BuilderError> {
        self.link_grub("x86_64-efi", "BOOTX64.EFI", &["fat"])
            .await?;
        let tools = &self.options.tools;
        let esp = self.path("esp.raw");
        let sectors = ROOT_FIRST - SYSTEM_FIRST;
        File::create(&esp)
            .and_then(|file| file.set_len(sectors * SECTOR))
            .map_err(BuilderError::file(&esp))?;
        let serial = &Digest::hash_bytes(format!("{} serial", self.key)).hex()[..8];
        let programs = [
            Program::new(&tools.mformat)
                .args(["-i", "esp.raw", "-v", "ESP", "-N", serial])
                .arg("-T")
                .arg(sectors.to_string())
                .arg("::"),
            Program::new(&tools.mmd).args(["-i", "esp.raw", "::/EFI", "::/EFI/BOOT"]),
            Program::new(&tools.mcopy).args([
                "-i",
                "esp.raw",
                "-m",
                "BOOTX64.EFI",
                "::/EFI/BOOT/BOOTX64.EFI",
            ]),
        ];
        for program in programs {
            self.run(program).await?;
        }
        let disk = self.path("disk.raw");
        self.open_disk()
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(SYSTEM_FIRST * SECTOR))?;
                io::copy(&mut File::open(&esp)?, &mut file)
            })
            .map_err(BuilderError::file(&disk))?;
        Ok(())
    }

    async fn make_root(&self) -> Result<(), BuilderError> {
        let size_kib = (ROOT_LAST + 1 - ROOT_FIRST) * SECTOR / 1024;
        let program = isolation::root_shell(self.options, self.interrupt)
            .await?
            .arg("-s")
            .input(ROOT_SCRIPT)
            .env("MKE2FS", &self.options.tools.mke2fs)
            .env("ROOT_UUID", self.uuid("filesystem").to_string())
            .env("HASH_SEED", self.uuid("hash seed").to_string())
            .env("ROOT_LABEL", "vault-bake-root")
            .env("ROOT_OFFSET", (ROOT_FIRST * SECTOR).to_string())
            .env("ROOT_SIZE_KIB", size_kib.to_string());
        self.run(program).await
    }

    fn open_disk(&self) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.path("disk.raw"))
    }
}
