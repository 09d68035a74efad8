//! Keeps what a cluster on this computer consists of: `cluster.json` in the cluster's folder.
//! The folder is locked while a command changes the cluster.
//! The file exists before anything else of the cluster, and is deleted after everything else.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::file::{Subnet, TierName};
use super::images::NodeImage;
use crate::definition::Firmware;
use crate::digest::Digest;
use crate::manifest::ImageVersion;
use crate::platform::Site;

/// The name of the file in the folder of a cluster.
pub const FILE: &str = "cluster.json";

/// The file that a command locks while it changes the cluster.
const LOCK: &str = "lock";

/// The content of `cluster.json`. It has no secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The version of this format: 1.
    pub schema: u32,
    /// The unique id: the name and eight random hex digits.
    pub id: String,
    /// The name of the cluster.
    pub name: String,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The progress of the cluster as a whole.
    pub phase: Phase,
    /// The platform that runs the nodes.
    pub platform: PlatformKind,
    /// The addresses of the private network.
    pub subnet: Subnet,
    /// The nodes by name.
    pub nodes: BTreeMap<String, NodeState>,
    /// The highest generation of any node so far.
    #[serde(default)]
    pub generation: u32,
    /// The highest version of each product that ever served, by its name.
    #[serde(default)]
    pub highest: BTreeMap<String, String>,
    /// The rollout that this computer controls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<OpenRollout>,
}

/// A rollout that was begun and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRollout {
    /// The digest of the first plan.
    pub plan: Digest,
    /// The epoch of the controller in the store's log.
    pub epoch: u64,
}

/// The part of a node's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeStage {
    /// It serves, or should.
    #[default]
    Serving,
    /// A rollout stopped it. It starts again only if the rollout is aborted.
    Stopped,
    /// A Consul server that left its cluster. It must not start again: its data are old.
    Retired,
}

impl NodeStage {
    /// Whether the node serves, or should.
    pub fn is_serving(&self) -> bool {
        *self == Self::Serving
    }
}

/// The progress of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It was never complete. No user has a key of it, so its nodes may be made again.
    Creating,
    /// It was complete once. Its data must not be lost.
    Created,
    /// Its removal began.
    Removing,
}

/// What runs the nodes of a cluster on this computer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformKind {
    /// Containers of `systemd-nspawn`.
    Containers,
    /// QEMU VMs.
    Machines,
}

impl PlatformKind {
    /// Returns the value in `cluster.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Containers => "containers",
            Self::Machines => "machines",
        }
    }
}

/// A node and the image that it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeState {
    /// The tier.
    pub tier: TierName,
    /// The generation: 1 for the first nodes; each rollout adds one.
    pub generation: u32,
    /// The number in its tier and generation, from 1.
    pub number: u32,
    /// The address on the private network.
    pub address: Ipv4Addr,
    /// The reference in `cluster.toml` when the node was made, as in `vault-server:stable`.
    pub reference: String,
    /// The name of the image.
    pub image: String,
    /// The version of the image.
    pub version: ImageVersion,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The digest of the captured disk.
    pub artifact: Digest,
    /// The firmware that boots the disk.
    pub firmware: Firmware,
    /// The products of the image with their versions.
    pub releases: BTreeMap<String, String>,
    /// The part of its life. Absent while it serves.
    #[serde(default, skip_serializing_if = "NodeStage::is_serving")]
    pub stage: NodeStage,
}

impl State {
    /// Returns the private network and the folder of the cluster.
    pub fn site(&self, folder: &StateFolder) -> Site {
        Site {
            folder: folder.path.clone(),
            id: self.id.clone(),
            gateway: self.subnet.gateway(),
            prefix: self.subnet.prefix(),
        }
    }

    /// Returns the nodes of a tier that serve, or should, by name.
    pub fn serving(&self, tier: TierName) -> impl Iterator<Item = (&String, &NodeState)> {
        let serves = move |node: &NodeState| node.tier == tier && node.stage.is_serving();
        self.nodes.iter().filter(move |(_, node)| serves(node))
    }

    /// Returns the addresses of the nodes of a tier that serve, or should.
    pub fn addresses(&self, tier: TierName) -> Vec<Ipv4Addr> {
        self.serving(tier).map(|(_, node)| node.address).collect()
    }
}

