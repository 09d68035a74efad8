//! VMs as nodes.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vault_bake::builder::{AccessBy, Content, Disk, DiskFile, Machine as _};
use vault_bake::definition::Firmware;
use vault_bake::digest::Digest;
use vault_bake::event::Events;
use vault_bake::platform::qemu::{QemuMachine, Tools};
use vault_bake::secret::Scrubber;
use vault_bake::ssh::{Archive, Keys, Reboot, Script, Session};
use vault_bake::wait::Interrupt;

use super::{Down, Network};
use crate::qemu::{BOOT_DEADLINE, VmHarness};

/// Gives the second network card of a node its address, by its number.
const ADDRESS: &str = "
mkdir -p /run/systemd/network
printf '[Match]\nMACAddress=52:54:00:77:00:0NUMBER\n\n[Network]\nAddress=10.77.0.NUMBER/24\n' >/run/systemd/network/05-cluster.network
networkctl reload
left=60
until ip -4 -o addr | grep -q 10.77.0.NUMBER/ || [ $left -eq 0 ]; do left=$((left - 1)); sleep 1; done
ip -4 -o addr | grep -o 10.77.0.NUMBER/
";

/// Starts the services again, for an identity that came after the boot.
const RESTART: &str = "
systemctl reset-failed
systemctl restart vault-bake-identity.service
systemctl start --no-block consul.service vault.service || systemctl start --no-block consul.service
";

/// Returns the captured disk at `artifact`, for a boot with its own firmware.
pub fn disk(artifact: &Path) -> Disk {
    let file = DiskFile {
        path: artifact.to_owned(),
        format: "qcow2".to_owned(),
        sha256: Digest::hash_file(artifact).expect("an artifact").0,
    };
    Disk {
        content: Content::File(file),
        // Each captured disk boots with both; this one takes less time.
        firmware: Firmware::Bios,
        access: AccessBy::Credentials,
        kernel: None,
    }
}

/// The VMs of one test, and their builder.
pub struct Machines {
    harness: VmHarness,
    network: Network,
    _folder: tempfile::TempDir,
}

/// A VM that is a node.
pub struct VmNode {
    /// `None` during a restart.
    session: Option<Session>,
    machine: QemuMachine,
    address: String,
    /// Its number on a shared network and its identity, until both are set.
    later: Option<(u8, Option<Vec<u8>>)>,
    keys: Keys,
    events: Events,
    interrupt: Interrupt,
}

impl Machines {
    pub fn begin(run: &str, network: Network) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut tools = Tools::default();
        if network == Network::Shared {
            tools.qemu_system = on_one_network(folder.path());
        }
        Some(Self {
            harness: VmHarness::begin_with(run, tools)?,
            network,
            _folder: folder,
        })
    }

    pub async fn start(&mut self, disk: &Disk, number: u8, identity: Option<Vec<u8>>) -> VmNode {
        // On a shared network it needs its address first.
        let (at_boot, later) = match self.network {
            Network::Separate => (identity, None),
            Network::Shared => (None, Some((number, identity))),
        };
        let role = format!("node-{number}");
        let booting = self.harness.boot_with(disk, &role, at_boot.as_deref());
        VmNode {
            session: None,
            machine: booting.await,
            // QEMU's user network gives each VM the same address.
            address: "10.0.2.15".to_owned(),
            later,
            keys: self.harness.keys.clone(),
            events: self.harness.events.clone(),
            interrupt: self.harness.interrupt.clone(),
        }
    }

    pub async fn finish(self) {
        self.harness.finish().await;
    }
}

impl VmNode {
    async fn connect(&mut self) {
        let endpoint = self.machine.endpoint();
        let died = async || self.machine.end().map(|end| end.to_string());
        let session = Session::connect(
            &endpoint,
            &self.keys,
            BOOT_DEADLINE,
            died,
            Scrubber::default(),
            &self.events,
            &self.interrupt,
        );
        self.session = Some(session.await.expect("it answers"));
    }

    pub async fn booted(&mut self) {
        self.connect().await;
        if let Some((number, identity)) = self.later.take() {
            let script = ADDRESS.replace("NUMBER", &number.to_string());
            assert_ne!(self.says(&script).await, "", "node {number} has no address");
            self.address = format!("10.77.0.{number}");
            if let Some(identity) = identity {
                self.put(identity).await;
                self.says(RESTART).await;
            }
        }
        self.wait_until_started().await;
    }

    fn session(&self) -> &Session {
        self.session.as_ref().expect("it is connected")
    }

    pub async fn says(&self, text: &str) -> String {
        let script = Script {
            name: "node".to_owned(),
            text: text.to_owned(),
            timeout: Duration::from_secs(300),
        };
        let output = self.session().capture(script, &self.interrupt).await;
        output.expect("it runs").text.trim().to_owned()
    }

    pub async fn put(&self, identity: Vec<u8>) {
        let folder = "/run/other-identity";
        let write = move |archive: &mut Archive<'_>| archive.bytes("seed", 0o600, &identity);
        let uploading = self
            .session()
            .upload(folder, None, write, &self.events, &self.interrupt);
        uploading.await.expect("it is uploaded");
        let link = "mkdir -p /dev/disk/by-id; ln -sfn /run/other-identity/seed /dev/disk/by-id/virtio-vault-bake-seed\n";
        self.says(link).await;
    }

    pub async fn restart(&mut self, down: Down) {
        let session = self.session.take().expect("it is connected");
        let machine = &mut self.machine;
        let mut restart = Reboot::default();
        if down == Down::Crash {
            restart.command = "(sleep 1; echo b >/proc/sysrq-trigger) >/dev/null 2>&1 &".to_owned();
        }
        let restarting = session.reboot(
            &restart,
            BOOT_DEADLINE,
            async || machine.end().map(|end| end.to_string()),
            &self.events,
            &self.interrupt,
        );
        self.session = Some(restarting.await.expect("it comes back"));
        self.wait_until_started().await;
    }

    /// Waits until each unit has started or failed.
    async fn wait_until_started(&self) {
        self.says("systemctl is-system-running --wait").await;
    }

    pub fn address(&self) -> String {
        self.address.clone()
    }
}

/// Returns a QEMU whose VMs share a second network: a multicast group on the loopback device.
fn on_one_network(folder: &Path) -> PathBuf {
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = port.expect("a free port").port();
    let script = format!(
        r#"#!/bin/sh
[ "$1" = -name ] || exec qemu-system-x86_64 "$@"
exec qemu-system-x86_64 "$@" -netdev socket,id=cluster,mcast=230.77.0.1:{port},localaddr=127.0.0.1 \
    -device "virtio-net-pci,netdev=cluster,romfile=,mac=52:54:00:77:00:0${{2##*-}}"
"#
    );
    let program = folder.join("qemu");
    fs::write(&program, script).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it may run");
    program
}
