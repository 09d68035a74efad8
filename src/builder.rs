//! Builders: start a temporary machine, and make an artifact of its disk.
//!
//! In: the base of a plan, keys, a place for the artifact. Out: a [`Disk`], a running [`Machine`], an [`Artifact`].
//! Deliberately knows nothing of what happens inside the machine: that goes over SSH.

pub mod access;
mod artifact;
pub mod azure;
mod disk;
mod end;
mod layer;
pub mod qemu;
pub(crate) mod start;
mod snapshot;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::digest::Digest;
use crate::event::Events;
use crate::http::FetchError;
use crate::lock::PackageIndex;
use crate::plan::{PlannedBase, PlannedMachine};
use crate::process::{ProcessError, last_lines};
use crate::ssh::{Endpoint, Keys, SshError};
use crate::teardown::{Cloud, JournalError, Teardown};
use crate::wait::{Interrupt, Interrupted};

pub use artifact::{Artifact, Captured, CapturedFile, CapturedImage, CapturedKind};
pub use disk::{AccessBy, Content, Disk, DiskFile, Kernel};
pub use end::{EndedBy, MachineEnd};
pub use layer::{Layer, LayerFile, LayerRules, LayerUse, Made};
pub use snapshot::{Resumed, SnapshotUse};

/// What a machine is started with.
#[derive(Clone, Copy)]
pub struct Boot<'a> {
    /// The disk; the machine writes to an overlay of it.
    pub disk: &'a Disk,
    /// A layer of that disk, to continue from.
    pub layer: Option<&'a Layer>,
    /// Its shape.
    pub machine: &'a PlannedMachine,
    /// Keys of the run.
    pub keys: &'a Keys,
    /// A node's identity for its first boot: a tar archive, seen by the guest as a read-only disk.
    pub identity: Option<&'a [u8]>,
    /// Unique in the run: `build` or `test`.
    pub role: &'a str,
    /// Whether the platform ended an earlier start of this machine. It then boots from scratch.
    pub again: bool,
}

/// A builder failed.
#[derive(Debug, thiserror::Error)]
pub enum BuilderError {
    /// Definition and lock speak of different kinds of base.
    #[error("the lock does not fit the definition's base: run `vault-bake lock` again")]
    LockOfAnotherBase,
    /// Azure refused, failed, or was not reached.
    #[error(transparent)]
    Azure(Box<azure::AzureError>),
    /// A plan, or an image, is another builder's.
    #[error("this is for another builder; look at `--builder`")]
    OtherBuilder,
    /// What a suite offers is not what was locked.
    #[error(
        "suite {} of {} has changed: locked was the index of {} ({}), found was {found}; \
         run `vault-bake lock` again, or name a snapshot mirror that keeps the locked state",
        locked.suite, locked.mirror, locked.date, locked.sha256
    )]
    IndexChanged {
        /// The index as locked.
        locked: Box<PackageIndex>,
        /// Date and digest of what is there, or that nothing is.
        found: String,
    },
    /// A downloaded file is not what was locked.
    #[error(
        "{what}: expected SHA-512 {expected}, found {found}; the file was changed after it was locked: \
         find out why before `vault-bake lock`"
    )]
    WrongDigest {
        /// The URL.
        what: String,
        /// As locked, hex.
        expected: String,
        /// Of what is there, hex.
        found: String,
    },
    /// A disk image that must not or cannot be used.
    #[error("{}: {why}", path.display())]
    Image {
        /// Which.
        path: PathBuf,
        /// Why not, and what is expected.
        why: String,
    },
    /// Something that the builder needs is not on this machine.
    #[error("{what} is missing: install the package {package}")]
    Missing {
        /// What.
        what: String,
        /// Debian's package that has it.
        package: &'static str,
    },
    /// A machine ended, or did not start.
    #[error("machine {machine}: {end}")]
    Died {
        /// Its role.
        machine: String,
        /// How.
        end: Box<MachineEnd>,
    },
    /// A machine does not follow its control connection.
    #[error("machine {machine}: {why}")]
    Control {
        /// Its role.
        machine: String,
        /// What went wrong.
        why: String,
    },
    /// A machine was asked to shut down and did not.
    #[error(
        "machine {machine} did not shut down: {why}; does something in it inhibit the power button?{}",
        last_lines(.console)
    )]
    StillRunning {
        /// Its role.
        machine: String,
        /// What was waited for.
        why: String,
        /// The last lines of its console.
        console: Vec<String>,
    },
    /// It never answered on SSH.
    #[error("{error}{}", last_lines(.console))]
    NotUp {
        /// What was seen last.
        error: Box<SshError>,
        /// The last lines of its console.
        console: Vec<String>,
    },
    /// There is no room for what is about to be written.
    #[error("{}: {free_mib} MiB are free, about {needed_mib} MiB are needed", path.display())]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// What is free there, in MiB.
        free_mib: u64,
        /// What is needed, in MiB.
        needed_mib: u64,
    },
    /// A wait passed its deadline.
    #[error("{0}")]
    Late(String),
    /// A program failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The journal could not be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file or folder could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// We were asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl From<azure::AzureError> for BuilderError {
    fn from(error: azure::AzureError) -> Self {
        Self::Azure(Box::new(error))
    }
}

