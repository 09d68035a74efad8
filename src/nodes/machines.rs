//! Runs nodes as QEMU VMs, without root. Each VM and the switch between them is one process.
//! The disk of a node is an overlay on its captured disk. Address and login come in memory at boot.
//! Sockets and keys are in folders that only the user can read.

mod control;
pub mod guest;
mod login;
mod route;
mod start;
mod switch;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{IdentityArchive, PlatformError, Site, Stop};
use crate::event::Events;
use crate::network::Network;
use crate::platform::qemu::QemuOptions;
use crate::platform::qemu::machine::accelerator::Accelerator;
use crate::platform::qemu::machine::choose_accelerator;
use crate::platform::qemu::qmp::Qmp;
use crate::process::{Program, end_of_log, with_argument};
use crate::teardown::{Leftover, processes};
use crate::wait::{Interrupt, Poll, Wait};

use control::CONTROL;
use route::Record;
use switch::Switch;

/// The kind of nodes, for messages.
const KIND: &str = "machines";

/// The required programs, with their Debian packages.
pub const PROGRAMS: [(&str, &str); 2] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
];

/// Limit of a power-off: the units of Vault and Consul have 90 s each to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(200);

/// The interval between presses of the power button. Early in its boot a node ignores them.
const PRESS_INTERVAL: Duration = Duration::from_secs(10);

/// The size of an identity disk. A running VM does not see a change of the size.
const IDENTITY_BYTES: usize = 1 << 20;

/// Names in the folder of a cluster, and in that of a node.
const NODES: &str = "nodes";
const CONSOLE: &str = "console.log";
const IDENTITY: &str = "identity";
const LOG: &str = "qemu.log";

/// The VMs of a cluster.
pub struct Machines {
    site: Site,
    options: Box<QemuOptions>,
    accelerator: Accelerator,
    network: Network,
}

