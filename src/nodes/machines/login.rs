//! Logs in to a running node as root, by a virtual serial port that exists for one login.
//! Takes a node's name; returns a session, or the command line of an interactive shell.
//! Each start of a node has keys of its own, in files that only the user can read.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::PlatformError;
use super::super::files::write;
use super::guest::LOGIN;
use super::{Machines, control};
use crate::event::Events;
use crate::platform::qemu::machine::arguments::SERIAL_BUS;
use crate::platform::qemu::qmp::Qmp;
use crate::secret::{Scrubber, Secret};
use crate::ssh::{ConnectionTimeouts, Connector, Endpoint, Keys, Script, SshError};
use crate::wait::{Interrupt, Poll, Wait, pause_for};

/// Limit for a server on a new port, from the start of a node. An emulated boot takes two minutes.
const PORT_TIMEOUT: Duration = Duration::from_secs(300);

/// Limit for one try. Until a node has the files of its boot, it ignores a new port.
const TRY_TIMEOUT: Duration = Duration::from_secs(30);

/// Limits of a login. Its server is ready, so the first try waits for it.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(90);
const BANNER_TIMEOUT: Duration = Duration::from_secs(60);

/// Limit for a script.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(300);

/// Names in the folder of a node.
const KEY: &str = "login-key";
const PUBLIC_KEY: &str = "login-key.pub";
const KNOWN_HOSTS: &str = "known-hosts";
const LOCK: &str = "login.lock";
const LAST: &str = "login-last";

/// The start of the ids of ports in QEMU.
const ID: &str = "login-";

/// The highest number of a port on the bus of QEMU. Number 0 is for a console.
const LAST_PORT: usize = 30;

/// Limit for the end of a port in QEMU, which releases its socket a moment after the port.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(5);
const REMOVAL_PAUSE: Duration = Duration::from_millis(50);

/// A virtual serial port of a node.
struct Port {
    id: String,
    /// The address on this computer that leads to it.
    address: SocketAddr,
    /// Whether a server in the node has it open.
    is_open: bool,
    /// Whether a client is connected.
    is_used: bool,
}

impl Machines {
    pub(in crate::nodes) async fn run_script(
        &self,
        name: &str,
        script: &str,
        interrupt: &Interrupt,
    ) -> Result<String, PlatformError> {
        let action = format!("run a script in node {name}");
        let port = self.add_port(name, &action, interrupt).await?;
        let script = Script {
            name: name.to_owned(),
            text: script.to_owned(),
            timeout: SCRIPT_TIMEOUT,
        };
        let keys = read_keys(&self.node_folder(name))?;
        let output = self.output(name, &port, &keys, script, interrupt).await;
        // An error here would hide that of the script.
        let _ = self.remove_port(name, &port, &action, interrupt).await;
        output.map_err(PlatformError::ssh(action))
    }

    async fn output(
        &self,
        name: &str,
        port: &Port,
        keys: &Keys,
        script: Script,
        interrupt: &Interrupt,
    ) -> Result<String, SshError> {
        let endpoint = Endpoint {
            address: port.address,
            user: "root".to_owned(),
        };
        let timeouts = ConnectionTimeouts {
            banner: BANNER_TIMEOUT,
            ..ConnectionTimeouts::default()
        };
        let connector = Connector::new(&endpoint, keys, Scrubber::default())?;
        let died = async || (!self.is_running(name)).then(|| "QEMU ended".to_owned());
        let (connector, silent) = (connector.with_timeouts(timeouts), Events::silent());
        let session = connector.connect(LOGIN_TIMEOUT, died, &silent, interrupt);
        session.await?.output(script, interrupt).await
    }

