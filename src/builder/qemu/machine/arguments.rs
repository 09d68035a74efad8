//! The command line of a machine.
//!
//! In: what the machine is to be. Out: QEMU's arguments, always in the same order. Deliberately pure, and without any
//! secret: those are in files that arguments name.

use std::path::{Path, PathBuf};

use crate::definition::{MachineSpec, Network};

/// How the guest's processors run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// On this computer's own, through its kernel.
    Kvm,
    /// Translated: works everywhere, several times slower.
    Tcg,
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
    /// File of an SMBIOS string with systemd credentials.
    pub credential: Option<&'a Path>,
    /// Image of a NoCloud seed.
    pub cloud_seed: Option<&'a Path>,
    /// Raw disk with a node's identity.
    pub identity: Option<&'a Path>,
    /// File that the serial console is written to.
    pub serial: &'a Path,
    /// The control connection's socket.
    pub control: &'a Path,
}

impl Arguments<'_> {
    /// The arguments, in order.
    pub fn list(&self) -> Vec<String> {
        let mut list = Vec::new();
        let mut add = |option: &str, value: String| {
            list.push(option.to_owned());
            if !value.is_empty() {
                list.push(value);
            }
        };
        add("-name", self.marker.to_owned());
        add("-nodefaults", String::new());
        add("-no-user-config", String::new());
        add("-machine", "q35,graphics=off".into());
        let (accelerator, cpu) = match self.accelerator {
            Accelerator::Kvm => ("kvm", "host"),
            Accelerator::Tcg => ("tcg,thread=multi,tb-size=512", "max"),
        };
        add("-accel", accelerator.into());
        add("-cpu", cpu.into());
        add("-smp", self.spec.cpus.to_string());
        add("-m", self.spec.memory_mib.to_string());
        add("-display", "none".into());
        add("-vga", "none".into());
        add("-serial", format!("file:{}", escaped(self.serial)));
        add(
            "-qmp",
            format!("unix:{},server=on,wait=off", escaped(self.control)),
        );
        add("-device", "virtio-rng-pci".into());
        add("-device", "pvpanic".into());
        if let Some(uefi) = self.uefi {
            let flash = |unit: u8, file: &Path, readonly: &str| {
                format!(
                    "if=pflash,unit={unit},format=raw,readonly={readonly},file={}",
                    escaped(file)
                )
            };
            add("-drive", flash(0, &uefi.code, "on"));
            add("-drive", flash(1, &uefi.vars, "off"));
        }
        add(
            "-drive",
            format!(
                "if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,detect-zeroes=unmap,file={}",
                escaped(self.overlay)
            ),
        );
        add("-device", "virtio-blk-pci,drive=disk,bootindex=0".into());
        let read_only = [
            ("cloud", "vault-bake-cloud", self.cloud_seed),
            ("seed", "vault-bake-seed", self.identity),
        ];
        for (id, serial, path) in read_only {
            let Some(path) = path else { continue };
            add(
                "-drive",
                format!(
                    "if=none,id={id},format=raw,readonly=on,file={}",
                    escaped(path)
                ),
            );
            add(
                "-device",
                format!("virtio-blk-pci,drive={id},serial={serial}"),
            );
        }
        let restrict = match self.spec.network {
            Network::Outbound => "off",
            Network::None => "on",
        };
        // Port 0 lets the system choose; QEMU tells which it was.
        add(
            "-netdev",
            format!("user,id=net,ipv6=off,restrict={restrict},hostfwd=tcp:127.0.0.1:0-:22"),
        );
        // Without its ROM the firmware does not try to boot from the network.
        add("-device", "virtio-net-pci,netdev=net,romfile=".into());
        if let Some(path) = self.credential {
            add("-smbios", format!("type=11,path={}", escaped(path)));
        }
        list
    }
}

/// A path within an option: QEMU reads two commas as one.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