impl NodeState {
    /// Describes node `number` of a generation, made from `image`.
    pub(super) fn new(
        tier: TierName,
        (generation, number): (u32, u32),
        address: Ipv4Addr,
        image: &NodeImage,
    ) -> Self {
        Self {
            tier,
            generation,
            number,
            address,
            reference: image.reference.clone(),
            image: image.image.clone(),
            version: image.version,
            manifest: image.manifest,
            artifact: image.artifact,
            firmware: image.firmware,
            releases: image.releases.clone(),
            stage: NodeStage::Serving,
        }
    }
}

/// A state that cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or folder that cannot be used.
    #[error("cannot use {}: {error}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// A state that this version cannot read.
    #[error("cannot read {}: {why}", path.display())]
    Malformed {
        /// The path.
        path: PathBuf,
        /// The defect.
        why: String,
    },
    /// Another command changes the cluster.
    #[error("cannot change cluster {name}: another command is changing it")]
    Locked {
        /// The name of the cluster.
        name: String,
    },
    /// The cluster does not exist on this computer.
    #[error("cannot find cluster {name}: it does not run on this computer")]
    Missing {
        /// The name of the cluster.
        name: String,
    },
}

impl StateError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { .. } => None,
            Self::Malformed { .. } => Some(
                "Use the version of vault-bake that made the cluster, or a newer one.".to_owned(),
            ),
            Self::Locked { .. } => Some("Wait until that command has ended.".to_owned()),
            Self::Missing { name } => Some(format!("Run `vault-bake cluster up {name}`.")),
        }
    }
}

/// The folder of one cluster.
#[derive(Clone, Debug)]
pub struct StateFolder {
    name: String,
    path: PathBuf,
}

/// The exclusive right to change a cluster, until the drop.
pub struct StateLock {
    _file: File,
}

impl StateFolder {
    /// Names the folder `path` of the cluster `name`. It need not exist.
    pub fn new(name: &str, path: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            path,
        }
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder, readable by the user alone, and locks it.
    pub fn lock(&self) -> Result<StateLock, StateError> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path);
        made.map_err(file_error(&self.path))?;
        let path = self.path.join(LOCK);
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(file_error(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(StateLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked {
                name: self.name.clone(),
            }),
            Err(TryLockError::Error(error)) => Err(file_error(&path)(error)),
        }
    }

    /// Reads the state. Returns `None` if the cluster does not exist.
    pub fn read(&self) -> Result<Option<State>, StateError> {
        let path = self.path.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error(&path)(error)),
        };
        let malformed = |why: String| StateError::Malformed {
            path: path.clone(),
            why,
        };
        let state: State =
            serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        if state.schema != 1 {
            return Err(malformed(format!(
                "expected schema 1, found {}",
                state.schema
            )));
        }
        Ok(Some(state))
    }

    /// Reads the state of a cluster that must exist.
    pub fn require(&self) -> Result<State, StateError> {
        self.read()?.ok_or_else(|| self.missing())
    }

    /// Returns the error that the cluster does not exist.
    pub(super) fn missing(&self) -> StateError {
        StateError::Missing {
            name: self.name.clone(),
        }
    }

    /// Replaces the state, and flushes it to disk.
    pub fn write(&self, state: &State) -> Result<(), StateError> {
        let path = self.path.join(FILE);
        let text = serde_json::to_vec_pretty(state).expect("a state is JSON");
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
            file.write_all(&text)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(file_error(&path))
    }

    /// Deletes the folder, its state last.
    pub fn delete(&self, _lock: StateLock) -> Result<(), StateError> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(file_error(&self.path)(error)),
        };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if name == FILE || name == LOCK {
                continue;
            }
            let removed = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(file_error(&path))?;
        }
        for name in [FILE, LOCK] {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(file_error(&path)(error));
                }
                _ => {}
            }
        }
        fs::remove_dir(&self.path).map_err(file_error(&self.path))
    }
}

/// Reads the states of all clusters in the folder `clusters`, which need not exist.
pub fn read_all(clusters: &Path) -> Result<Vec<(StateFolder, State)>, StateError> {
    let entries = match fs::read_dir(clusters) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error(clusters)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(file_error(clusters))?.path();
        let folder = StateFolder::new("", path);
        if let Some(state) = folder.read()? {
            let folder = StateFolder::new(&state.name, folder.path);
            found.push((folder, state));
        }
    }
    Ok(found)
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> StateError + use<> {
    let path = path.to_owned();
    move |error| StateError::File {
        path: path.clone(),
        error,
    }
}