    /// Returns the command line of an interactive shell. It needs the program `ssh`.
    ///
    /// Its port stays for the next shell, until the node restarts.
    pub(in crate::nodes) async fn shell(
        &self,
        name: &str,
        interrupt: &Interrupt,
    ) -> Result<Vec<String>, PlatformError> {
        let action = format!("enter node {name}");
        let mut ports = self.ports(name, &action, interrupt).await?.into_iter();
        let port = match ports.find(|port| port.is_open && !port.is_used) {
            Some(port) => port,
            None => self.add_port(name, &action, interrupt).await?,
        };
        let folder = self.node_folder(name);
        let path = |file: &str| folder.join(file).display().to_string();
        let known_hosts = format!("UserKnownHostsFile=\"{}\"", path(KNOWN_HOSTS));
        let alias = format!("HostKeyAlias={name}");
        let (key, number) = (path(KEY), port.address.port().to_string());
        let mut command = vec!["ssh", "-t", "-F", "none", "-i", &key, "-p", &number];
        for option in [
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            // Without a server, no banner comes.
            "ConnectTimeout=30",
            &known_hosts,
            &alias,
        ] {
            command.extend(["-o", option]);
        }
        command.extend(["root@127.0.0.1", "/bin/bash"]);
        Ok(command.into_iter().map(ToOwned::to_owned).collect())
    }

    /// Adds a port until a server in the node has opened one. Returns that one.
    async fn add_port(
        &self,
        name: &str,
        action: &str,
        interrupt: &Interrupt,
    ) -> Result<Port, PlatformError> {
        let (folder, silent) = (self.node_folder(name), Events::silent());
        // Ports that are not open are removed, so only one process at a time waits for a new one.
        let _lock = control::lock(&folder.join(LOCK), &silent, interrupt).await?;
        let wait = Wait::new(format!("a server on a port of {name}"), PORT_TIMEOUT);
        let waiting = wait.until(&silent, interrupt, || async {
            if !self.is_running(name) {
                return Poll::Never(io::Error::other("it does not run"));
            }
            match self.try_port(name, action, interrupt).await {
                Ok(port) => Poll::Ready(port),
                Err(error) => Poll::NotYet(error.to_string()),
            }
        });
        let waited = waiting.await;
        waited.map_err(|error| PlatformError::wait(action, self.console(name))(error))
    }

    async fn try_port(
        &self,
        name: &str,
        action: &str,
        interrupt: &Interrupt,
    ) -> Result<Port, PlatformError> {
        let silent = Events::silent();
        let mut qmp = self.control(name, action, &silent, interrupt).await?;
        let added = add(&mut qmp, &self.node_folder(name))
            .await
            .map_err(PlatformError::control(action))?;
        drop(qmp);
        let wait = Wait::new(format!("a server on port {}", added.id), TRY_TIMEOUT);
        let waiting = wait.until(&silent, interrupt, || async {
            let ports = match self.ports(name, action, interrupt).await {
                Ok(ports) => ports,
                Err(error) => return Poll::Never(io::Error::other(error)),
            };
            let mut ports = ports.into_iter().filter(|port| port.id == added.id);
            match ports.next() {
                Some(port) if port.is_open => Poll::Ready(port),
                _ => Poll::NotYet("it is closed".to_owned()),
            }
        });
        waiting
            .await
            .map_err(PlatformError::wait(action, Vec::new()))
    }

    async fn remove_port(
        &self,
        name: &str,
        port: &Port,
        action: &str,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        let mut qmp = self
            .control(name, action, &Events::silent(), interrupt)
            .await?;
        let removed = remove(&mut qmp, &port.id).await;
        removed.map_err(PlatformError::control(action))
    }

    async fn ports(
        &self,
        name: &str,
        action: &str,
        interrupt: &Interrupt,
    ) -> Result<Vec<Port>, PlatformError> {
        let mut qmp = self
            .control(name, action, &Events::silent(), interrupt)
            .await?;
        ports(&mut qmp)
            .await
            .map_err(PlatformError::control(action))
    }
}

/// Adds a port, and removes those without a server.
async fn add(qmp: &mut Qmp, folder: &Path) -> io::Result<Port> {
    let (used, unused): (Vec<_>, Vec<_>) =
        ports(qmp).await?.into_iter().partition(|port| port.is_open);
    for port in unused {
        remove(qmp, &port.id).await?;
    }
    let (id, number) = next_id(folder, &used)?;
    let address = json!({ "type": "inet", "data": { "host": "127.0.0.1", "port": "0" } });
    let socket = json!({ "addr": address, "server": true, "wait": false, "nodelay": true });
    let backend = json!({ "type": "socket", "data": socket });
    let chardev = json!({ "id": id, "backend": backend });
    qmp.run("chardev-add", chardev).await?;
    let device = json!({
        "driver": "virtserialport", "bus": format!("{SERIAL_BUS}.0"), "id": id, "chardev": id,
        "nr": number, "name": format!("{LOGIN}-{id}"),
    });
    qmp.run("device_add", device).await?;
    let added = ports(qmp).await?.into_iter().find(|port| port.id == id);
    added.ok_or_else(|| io::Error::other("QEMU does not list the new port"))
}

