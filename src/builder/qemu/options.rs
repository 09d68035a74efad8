//! What of the QEMU builder its user may choose: folders, programs, compression.
//!
//! In: the caller's wishes. Out: values that the other modules read. Deliberately looks at nothing by itself.

use std::path::PathBuf;
use std::time::Duration;

use crate::builder::LayerRules;
use crate::definition::Compression;

/// How the QEMU builder works on this computer.
#[derive(Clone, Debug)]
pub struct QemuOptions {
    /// Where bases and downloaded images are kept. Can be deleted whenever no bake runs.
    pub cache: PathBuf,
    /// OpenPGP keys that the distribution's indexes must be signed with; none means those that `mmdebstrap` finds.
    pub keyring: Option<PathBuf>,
    /// How artifacts are compressed.
    pub compression: Compression,
    /// Which layers of earlier bakes are used, and how many are kept.
    pub layers: LayerRules,
    /// Whether emulated machines that images are made in resume from where one like them was suspended, and the first of a kind is
    /// kept for that. Those that are kept have the greatest age of layers.
    pub suspend: bool,
    /// How long a guest may take to shut down when its disk is to be captured.
    pub shutdown_timeout: Duration,
    /// The programs.
    pub tools: Tools,
    /// Folder of GRUB's modules; has `i386-pc/` and `x86_64-efi/`.
    pub grub: PathBuf,
    /// Pairs of UEFI firmware, code and variables; the first pair that exists is used.
    pub ovmf: Vec<(PathBuf, PathBuf)>,
}

impl QemuOptions {
    /// Debian's paths, zstd, and `cache`.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        let pair = |code: &str, vars: &str| {
            let folder = PathBuf::from("/usr/share/OVMF");
            (folder.join(code), folder.join(vars))
        };
        Self {
            cache: cache.into(),
            keyring: None,
            compression: Compression::default(),
            layers: LayerRules::default(),
            suspend: true,
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

/// The programs that the builder starts: names to be found by `PATH`, or paths.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Runs machines.
    pub qemu_system: PathBuf,
    /// Makes, converts and checks disks.
    pub qemu_img: PathBuf,
    /// Installs a distribution's packages into a new root.
    pub mmdebstrap: PathBuf,
    /// Gives a program namespaces of its own.
    pub unshare: PathBuf,
    /// Lets us own files as root would, without being root.
    pub fakeroot: PathBuf,
    /// Makes ext4 file systems.
    pub mke2fs: PathBuf,
    /// Writes partition tables.
    pub sgdisk: PathBuf,
    /// Makes FAT file systems.
    pub mformat: PathBuf,
    /// Makes folders in them.
    pub mmd: PathBuf,
    /// Copies files into them.
    pub mcopy: PathBuf,
    /// Links GRUB's modules.
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
            // Debian leaves the sbin folders out of the search path of users other than root.
            mke2fs: "/usr/sbin/mke2fs".into(),
            sgdisk: "/usr/sbin/sgdisk".into(),
            mformat: "mformat".into(),
            mmd: "mmd".into(),
            mcopy: "mcopy".into(),
            grub_mkimage: "grub-mkimage".into(),
        }
    }
}
