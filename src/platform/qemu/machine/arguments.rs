//! Makes the command line of a VM.
//! Takes the properties of the VM; returns QEMU's arguments, always in the same order.
//! Performs no I/O. Secrets are in files that the arguments name.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::accelerator::Accelerator;
use super::emulation::KEYS_PORT;
use crate::builder::Kernel;
use crate::platform::qemu::definition::{MachineSpec, Network};
use crate::ssh;

/// The UEFI firmware files of one VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uefi {
    /// The firmware code, read-only and shared.
    pub code: PathBuf,
    /// The firmware variables of this VM.
    pub vars: PathBuf,
}

/// The inputs of a VM's command line. Paths are absolute, or relative to the working directory of
/// QEMU.
#[derive(Clone, Debug)]
pub struct Arguments<'a> {
    /// A unique argument with the id of the run and the role, which identifies the process.
    pub marker: &'a str,
    /// Processors, memory and network.
    pub spec: &'a MachineSpec,
    /// KVM or emulation.
    pub accelerator: Accelerator,
    /// The disk that the VM writes to, a qcow2 file.
    pub overlay: &'a Path,
    /// The UEFI firmware; `None` means BIOS.
    pub uefi: Option<&'a Uefi>,
    /// The kernel for direct boot; `None` uses the boot loader on the disk.
    pub kernel: Option<&'a Kernel>,
    /// The file with an SMBIOS string of systemd credentials.
    pub credential: Option<&'a Path>,
    /// The disk image of a NoCloud seed.
    pub cloud_seed: Option<&'a Path>,
    /// The raw disk with the identity archive of a node.
    pub identity: Option<&'a Path>,
    /// The raw upload disk.
    pub upload: Option<&'a Path>,
    /// The file that receives the serial console.
    pub serial: &'a Path,
    /// The socket of the control connection.
    pub control: &'a Path,
    /// The socket of the serial port on which a running guest receives keys.
    pub keys: Option<&'a Path>,
    /// The socket from which QEMU reads the memory of a VM snapshot; `None` boots the VM.
    pub memory: Option<&'a Path>,
    /// The parts of a node; `None` for the VM of a build or boot test.
    pub node: Option<&'a NodeParts<'a>>,
}

/// The parts that only a VM in a cluster on this computer has. Its disk outlives the process.
#[derive(Clone, Debug)]
pub struct NodeParts<'a> {
    /// An argument that all processes of the cluster share.
    pub cluster: &'a str,
    /// The address of the node.
    pub address: Ipv4Addr,
    /// The gateway, from which forwarded connections come.
    pub gateway: Ipv4Addr,
    /// The length of the network's prefix in bits.
    pub prefix: u32,
    /// The ports of 127.0.0.1 on the host, by the port of the node that they lead to.
    pub forwards: &'a BTreeMap<u16, u16>,
    /// The socket of the node's card in the private network.
    pub socket: &'a Path,
    /// The socket of the switch for this node.
    pub switch: &'a Path,
}

/// A network card of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    /// The card in the private network of all nodes.
    Private,
    /// The card to the gateway, which this node shares with no other one.
    Gateway,
}

impl Card {
    /// Returns the hardware address of a node's card, which depends on the node's address.
    pub fn mac(self, address: Ipv4Addr) -> String {
        let card = match self {
            Self::Private => 0,
            Self::Gateway => 1,
        };
        let [_, second, third, last] = address.octets();
        format!("52:54:{card:02x}:{second:02x}:{third:02x}:{last:02x}")
    }
}

/// The name of a node's user-mode network in commands of the monitor.
pub(crate) const GATEWAY: &str = "gateway";

/// The name of a node's bus for virtual serial ports, which are added while it runs.
pub(crate) const SERIAL_BUS: &str = "logins";

impl Arguments<'_> {
    /// Returns the arguments, in order.
    pub fn list(&self) -> Vec<String> {
        let mut list = List::default();
        self.computer(&mut list);
        self.disks(&mut list);
        self.network(&mut list);
        if let Some(kernel) = self.kernel {
            // These options take a whole argument, so commas need no escape.
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
        if let Some(node) = self.node {
            list.add("-device", format!("virtio-serial-pci,id={SERIAL_BUS}"));
            list.add("-chardev", node.cluster);
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
        // The overlay of a run is deleted after it, so it need not survive a crash of the host.
        let cache = match self.node {
            Some(_) => "writeback",
            None => "unsafe",
        };
        let options = "if=none,id=disk,node-name=disk-0,format=qcow2";
        let overlay = escaped(self.overlay);
        list.add(
            "-drive",
            format!("{options},cache={cache},discard=unmap,detect-zeroes=unmap,file={overlay}"),
        );
        // A kernel for direct boot already has the first boot index.
        let boot_index = match self.kernel {
            Some(_) => "",
            None => ",bootindex=0",
        };
        list.add("-device", format!("virtio-blk-pci,drive=disk{boot_index}"));
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
        if let Some(node) = self.node {
            return node.network(list);
        }
        let restrict = match self.spec.network {
            Network::Outbound => "off",
            Network::None => "on",
        };
        // With port 0 the host chooses a free port, which QEMU reports later.
        list.add(
            "-netdev",
            format!("user,id=net,ipv6=off,restrict={restrict},hostfwd=tcp:127.0.0.1:0-:22"),
        );
        // Without the ROM of the network card, the firmware does not try to boot from the network.
        list.add("-device", "virtio-net-pci,netdev=net,romfile=");
    }
}

impl NodeParts<'_> {
    /// Adds both network cards of a node.
    ///
    /// A user-mode network answers packets for every address. So no other node may see the card to
    /// the gateway, and the private network has no gateway.
    fn network(&self, list: &mut List) {
        let (socket, switch) = (escaped(self.socket), escaped(self.switch));
        let private = format!(
            "dgram,id=private,local.type=unix,local.path={socket},remote.type=unix,remote.path={switch}"
        );
        let (address, gateway, prefix) = (self.address, self.gateway, self.prefix);
        let network = u32::from(gateway) & (u32::MAX << (32 - prefix));
        // Without an address of its own, the name server could have that of a node.
        let dns = Ipv4Addr::from(network);
        let forwards = self.forwards.iter();
        let forwards: String = forwards
            .map(|(to, from)| format!(",hostfwd=tcp:127.0.0.1:{from}-{address}:{to}"))
            .collect();
        let gateway = format!(
            "user,id={GATEWAY},net={dns}/{prefix},host={gateway},dns={dns},dhcpstart={address},\
             ipv6=off,restrict=on{forwards}"
        );
        for (card, netdev, id) in [
            (Card::Private, private, "private"),
            (Card::Gateway, gateway, GATEWAY),
        ] {
            list.add("-netdev", netdev);
            let mac = card.mac(address);
            list.add(
                "-device",
                format!("virtio-net-pci,netdev={id},romfile=,mac={mac}"),
            );
        }
    }
}

#[derive(Default)]
struct List(Vec<String>);

impl List {
    fn add(&mut self, option: &str, value: impl Into<String>) {
        self.0.push(option.to_owned());
        self.0.push(value.into());
    }
}

/// Escapes a path inside an option value: QEMU reads two commas as one.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
