//! The options of the QEMU builder: folders, programs, compression and limits.

use std::path::PathBuf;
use std::time::Duration;

use crate::builder::LayerCacheLimits;
use crate::platform::qemu::definition::Compression;

/// The options of the QEMU builder.
#[derive(Clone, Debug)]
pub struct QemuOptions {
    /// The folder of bases, images, layers and VM snapshots. It can be deleted while no build runs.
    pub cache: PathBuf,
    /// The OpenPGP keys that must sign the distribution's indexes. `None` uses the keys that
    /// `mmdebstrap` finds.
    pub keyring: Option<PathBuf>,
    /// The compression of artifacts.
    pub compression: Compression,
    /// The limits of the layer cache.
    pub layers: LayerCacheLimits,
    /// Whether emulated build VMs resume from VM snapshots, and whether new ones are saved. VM
    /// snapshots have the same greatest age as layers.
    pub use_snapshots: bool,
    /// The time limit for the shutdown of a guest before its disk is captured.
    pub shutdown_timeout: Duration,
    /// The programs that the builder runs.
    pub tools: Tools,
    /// The folder of GRUB's modules, with `i386-pc/` and `x86_64-efi/`.
    pub grub: PathBuf,
    /// Pairs of UEFI firmware files: code and variables. The first existing pair is used.
    pub ovmf: Vec<(PathBuf, PathBuf)>,
}

impl QemuOptions {
    /// Returns the defaults for Debian, with the cache folder `cache`.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        let pair = |code: &str, vars: &str| {
            let folder = PathBuf::from("/usr/share/OVMF");
            (folder.join(code), folder.join(vars))
        };
        Self {
            cache: cache.into(),
            keyring: None,
            compression: Compression::default(),
            layers: LayerCacheLimits::default(),
            use_snapshots: true,
            shutdown_timeout: Duration::from_secs(120),
            tools: Tools::default(),
            grub: PathBuf::from("/usr/lib/grub"),
            ovmf: vec![
                pair("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
                pair("OVMF_CODE.fd", "OVMF_VARS.fd"),
            ],
        }
    }
}

/// The programs that the builder runs: names in `PATH`, or paths.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Runs VMs.
    pub qemu_system: PathBuf,
    /// Makes, converts and checks disks.
    pub qemu_img: PathBuf,
    /// Installs a distribution's packages into a new root.
    pub mmdebstrap: PathBuf,
    /// Runs a program in new namespaces.
    pub unshare: PathBuf,
    /// Simulates file ownership by root for other users.
    pub fakeroot: PathBuf,
    /// Makes ext4 file systems.
    pub mke2fs: PathBuf,
    /// Writes partition tables.
    pub sgdisk: PathBuf,
    /// Makes FAT file systems.
    pub mformat: PathBuf,
    /// Makes folders in FAT file systems.
    pub mmd: PathBuf,
    /// Copies files into FAT file systems.
    pub mcopy: PathBuf,
    /// Links GRUB's modules into a boot image.
    pub grub_mkimage: PathBuf,
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            qemu_system: "qemu-system-x86_64".into(),
            qemu_img: "qemu-img".into(),
            mmdebstrap: "mmdebstrap".into(),
            unshare: "unshare".into(),
            fakeroot: "fakeroot".into(),
            // On Debian, the PATH of users other than root does not include the sbin folders.
            mke2fs: "/usr/sbin/mke2fs".into(),
            sgdisk: "/usr/sbin/sgdisk".into(),
            mformat: "mformat".into(),
            mmd: "mmd".into(),
            mcopy: "mcopy".into(),
            grub_mkimage: "grub-mkimage".into(),
        }
    }
}