/// Returns the id and the number of the next port.
///
/// Numbers are used in turn: the device in the node has the number in its name, and systemd drops
/// the start of a unit for it while the last one of the same name still stops.
fn next_id(folder: &Path, used: &[Port]) -> io::Result<(String, usize)> {
    let file = folder.join(LAST);
    let last = fs::read_to_string(&file).ok();
    let last: usize = last.and_then(|text| text.parse().ok()).unwrap_or(0);
    let numbers = (0..LAST_PORT).map(|step| (last + step) % LAST_PORT + 1);
    let mut ids = numbers.map(|number| (format!("{ID}{number}"), number));
    let next = ids.find(|(id, _)| used.iter().all(|port| port.id != *id));
    let (id, number) = next.ok_or_else(|| io::Error::other("all ports for logins are used"))?;
    fs::write(&file, number.to_string())?;
    Ok((id, number))
}

/// Removes a port. The server in the node ends.
async fn remove(qmp: &mut Qmp, id: &str) -> io::Result<()> {
    // Fails if an earlier removal was interrupted.
    let _ = qmp.run("device_del", json!({ "id": id })).await;
    let began = Instant::now();
    loop {
        match qmp.run("chardev-remove", json!({ "id": id })).await {
            Err(_busy) if began.elapsed() < REMOVAL_TIMEOUT => {
                pause_for(REMOVAL_PAUSE).await;
            }
            removed => return removed.map(drop),
        }
    }
}

async fn ports(qmp: &mut Qmp) -> io::Result<Vec<Port>> {
    let sockets = qmp.run("query-chardev", json!({})).await?;
    let devices = qmp
        .run("qom-list", json!({ "path": "/machine/peripheral" }))
        .await?;
    let [sockets, devices] =
        [&sockets, &devices].map(|list| list.as_array().map(Vec::as_slice).unwrap_or_default());
    let mut ports: Vec<Port> = sockets.iter().filter_map(port).collect();
    for port in &mut ports {
        // A socket may outlive its device.
        port.is_open &= devices
            .iter()
            .any(|device| device["name"] == port.id.as_str());
    }
    Ok(ports)
}

/// Reads a character device like `disconnected:tcp:127.0.0.1:42027,server=on`.
fn port(device: &Value) -> Option<Port> {
    let id = device["label"]
        .as_str()
        .filter(|label| label.starts_with(ID))?;
    let (state, address) = device["filename"].as_str()?.split_once("tcp:")?;
    let address = address.split_once(',')?.0;
    Some(Port {
        id: id.to_owned(),
        address: address.parse().ok()?,
        is_open: device["frontend-open"].as_bool()?,
        is_used: state.is_empty(),
    })
}

/// Writes the keys for logins, except the private host key, which only the node needs.
pub(super) fn write_keys(name: &str, folder: &Path, keys: &Keys) -> Result<(), PlatformError> {
    let known_host = format!("{name} {}\n", keys.host_public);
    let public = format!("{}\n", keys.user_public);
    for (file, content) in [
        (KEY, keys.user_private.expose()),
        (PUBLIC_KEY, &public),
        (KNOWN_HOSTS, &known_host),
    ] {
        write(&folder.join(file), content.as_bytes())?;
    }
    Ok(())
}

fn read_keys(folder: &Path) -> Result<Keys, PlatformError> {
    let read = |file: &str| {
        let path = folder.join(file);
        fs::read_to_string(&path).map_err(PlatformError::file(&path))
    };
    let known_host = read(KNOWN_HOSTS)?;
    let host_public = known_host.trim_end().split_once(' ');
    Ok(Keys {
        host_private: Secret::new(""),
        host_public: host_public.unwrap_or_default().1.to_owned(),
        user_private: Secret::new(read(KEY)?),
        user_public: read(PUBLIC_KEY)?.trim_end().to_owned(),
    })
}
