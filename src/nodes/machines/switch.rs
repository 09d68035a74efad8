//! Runs the private network of a cluster: a QEMU without a VM passes frames between the nodes.
//! Takes the addresses of nodes; each has a pair of Unix sockets, in a folder that only the user
//! can enter. A multicast network would be open to every user of this computer.
//!
//! The sockets have no connections, so nodes and switch can restart in any order.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde_json::json;

use super::super::{PlatformError, Site};
use super::cluster_argument;
use super::control::{self, CONTROL};
use crate::event::Events;
use crate::platform::qemu::qmp::Qmp;
use crate::process::{Program, end_of_log, with_argument};
use crate::wait::Interrupt;

/// The name of the folder with all sockets.
pub(super) const FOLDER: &str = "network";

const LOG: &str = "qemu.log";

/// The switch of a cluster.
pub(super) struct Switch<'a> {
    pub site: &'a Site,
    pub program: &'a std::path::Path,
}

impl Switch<'_> {
    /// Returns the names of the sockets between a node and the switch: the node's, the switch's.
    pub fn sockets(address: Ipv4Addr) -> (String, String) {
        let number = number(address);
        (format!("node-{number}"), format!("switch-{number}"))
    }

    /// Starts the switch, unless it runs, and connects these nodes.
    pub async fn open(
        &self,
        addresses: &[Ipv4Addr],
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        let folder = self.folder();
        control::make_folder(&folder)?;
        let _lock = control::lock(&folder.join("lock"), events, interrupt).await?;
        let mut qmp = match self.start(events, interrupt).await {
            // One that was killed can be seen a little longer, so the first try did not start one.
            Err(_) if with_argument(&self.marker()).is_empty() => {
                self.start(events, interrupt).await?
            }
            started => started?,
        };
        for address in addresses {
            let connected = connect(&mut qmp, *address).await;
            connected.map_err(PlatformError::control(ACTION))?;
        }
        Ok(())
    }

    /// Starts the process, unless it runs.
    async fn start(&self, events: &Events, interrupt: &Interrupt) -> Result<Qmp, PlatformError> {
        let (folder, marker) = (self.folder(), self.marker());
        if with_argument(&marker).is_empty() {
            let cluster = cluster_argument(self.site);
            let socket = format!("unix:{CONTROL},server=on,wait=off");
            let starting = Program::new(self.program)
                .args(["-name", &marker, "-nodefaults", "-no-user-config"])
                .args(["-machine", "none", "-display", "none"])
                .args(["-qmp", &socket, "-chardev", &cluster])
                .in_folder(&folder)
                .start_detached(&folder.join(LOG));
            starting.map_err(PlatformError::process(ACTION))?;
        }
        self.control(events, interrupt).await
    }

    /// Connects a node, unless it is connected.
    pub async fn connect(
        &self,
        address: Ipv4Addr,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        let mut qmp = self.control(events, interrupt).await?;
        let connected = connect(&mut qmp, address).await;
        connected.map_err(PlatformError::control(ACTION))
    }

    /// Ends the connection of a node, and removes its sockets.
    pub async fn disconnect(
        &self,
        address: Ipv4Addr,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        let mut qmp = self.control(events, interrupt).await?;
        for id in [hub(address), port(address)] {
            // Fails if it is not there.
            let _ = qmp.run("netdev_del", json!({ "id": id })).await;
        }
        let (node, switch) = Self::sockets(address);
        for socket in [node, switch] {
            let path = self.folder().join(socket);
            control::remove_file(&path).map_err(PlatformError::file(&path))?;
        }
        Ok(())
    }

    async fn control(&self, events: &Events, interrupt: &Interrupt) -> Result<Qmp, PlatformError> {
        let folder = self.folder();
        let opened = control::open(&folder, &self.marker(), events, interrupt).await;
        let log = end_of_log(&folder.join(LOG));
        opened.map_err(PlatformError::wait(ACTION, log))
    }

    fn folder(&self) -> PathBuf {
        self.site.folder.join(FOLDER)
    }

    fn marker(&self) -> String {
        format!("guest=vault-bake-network-{}", self.site.id)
    }
}

const ACTION: &str = "make the network of the nodes";

/// Adds a port for a node, and connects it with all other ports.
async fn connect(qmp: &mut Qmp, address: Ipv4Addr) -> std::io::Result<()> {
    let existing = qmp.run_human("info network").await?;
    let exists = |id: &str| existing.contains(&format!("{id}:"));
    let (port, hub) = (port(address), hub(address));
    let (node, switch) = Switch::sockets(address);
    if !exists(&port) {
        let (local, remote) = (
            json!({ "type": "unix", "path": switch }),
            json!({ "type": "unix", "path": node }),
        );
        let arguments = json!({ "type": "dgram", "id": port, "local": local, "remote": remote });
        qmp.run("netdev_add", arguments).await?;
    }
    if !exists(&hub) {
        let arguments = json!({ "type": "hubport", "id": hub, "hubid": 0, "netdev": port });
        qmp.run("netdev_add", arguments).await?;
    }
    Ok(())
}

/// Returns a number that only this node of a cluster has. Networks have 256 addresses at most.
fn number(address: Ipv4Addr) -> u8 {
    address.octets()[3]
}

fn port(address: Ipv4Addr) -> String {
    format!("port-{}", number(address))
}

fn hub(address: Ipv4Addr) -> String {
    format!("hub-{}", number(address))
}
