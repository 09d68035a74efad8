//! Forwards ports of this computer to nodes, and keeps the record of a node in its folder.
//! A connection by such a port comes from the gateway of the node's network.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::PlatformError;
use super::Machines;
use crate::event::Events;
use crate::platform::qemu::machine::arguments::GATEWAY;
use crate::platform::qemu::qmp::{Forward, Qmp};
use crate::wait::Interrupt;

/// The name of the file in the folder of a node.
const FILE: &str = "node.json";

/// What other processes must know of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The address on the private network.
    pub address: Ipv4Addr,
    /// The ports of 127.0.0.1, by the port of the node that they lead to.
    pub forwards: BTreeMap<u16, u16>,
}

impl Record {
    pub fn new(address: Ipv4Addr) -> Self {
        Self {
            address,
            forwards: BTreeMap::new(),
        }
    }

    /// Reads the record in the folder of a node. Returns `None` if there is none.
    pub fn read(folder: &Path) -> Result<Option<Self>, PlatformError> {
        let path = folder.join(FILE);
        let read = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error),
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other),
        };
        read.map(Some).map_err(PlatformError::file(&path))
    }

    pub fn write(&self, folder: &Path) -> Result<(), PlatformError> {
        let path = folder.join(FILE);
        let text = serde_json::to_vec(self).expect("a record is JSON");
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&text)?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(PlatformError::file(&path))
    }

    /// Forgets the ports of this computer that another program has meanwhile.
    pub fn keep_free_ports(&mut self) {
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        self.forwards.retain(|_, port| is_free(*port));
    }

    /// Forwards a port of this computer to a port of the running node, unless one is. Returns it.
    pub async fn forward(&mut self, to: u16, qmp: &mut Qmp) -> io::Result<u16> {
        let guest = SocketAddrV4::new(self.address, to);
        let leads_there = |one: &Forward| one.guest == guest;
        let mut refusal = String::new();
        if !qmp.forwards().await?.iter().any(leads_there) {
            // With port 0 the host chooses a free port.
            let command = format!(
                "hostfwd_add {GATEWAY} tcp:127.0.0.1:0-{}:{to}",
                self.address
            );
            refusal = qmp.run_human(&command).await?;
        }
        let found = qmp.forwards().await?.into_iter().find(leads_there);
        let found = found.ok_or_else(|| io::Error::other(refusal))?;
        self.forwards.insert(to, found.host_port);
        Ok(found.host_port)
    }
}

impl Machines {
    /// Returns the address on this computer that leads to a port of a node.
    ///
    /// It stays the same when the node restarts, unless another program has the port then.
    pub(in crate::nodes) async fn route(
        &self,
        to: SocketAddr,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<SocketAddr, PlatformError> {
        let action = format!("reach {to}");
        let mut records = self.records()?.into_iter();
        let found = records.find(|(_, record)| to.ip() == record.address);
        let (name, record) = found.ok_or_else(|| PlatformError::Wait {
            action: action.clone(),
            why: "no node has this address".to_owned(),
            console: Vec::new(),
        })?;
        let port = match record.forwards.get(&to.port()) {
            Some(port) => *port,
            None => {
                let mut qmp = self.control(&name, &action, events, interrupt).await?;
                let folder = self.node_folder(&name);
                // Another process may have added one before this one was connected.
                let mut record = Record::read(&folder)?.unwrap_or(record);
                let added = record.forward(to.port(), &mut qmp).await;
                let added = added.map_err(PlatformError::control(action))?;
                record.write(&folder)?;
                added
            }
        };
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }
}