impl Machines {
    /// Finds the VMs of a cluster. Returns `None` if none of them runs.
    pub async fn find(
        site: &Site,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Option<Self>, PlatformError> {
        if !is_alive(site) {
            return Ok(None);
        }
        Self::open(site, events, interrupt).await.map(Some)
    }

    /// Finds the network of a cluster, or makes it. Nodes that run keep their connection.
    pub async fn open(
        site: &Site,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Self, PlatformError> {
        let machines = Self {
            site: Site {
                // QEMU runs in the folder of its VM.
                folder: control::absolute(&site.folder)?,
                ..site.clone()
            },
            options: Box::new(QemuOptions::new("")),
            accelerator: choose_accelerator(),
            network: Network::host(),
        };
        let records = machines.records()?.into_iter();
        let addresses: Vec<Ipv4Addr> = records.map(|(_, record)| record.address).collect();
        let switch = machines.switch();
        switch.open(&addresses, events, interrupt).await?;
        Ok(machines)
    }

    /// Returns the reason why this computer cannot run VMs, if there is one.
    /// `is_installed` looks a program up.
    pub fn obstacle(is_installed: impl Fn(&str) -> bool) -> Option<PlatformError> {
        let missing = PROGRAMS.iter().find(|(program, _)| !is_installed(program));
        missing.map(|(program, package)| PlatformError::Unavailable {
            platform: KIND,
            why: format!("{program} is missing"),
            hint: format!("Run `apt-get install {package}`."),
        })
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    pub(super) fn run_beside(command: &[String]) -> Program {
        let (program, arguments) = command.split_first().expect("a command names a program");
        Program::new(program).args(arguments)
    }

    pub(super) fn is_running(&self, name: &str) -> bool {
        !with_argument(&self.node_marker(name)).is_empty()
    }

    pub(super) async fn stop(
        &self,
        name: &str,
        stop: Stop,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        let action = format!("stop node {name}");
        if stop == Stop::Kill {
            let ended = processes::end(&self.node_marker(name), events, interrupt).await;
            return ended.map(drop).map_err(|why| PlatformError::Wait {
                action,
                why,
                console: self.console(name),
            });
        }
        let mut pressed: Option<Instant> = None;
        let wait = Wait::new(format!("the end of {name}"), STOP_TIMEOUT);
        let waiting = wait.until(events, interrupt, || {
            let is_due = pressed.is_none_or(|at| at.elapsed() >= PRESS_INTERVAL);
            if is_due {
                pressed = Some(Instant::now());
            }
            async move {
                if !self.is_running(name) {
                    return Poll::<(), io::Error>::Ready(());
                }
                match is_due {
                    true => Poll::NotYet(self.press_power_button(name).await),
                    false => Poll::NotYet("it still runs".to_owned()),
                }
            }
        });
        let waited = waiting.await;
        waited.map_err(PlatformError::wait(action, self.console(name)))
    }

    /// Returns an observation: QEMU may have ended meanwhile.
    async fn press_power_button(&self, name: &str) -> String {
        let pressing = async {
            let mut qmp = Qmp::connect(&self.node_folder(name), Path::new(CONTROL)).await?;
            qmp.run("system_powerdown", json!({})).await
        };
        match pressing.await {
            Ok(_) => "the power button was pressed".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    pub(super) async fn remove(
        &self,
        name: &str,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        self.stop(name, Stop::Kill, events, interrupt).await?;
        let folder = self.node_folder(name);
        if let Some(record) = Record::read(&folder)? {
            let switch = self.switch();
            switch.disconnect(record.address, events, interrupt).await?;
        }
        control::remove_folder(&folder).map_err(PlatformError::file(&folder))
    }

    pub(super) fn put_identity(
        &self,
        name: &str,
        identity: &IdentityArchive,
    ) -> Result<(), PlatformError> {
        let path = self.node_folder(name).join(IDENTITY);
        let mut content = identity.expose().to_vec();
        if content.len() > IDENTITY_BYTES {
            let error = io::Error::other(format!("an identity has {IDENTITY_BYTES} bytes at most"));
            return Err(PlatformError::file(&path)(error));
        }
        content.resize(IDENTITY_BYTES, 0);
        // A running VM has the file open, and reads it again at each reload.
        let mut options = File::options();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        let written = options
            .open(&path)
            .and_then(|mut file| file.write_all(&content));
        written.map_err(PlatformError::file(&path))
    }

    pub(super) fn console(&self, name: &str) -> Vec<String> {
        let folder = self.node_folder(name);
        let console = end_of_log(&folder.join(CONSOLE));
        match console.is_empty() {
            true => end_of_log(&folder.join(LOG)),
            false => console,
        }
    }

    /// Opens the control connection of a node.
    async fn control(
        &self,
        name: &str,
        action: &str,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Qmp, PlatformError> {
        let (folder, marker) = (self.node_folder(name), self.node_marker(name));
        let opened = control::open(&folder, &marker, events, interrupt).await;
        opened.map_err(|error| PlatformError::wait(action, self.console(name))(error))
    }

    fn switch(&self) -> Switch<'_> {
        Switch {
            site: &self.site,
            program: &self.options.tools.qemu_system,
        }
    }

    /// Returns the names of all nodes that have a folder, with their records.
    fn records(&self) -> Result<Vec<(String, Record)>, PlatformError> {
        let mut records = Vec::new();
        let entries = fs::read_dir(self.site.folder.join(NODES));
        for entry in entries.into_iter().flatten().flatten() {
            if let Some(record) = Record::read(&entry.path())? {
                records.push((entry.file_name().to_string_lossy().into_owned(), record));
            }
        }
        Ok(records)
    }

    fn node_folder(&self, name: &str) -> PathBuf {
        self.site.folder.join(NODES).join(name)
    }

    fn node_marker(&self, name: &str) -> String {
        format!("guest=vault-bake-node-{}-{name}", self.site.id)
    }
}

/// Ends the VMs and the switch of a cluster, which need not run, and deletes their files.
/// Returns the leftovers.
pub async fn end(site: &Site, events: &Events) -> Vec<Leftover> {
    let mut leftovers = Vec::new();
    let argument = cluster_argument(site);
    if let Err(why) = processes::end(&argument, events, &Interrupt::default()).await {
        let what = format!("process {argument}");
        leftovers.push(Leftover { what, why });
    }
    for folder in [NODES, switch::FOLDER] {
        let folder = site.folder.join(folder);
        if let Err(error) = control::remove_folder(&folder) {
            leftovers.push(Leftover {
                what: format!("folder {}", folder.display()),
                why: error.to_string(),
            });
        }
    }
    leftovers
}

/// Returns whether a process of a cluster runs.
pub(super) fn is_alive(site: &Site) -> bool {
    !with_argument(&cluster_argument(site)).is_empty()
}

/// Returns an argument that all processes of a cluster have: a device that does nothing.
fn cluster_argument(site: &Site) -> String {
    format!("null,id=vault-bake-{}", site.id)
}
