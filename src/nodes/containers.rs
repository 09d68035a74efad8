//! Runs nodes as containers: `systemd-nspawn` boots overlays of the root of a captured disk.
//! All run in the namespaces of one process, the holder, which outlives vault-bake.
//! If the holder ends, the kernel removes processes, mounts, loop devices and network.

mod groups;
mod holder;
mod scripts;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;

use super::files::write;
use super::{IdentityArchive, Node, PlatformError, Site, Stop};
use crate::event::Events;
use crate::leak_scan::root_partition;
use crate::network::Network;
use crate::process::{Program, end_of_log, with_argument};
use crate::teardown::{Leftover, processes};
use crate::wait::{Interrupt, Poll, Wait};

use groups::ControlGroups;
use holder::{Misses, child_of, first_process};

/// The kind of nodes, for messages.
const KIND: &str = "containers";

/// Limit for the start of the holder, and of a node's first process.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Limit of a power-off: the units of Vault and Consul have 90 s each to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(200);

/// The required programs, with their Debian packages.
pub const PROGRAMS: [(&str, &str); 6] = [
    ("systemd-nspawn", "systemd-container"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("ip", "iproute2"),
    ("qemu-img", "qemu-utils"),
];

/// The containers of a cluster.
pub struct Containers {
    site: Site,
    /// The first process in the namespaces.
    first: Pid,
    network: Network,
    groups: ControlGroups,
    can_lock_memory: bool,
}

impl Containers {
    /// Finds the namespaces of a cluster. Returns `None` if they do not exist.
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

    /// Finds the namespaces of a cluster, or makes them.
    pub async fn open(
        site: &Site,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Self, PlatformError> {
        let (holder, groups) = (marker(site), ControlGroups::of(&site.id)?);
        if with_argument(&holder).is_empty() {
            let arguments = [
                "--mount",
                "--net",
                "--ipc",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                scripts::HOLD,
                &holder,
            ];
            let address = format!("{}/{}", site.gateway, site.prefix);
            let holding = Program::new("unshare").args(arguments).arg(address);
            let log = site.folder.join("network.log");
            holding
                .start_detached(&log)
                .map_err(PlatformError::process("make namespaces"))?;
        }
        let first = first_process(site, events, interrupt).await?;
        let path = PathBuf::from(format!("/proc/{}/ns/net", first.as_raw_nonzero()));
        let network = Network::namespace(&path).map_err(|error| PlatformError::Unavailable {
            platform: KIND,
            why: error.to_string(),
            hint: "Run vault-bake as root.".to_owned(),
        })?;
        let mut containers = Self {
            site: site.clone(),
            first,
            network,
            groups,
            can_lock_memory: false,
        };
        let limit = containers.inside(scripts::MEMORY_LIMIT, &[]);
        let limit = limit.run(interrupt).await;
        let limit = limit.map_err(PlatformError::process("read the limit of locked memory"))?;
        containers.can_lock_memory = limit.starts_with(b"unlimited");
        Ok(containers)
    }

    /// Returns the reason why this computer cannot run containers, if there is one.
    /// `is_installed` looks a program up.
    pub fn obstacle(is_installed: impl Fn(&str) -> bool) -> Option<PlatformError> {
        let unavailable = |why: String, hint: String| PlatformError::Unavailable {
            platform: KIND,
            why,
            hint,
        };
        for (program, package) in PROGRAMS {
            if !is_installed(program) {
                let why = format!("{program} is missing");
                return Some(unavailable(
                    why,
                    format!("Run `apt-get install {package}`."),
                ));
            }
        }
        if !rustix::process::geteuid().is_root() {
            let hint = "Run vault-bake as root, or set `kind = \"machines\"` in [platform].";
            return Some(unavailable("they need root".to_owned(), hint.to_owned()));
        }
        ControlGroups::of("doctor").err()
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    pub(super) fn can_lock_memory(&self) -> bool {
        self.can_lock_memory
    }

    pub(super) async fn start(
        &self,
        node: &Node,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        if self.is_running(&node.name) {
            return Ok(());
        }
        let action = format!("start node {}", node.name);
        let image = self.mount(node, interrupt).await?;
        let folder = self.node_folder(&node.name);
        fs::create_dir_all(&folder).map_err(PlatformError::file(&folder))?;
        self.put_identity(&node.name, &node.identity)?;
        let gateway = format!("Gateway={}\n", self.site.gateway);
        let unit = self.site.network_unit("Name=host0", node.address, &gateway);
        // systemd-networkd, which reads it on the node, is no root.
        let network = folder.join("network");
        fs::write(&network, unit).map_err(PlatformError::file(&network))?;
        let path = |path: &Path| path.display().to_string();
        let (image, work) = (path(&image), path(&folder));
        let preparing = self.inside(scripts::PREPARE, &[&image, &work]);
        let prepared = preparing.run(interrupt).await;
        prepared.map_err(PlatformError::process(action.clone()))?;
        // The last part of the address gives the network device a short and unique name.
        let machine = format!("n{}", node.address.octets()[3]);
        let groups = self.groups.add(&node.name)?;
        let marker = self.node_marker(&node.name);
        let arguments = [work.as_str(), &machine, &marker];
        let starting = self.inside_groups(scripts::START, &arguments, &groups);
        let console = folder.join("console.log");
        starting
            .start_detached(&console)
            .map_err(PlatformError::process(action.clone()))?;
        let wait = Wait::new(format!("the first process of {}", node.name), START_TIMEOUT);
        let misses = Misses::default();
        let waiting = wait.until(events, interrupt, || async {
            match (self.leader(&node.name), self.is_running(&node.name)) {
                (Some(_), _) => Poll::Ready(()),
                (None, false) if misses.are_too_many() => {
                    Poll::Never(std::io::Error::other("it ended"))
                }
                (None, _) => Poll::NotYet("no process".to_owned()),
            }
        });
        let waited = waiting.await;
        waited.map_err(PlatformError::wait(action, self.console(&node.name)))
    }

    /// Mounts the root of a captured disk, unless it is mounted. Returns the folder.
    async fn mount(&self, node: &Node, interrupt: &Interrupt) -> Result<PathBuf, PlatformError> {
        let hex = node.disk_digest.hex();
        let images = self.site.folder.join("images");
        let folder = images.join(&hex[..16]);
        fs::create_dir_all(&folder).map_err(PlatformError::file(&folder))?;
        let raw = images.join(format!("{}.raw", &hex[..16]));
        if !raw.exists() {
            let part = raw.with_extension("part");
            let action = format!("convert {}", node.disk.display());
            let converting = Program::new("qemu-img")
                .args(["convert", "-O", "raw"])
                .args([&node.disk, &part]);
            let converted = converting.run(interrupt).await;
            converted.map_err(PlatformError::process(action))?;
            fs::rename(&part, &raw).map_err(PlatformError::file(&raw))?;
        }
        let start = root_partition(&raw).ok().flatten();
        let start = start.ok_or_else(|| PlatformError::NoRoot { disk: raw.clone() })?;
        let (from, to) = (raw.display().to_string(), folder.display().to_string());
        let mounting = self.inside(scripts::MOUNT, &[&from, &start.to_string(), &to]);
        let action = format!("mount {from}");
        let mounted = mounting.run(interrupt).await;
        mounted.map_err(PlatformError::process(action))?;
        Ok(folder)
    }

    pub(super) fn is_running(&self, name: &str) -> bool {
        !self.containers(name).is_empty() || !with_argument(&self.node_marker(name)).is_empty()
    }

    /// Returns the processes of `systemd-nspawn` of a node: no other has its root as an argument.
    /// They run on without the `nsenter` that started them.
    fn containers(&self, name: &str) -> Vec<Pid> {
        with_argument(&self.node_folder(name).join("root").display().to_string())
    }

    /// Returns the first process of a node, which `systemd-nspawn` starts.
    fn leader(&self, name: &str) -> Option<Pid> {
        let containers = self.containers(name);
        let mut children = containers.iter().filter_map(|pid| child_of(*pid));
        // Until it becomes another program, a child has the arguments of its parent.
        children.find(|child| !containers.contains(child))
    }

    pub(super) async fn stop(
        &self,
        name: &str,
        stop: Stop,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        let action = format!("stop node {name}");
        if let Some(leader) = self.leader(name) {
            // Systemd powers off on SIGRTMIN+4.
            let signal = match stop {
                Stop::Graceful => "RTMIN+4",
                Stop::Kill => "KILL",
            };
            let leader = leader.as_raw_nonzero().to_string();
            let sending = Program::new("kill").args(["-s", signal, &leader]);
            // Fails if the node has just ended.
            let _ = sending.run(&Interrupt::default()).await;
        }
        let wait = Wait::new(format!("the end of {name}"), STOP_TIMEOUT);
        let waiting = wait.until(events, interrupt, || async {
            if self.is_running(name) {
                Poll::<(), std::io::Error>::NotYet("running".to_owned())
            } else {
                Poll::Ready(())
            }
        });
        let waited = waiting.await;
        waited.map_err(PlatformError::wait(action, self.console(name)))
    }

    pub(super) async fn remove(
        &self,
        name: &str,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), PlatformError> {
        self.stop(name, Stop::Kill, events, interrupt).await?;
        let folder = self.node_folder(name);
        let path = folder.display().to_string();
        let removing = self.inside(scripts::REMOVE, &[&path]).run(interrupt).await;
        removing.map_err(PlatformError::process(format!("remove node {name}")))?;
        self.groups.remove_one(name);
        Ok(())
    }

    pub(super) fn put_identity(
        &self,
        name: &str,
        identity: &IdentityArchive,
    ) -> Result<(), PlatformError> {
        // A running node has the file itself mounted, so it is not replaced by another one.
        write(&self.node_folder(name).join("identity"), identity.expose())
    }

    pub(super) async fn run_script(
        &self,
        name: &str,
        script: &str,
        interrupt: &Interrupt,
    ) -> Result<String, PlatformError> {
        let action = format!("run a script in node {name}");
        let mut command = self.shell(name).ok_or_else(|| PlatformError::Wait {
            action: action.clone(),
            why: "it does not run".to_owned(),
            console: self.console(name),
        })?;
        let program = command.remove(0);
        // The shell reads the script to its end first, as its commands may read standard input.
        let running = Program::new(program)
            .args(&command[..command.len() - 1])
            .args(["/bin/sh", "-c", "eval \"$(cat)\""])
            .input(script);
        let output = running.run(interrupt).await;
        let output = output.map_err(PlatformError::process(action))?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    pub(super) fn shell(&self, name: &str) -> Option<Vec<String>> {
        let leader = self.leader(name)?.as_raw_nonzero().to_string();
        let words = [
            "nsenter",
            "--target",
            &leader,
            "--all",
            "env",
            "-i",
            "HOME=/root",
            "TERM=xterm",
            "LANG=C.UTF-8",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "/bin/bash",
        ];
        Some(words.map(ToOwned::to_owned).to_vec())
    }

    pub(super) fn console(&self, name: &str) -> Vec<String> {
        end_of_log(&self.node_folder(name).join("console.log"))
    }

    fn node_folder(&self, name: &str) -> PathBuf {
        self.site.folder.join("nodes").join(name)
    }

    fn node_marker(&self, name: &str) -> String {
        format!("vault-bake-node-{}-{name}", self.site.id)
    }

    pub(super) fn run_beside(&self, command: &[String]) -> Program {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        self.inside("exec \"$@\"", &command)
    }

    /// Returns a program that runs a script in the namespaces, outside of the nodes.
    fn inside(&self, script: &str, arguments: &[&str]) -> Program {
        self.inside_groups(script, arguments, &[])
    }

    fn inside_groups(&self, script: &str, arguments: &[&str], groups: &[PathBuf]) -> Program {
        let enter = "for group in $NODE_GROUPS; do echo 0 >$group/cgroup.procs; done\n";
        let groups = groups.iter().map(|group| group.display().to_string());
        Program::new("nsenter")
            .args(["--target", &self.first.as_raw_nonzero().to_string()])
            .args(["--mount", "--net", "--ipc", "--pid"])
            .args(["sh", "-c", &format!("{enter}{script}"), "sh"])
            .args(arguments)
            .env("NODE_GROUPS", groups.collect::<Vec<_>>().join(" "))
    }
}

/// Ends the nodes and the namespaces of a cluster, which need not run. Returns the leftovers.
pub async fn end(site: &Site, events: &Events) -> Vec<Leftover> {
    let mut leftovers = Vec::new();
    let holder = marker(site);
    if let Err(why) = processes::end(&holder, events, &Interrupt::default()).await {
        let what = format!("process {holder}");
        leftovers.push(Leftover { what, why });
    }
    if let Ok(groups) = ControlGroups::of(&site.id) {
        leftovers.extend(groups.remove());
    }
    leftovers
}

/// Returns whether the namespaces of a cluster exist.
pub(super) fn is_alive(site: &Site) -> bool {
    !with_argument(&marker(site)).is_empty()
}

/// Returns an argument that only the holder of a cluster has.
fn marker(site: &Site) -> String {
    format!("vault-bake-cluster-{}", site.id)
}
