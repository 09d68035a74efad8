//! Starts the VM of a node from its folder, and makes what is missing there.

use std::fs;
use std::path::Path;

use super::super::files::write;
use super::super::{Node, PlatformError};
use super::control::{self, CONTROL};
use super::route::Record;
use super::switch::{self, Switch};
use super::{CONSOLE, IDENTITY, KIND, LOG, Machines, cluster_argument, guest, login};
use crate::definition::Firmware;
use crate::event::Events;
use crate::platform::qemu::machine::accelerator::Accelerator;
use crate::platform::qemu::machine::arguments::{Arguments, NodeParts, Uefi};
use crate::platform::qemu::{MachineSpec, Network};
use crate::process::Program;
use crate::ssh::Keys;
use crate::wait::Interrupt;

/// The memory of a node. Vault locks its memory, and Consul runs beside it.
const MEMORY_MIB: u32 = 768;

/// Names in the folder of a node.
const CREDENTIAL: &str = "credential";
const DISK: &str = "disk.qcow2";
const FIRMWARE_VARIABLES: &str = "firmware-variables.fd";

impl Machines {
    pub(in crate::nodes) async fn start(
        &self,
        node: &Node,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        if self.is_running(&node.name) {
            return Ok(());
        }
        let folder = self.node_folder(&node.name);
        control::make_folder(&folder)?;
        let record = Record::read(&folder)?;
        let mut record = record.unwrap_or_else(|| Record::new(node.address));
        record.keep_free_ports();
        record.write(&folder)?;
        self.make_disk(node, &folder, interrupt).await?;
        let uefi = self.firmware(node.firmware, &folder)?;
        self.put_identity(&node.name, &node.identity)?;
        let keys = Keys::generate();
        login::write_keys(&node.name, &folder, &keys)?;
        let credential = guest::credential(&node.name, node.address, &self.site, &keys);
        let credential_path = folder.join(CREDENTIAL);
        write(&credential_path, credential.expose().as_bytes())?;
        let (switch, action) = (self.switch(), format!("start node {}", node.name));
        switch.connect(node.address, events, interrupt).await?;
        let arguments = self.arguments(node, &record, uefi.as_ref());
        Program::new(&self.options.tools.qemu_system)
            .args(arguments)
            .in_folder(&folder)
            .start_detached(&folder.join(LOG))
            .map_err(PlatformError::process(action.clone()))?;
        self.control(&node.name, &action, events, interrupt).await?;
        // It contains a private key, and QEMU has already read it.
        fs::remove_file(&credential_path).map_err(PlatformError::file(&credential_path))
    }

    /// Makes the disk of a node, unless it exists.
    async fn make_disk(
        &self,
        node: &Node,
        folder: &Path,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        let (disk, part) = (folder.join(DISK), folder.join("disk.part"));
        if disk.exists() {
            return Ok(());
        }
        let making = Program::new(&self.options.tools.qemu_img)
            .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
            .args([&control::absolute(&node.disk)?, &part])
            .run(interrupt);
        let action = format!("make the disk of node {}", node.name);
        making.await.map_err(PlatformError::process(action))?;
        fs::rename(&part, &disk).map_err(PlatformError::file(&disk))
    }

    /// Returns the firmware of a node, whose variables are kept in its folder.
    fn firmware(&self, firmware: Firmware, folder: &Path) -> Result<Option<Uefi>, PlatformError> {
        if firmware == Firmware::Bios {
            return Ok(None);
        }
        let mut pairs = self.options.ovmf.iter();
        let pair = pairs.find(|(code, variables)| code.is_file() && variables.is_file());
        let (code, variables) = pair.ok_or_else(|| PlatformError::Unavailable {
            platform: KIND,
            why: "the UEFI firmware is missing".to_owned(),
            hint: "Run `apt-get install ovmf`.".to_owned(),
        })?;
        let copy = folder.join(FIRMWARE_VARIABLES);
        if !copy.exists() {
            let content = fs::read(variables).map_err(PlatformError::file(variables))?;
            write(&copy, &content)?;
        }
        Ok(Some(Uefi {
            code: code.clone(),
            vars: FIRMWARE_VARIABLES.into(),
        }))
    }

    /// Returns the command line of a node's VM, which runs in the node's folder.
    fn arguments(&self, node: &Node, record: &Record, uefi: Option<&Uefi>) -> Vec<String> {
        let (socket, switch) = Switch::sockets(node.address);
        let between = Path::new("../..").join(switch::FOLDER);
        let cluster = cluster_argument(&self.site);
        let cpus = match self.accelerator {
            Accelerator::Kvm => 2,
            // Nothing runs at the same time, so one thread is enough.
            Accelerator::Tcg | Accelerator::TcgOneThread => 1,
        };
        let parts = NodeParts {
            cluster: &cluster,
            address: node.address,
            gateway: self.site.gateway,
            prefix: self.site.prefix,
            forwards: &record.forwards,
            socket: &between.join(socket),
            switch: &between.join(switch),
        };
        let arguments = Arguments {
            marker: &self.node_marker(&node.name),
            spec: &MachineSpec {
                cpus,
                memory_mib: MEMORY_MIB,
                disk_gib: 0,
                network: Network::None,
                boot_timeout_s: 0,
            },
            accelerator: self.accelerator,
            overlay: Path::new(DISK),
            uefi,
            kernel: None,
            credential: Some(Path::new(CREDENTIAL)),
            cloud_seed: None,
            identity: Some(Path::new(IDENTITY)),
            upload: None,
            serial: Path::new(CONSOLE),
            control: Path::new(CONTROL),
            keys: None,
            memory: None,
            node: Some(&parts),
        };
        arguments.list()
    }
}
