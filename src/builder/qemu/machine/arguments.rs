//! The command line of a machine.
//!
//! In: what the machine is to be. Out: QEMU's arguments, always in the same order. Deliberately pure, and without any
//! secret: those are in files that arguments name.

use std::path::{Path, PathBuf};

use crate::builder::Kernel;
use crate::definition::{MachineSpec, Network};
use crate::ssh;

/// How the guest's processors run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// On this computer's own, through its kernel.
    Kvm,
    /// Translated: works everywhere, several times slower.
    Tcg,
}

impl Accelerator {
    /// The values of `-accel` and `-cpu`. Emulated processors lack three things that real ones are faster with: with `erms` and
    /// `fsrm` the guest copies by one instruction that is translated to a loop over bytes (twice the time), `la57` makes
    /// each look-up of a page a step longer.
    pub fn options(self) -> (&'static str, &'static str) {
        match self {
            Self::Kvm => ("kvm", "host"),
            Self::Tcg => (
                "tcg,thread=multi,tb-size=512",
                "max,erms=off,fsrm=off,la57=off",
            ),
        }
    }
}

/// UEFI firmware of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uefi {
    /// The firmware; shared, never written.
    pub code: PathBuf,
    /// The machine's own variables.
    pub vars: PathBuf,
}

/// All that decides a machine's command line. Paths are relative to the folder that QEMU is started in, or absolute.
#[derive(Clone, Debug)]
pub struct Arguments<'a> {
    /// The one argument that only this machine has: the run's id and the role.
    pub marker: &'a str,
    /// Processors, memory, network.
    pub spec: &'a MachineSpec,
    /// How processors run.
    pub accelerator: Accelerator,
    /// The disk that the machine writes to, a qcow2 file.
    pub overlay: &'a Path,
    /// UEFI firmware; none means BIOS.
    pub uefi: Option<&'a Uefi>,
    /// The disk's kernel, to be started at once.
    pub kernel: Option<&'a Kernel>,
    /// File of an SMBIOS string with systemd credentials.
    pub credential: Option<&'a Path>,
    /// Image of a NoCloud seed.
    pub cloud_seed: Option<&'a Path>,
    /// Raw disk with a node's identity.
    pub identity: Option<&'a Path>,
    /// Raw disk that uploads go by.
    pub upload: Option<&'a Path>,
    /// File that the serial console is written to.
    pub serial: &'a Path,
    /// The control connection's socket.
    pub control: &'a Path,
    /// The socket of a serial port that the guest takes keys from, once it runs.
    pub keys: Option<&'a Path>,
    /// The socket that the memory of a machine of the same kind is to come by; without one it starts as computers do.
    pub memory: Option<&'a Path>,
}

impl Arguments<'_> {
    /// The arguments, in order.
    pub fn list(&self) -> Vec<String> {
        let mut list = List::default();
        self.computer(&mut list);
        self.disks(&mut list);
        self.network(&mut list);
        if let Some(kernel) = self.kernel {
            // These are whole values of theirs: commas mean nothing in them.
            list.add("-kernel", kernel.image.display().to_string());
            list.add("-initrd", kernel.initrd.display().to_string());
            list.add("-append", kernel.arguments.clone());
        }
        if let Some(path) = self.credential {
            list.add("-smbios", format!("type=11,path={}", escaped(path)));
        }
        if let Some(path) = self.keys {
            let path = escaped(path);
            list.add("-device", "virtio-serial-pci");
            list.add(
                "-chardev",
                format!("socket,id=keys,path={path},server=on,wait=off"),
            );
            list.add(
                "-device",
                format!("virtserialport,chardev=keys,name={KEYS_PORT}"),
            );
        }
        if let Some(path) = self.memory {
            list.add("-incoming", format!("unix:{}", path.display()));
        }
        list.0
    }

    fn computer(&self, list: &mut List) {
        list.add("-name", self.marker);
        list.0.push("-nodefaults".into());
        list.0.push("-no-user-config".into());
        list.add("-machine", "q35,graphics=off");
        let (accelerator, cpu) = self.accelerator.options();
        list.add("-accel", accelerator);
        list.add("-cpu", cpu);
        list.add("-smp", self.spec.cpus.to_string());
        list.add("-m", self.spec.memory_mib.to_string());
        list.add("-display", "none");
        list.add("-vga", "none");
        list.add("-serial", format!("file:{}", escaped(self.serial)));
        let control = escaped(self.control);
        list.add("-qmp", format!("unix:{control},server=on,wait=off"));
        list.add("-device", "virtio-rng-pci");
        list.add("-device", "pvpanic");
    }

    fn disks(&self, list: &mut List) {
        if let Some(uefi) = self.uefi {
            for (unit, readonly, file) in [(0, "on", &uefi.code), (1, "off", &uefi.vars)] {
                let file = escaped(file);
                list.add(
                    "-drive",
                    format!("if=pflash,unit={unit},format=raw,readonly={readonly},file={file}"),
                );
            }
        }
        // The overlay goes with the run: nothing of it needs to survive a crash of this computer.
        let options = "if=none,id=disk,node-name=disk-0,format=qcow2,cache=unsafe,discard=unmap,detect-zeroes=unmap";
        let overlay = escaped(self.overlay);
        list.add("-drive", format!("{options},file={overlay}"));
        // A kernel of its own is the first thing to start; two cannot be.
        let place = match self.kernel {
            Some(_) => "",
            None => ",bootindex=0",
        };
        list.add("-device", format!("virtio-blk-pci,drive=disk{place}"));
        let read_only = [
            ("cloud", "vault-bake-cloud", self.cloud_seed),
            ("seed", "vault-bake-seed", self.identity),
            ("upload", ssh::UPLOAD_DISK, self.upload),
        ];
        for (id, serial, path) in read_only {
            let Some(path) = path else { continue };
            let file = escaped(path);
            list.add(
                "-drive",
                format!("if=none,id={id},format=raw,readonly=on,file={file}"),
            );
            list.add(
                "-device",
                format!("virtio-blk-pci,drive={id},serial={serial}"),
            );
        }
    }

    fn network(&self, list: &mut List) {
        let restrict = match self.spec.network {
            Network::Outbound => "off",
            Network::None => "on",
        };
        // Port 0 lets the system choose; QEMU tells which it was.
        list.add(
            "-netdev",
            format!("user,id=net,ipv6=off,restrict={restrict},hostfwd=tcp:127.0.0.1:0-:22"),
        );
        // Without its ROM the firmware does not try to boot from the network.
        list.add("-device", "virtio-net-pci,netdev=net,romfile=");
    }
}

/// The name of the serial port in the guest: `/dev/virtio-ports/…`.
pub(super) const KEYS_PORT: &str = "vault-bake-keys";

/// Arguments so far.
#[derive(Default)]
struct List(Vec<String>);

impl List {
    fn add(&mut self, option: &str, value: impl Into<String>) {
        self.0.push(option.to_owned());
        self.0.push(value.into());
    }
}

/// A path within an option: QEMU reads two commas as one.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