impl BuilderError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }

    /// Says which file an input or output error is about.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| Self::File {
            path: path.to_owned(),
            error,
        }
    }
}

/// Something that a builder needs on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// A program's name (to be found by `PATH`), or the path of a program or file.
    pub program: PathBuf,
    /// Debian's package that has it.
    pub package: &'static str,
    /// What it is for.
    pub why: &'static str,
}

/// Boots temporary machines and captures them. Undo entries are registered before anything is created.
pub trait Builder: Sync {
    /// A machine of this builder's. Dropping it kills it.
    type Machine: Machine;

    /// `qemu` or `azure`.
    fn name(&self) -> &'static str;

    /// Makes or finds the base disk of a plan, in the cache.
    fn base(
        &self,
        base: &PlannedBase,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Disk, BuilderError>> + Send;

    /// Whether its machines can be shown a folder: [`Machine::show`].
    fn supports_upload_disk(&self) -> bool {
        false
    }

    /// The layer of `disk` with most of `keys`, given shortest first; none where this builder keeps none, or may use none.
    fn layer(
        &self,
        disk: &Disk,
        keys: &[Digest],
        now: Timestamp,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Option<Layer>, BuilderError>> + Send {
        let _ = (disk, keys, now, interrupt);
        std::future::ready(Ok(None))
    }

    /// Whether machines of `disk` can leave layers behind.
    fn keeps_layers(&self, disk: &Disk) -> bool {
        let _ = disk;
        false
    }

    /// Keeps what is on the machine's disk as a layer, on top of what the machine continued from or left before. Whoever asks has
    /// seen to it that all is written.
    fn keep_layer(
        &self,
        machine: &mut Self::Machine,
        made: Made,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<(), BuilderError>> + Send {
        let _ = (machine, made, interrupt);
        std::future::ready(Ok(()))
    }

    /// Removes the layers that `run` left: its machine went away by itself, so they may lack what it would have become.
    fn forget_layers(
        &self,
        machine: Option<&mut Self::Machine>,
        run: &str,
    ) -> impl Future<Output = Result<(), BuilderError>> + Send {
        let _ = (machine, run);
        std::future::ready(Ok(()))
    }

    /// Starts a machine, which answers at once or later; whoever connects waits.
    fn boot(
        &self,
        boot: Boot<'_>,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Self::Machine, BuilderError>> + Send;

    /// Shuts the machine down and makes an artifact of its disk: a file at `to`, or images on a cloud. Those stay in the
    /// journal until they are recorded. What can be looked through lies beside the file.
    fn capture(
        &self,
        machine: Self::Machine,
        to: PathBuf,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Captured, BuilderError>> + Send;

    /// Writes on images of a cloud which manifest they belong to. A file says so by its digest.
    fn tag_artifact(
        &self,
        artifact: &Artifact,
        manifest: &Digest,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<(), BuilderError>> + Send {
        let _ = (artifact, manifest, interrupt);
        std::future::ready(Ok(()))
    }

    /// The base that a manifest names, where it is there without being made: by the digest of its disk, or by what it was
    /// resolved to.
    fn recorded_base(
        &self,
        disk_sha256: Option<Digest>,
        resolved: &serde_json::Value,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Option<Content>, BuilderError>> + Send {
        let _ = (disk_sha256, resolved, interrupt);
        std::future::ready(Ok(None))
    }

    /// Who deletes what this builder makes in a cloud.
    fn cloud(&self) -> Option<Arc<dyn Cloud>> {
        None
    }
}

/// A running machine.
pub trait Machine: Send {
    /// Where it answers on SSH.
    fn endpoint(&self) -> Endpoint;

    /// Shows it the content of `folder`, which it cannot change, as an ext2 file system on its disk [`crate::ssh::UPLOAD_DISK`]; false
    /// where it has no such disk.
    fn attach_uploads(
        &self,
        folder: &Path,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<bool, BuilderError>> + Send {
        let _ = (folder, interrupt);
        std::future::ready(Ok(false))
    }

    /// What it went on from, where it did not start as computers do.
    fn resumed(&self) -> Option<&Resumed> {
        None
    }

    /// How it ended, if it has. A machine that died a moment ago may need a second until that is known.
    fn died(&mut self) -> Option<MachineEnd>;

    /// Lets it run on beyond us.
    fn detach(self);

    /// The last lines of its serial console.
    fn console(&self) -> impl Future<Output = Vec<String>> + Send;
}
