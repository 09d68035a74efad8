//! Builders boot temporary VMs and capture their disks.
//! Take the base of a plan and keys; return a [`Disk`], a running [`Machine`], an [`Artifact`].
//! The work inside a VM goes over SSH and is left to others.

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
pub use end::{EndCause, MachineEnd};
pub use layer::{Layer, LayerCacheLimits, LayerCacheUsage, LayerFile, LayerOrigin};
pub use snapshot::{Resumed, SnapshotCacheUsage};

/// The parameters of a VM start.
#[derive(Clone, Copy)]
pub struct Boot<'a> {
    /// The base disk. The VM writes to an overlay of it.
    pub disk: &'a Disk,
    /// A cached layer on top of `disk`, to start from.
    pub layer: Option<&'a Layer>,
    /// The size and network of the VM.
    pub machine: &'a PlannedMachine,
    /// The SSH keys of the run.
    pub keys: &'a Keys,
    /// The identity archive of a node (tar), which the VM sees as a read-only disk.
    pub identity: Option<&'a [u8]>,
    /// The role of the VM, unique in the run: `build` or `test`.
    pub role: &'a str,
    /// Whether the platform ended an earlier start of this VM. A retry does not resume from a VM
    /// snapshot.
    pub is_retry: bool,
}

/// A builder failed.
#[derive(Debug, thiserror::Error)]
pub enum BuilderError {
    /// The lock file has another kind of base, or other suites, than the definition.
    #[error("the lock file does not match the base of the definition")]
    LockMismatch,
    /// A request to Azure failed.
    #[error(transparent)]
    Azure(Box<azure::AzureError>),
    /// A plan or image belongs to another builder.
    #[error("the plan or image belongs to another builder")]
    WrongBuilder,
    /// The signed index of a suite differs from the lock file.
    #[error(
        "suite {} of {} has changed: expected the index of {} ({}), found {found}",
        locked.suite, locked.mirror, locked.date, locked.sha256
    )]
    IndexChanged {
        /// The index as locked.
        locked: Box<PackageIndex>,
        /// The date and digest of the index on the mirror, or `none`.
        found: String,
    },
    /// The digest of a downloaded file differs from the lock file.
    #[error("{what}: expected SHA-512 {expected}, found {found}")]
    WrongDigest {
        /// The URL of the file.
        what: String,
        /// The digest in the lock file, in hex.
        expected: String,
        /// The digest of the download, in hex.
        found: String,
    },
    /// A disk image cannot be used.
    #[error("{}: {why}", path.display())]
    Image {
        /// The path or URL of the image.
        path: PathBuf,
        /// The defect, with the expected value.
        why: String,
    },
    /// The disk image is larger than the disk of the VM.
    #[error(
        "{}: the image needs a disk of {least_gib} GiB, the VM has {disk_gib} GiB",
        path.display()
    )]
    DiskTooSmall {
        /// The path of the image.
        path: PathBuf,
        /// The size of the VM's disk, in GiB.
        disk_gib: u32,
        /// The smallest sufficient size, in GiB.
        least_gib: u64,
    },
    /// A program or file that the builder needs is not on this host.
    #[error("{what} is missing")]
    Missing {
        /// The program or file.
        what: String,
        /// The Debian package that contains it.
        package: &'static str,
    },
    /// A VM ended, or did not start.
    #[error("{machine} VM: {end}")]
    Died {
        /// The role of the VM.
        machine: String,
        /// The cause of its end.
        end: Box<MachineEnd>,
    },
    /// A command on the control connection of a VM failed.
    #[error("cannot control the {machine} VM: {why}")]
    Control {
        /// The role of the VM.
        machine: String,
        /// The reason.
        why: String,
    },
    /// A VM did not shut down after its power button was pressed.
    #[error("cannot shut down the {machine} VM: {why}{}", last_lines(.console))]
    StillRunning {
        /// The role of the VM.
        machine: String,
        /// The last observation.
        why: String,
        /// The last lines of its console.
        console: Vec<String>,
    },
    /// A VM did not answer on SSH.
    #[error("{error}{}", last_lines(.console))]
    NotUp {
        /// The last error of a connection.
        error: Box<SshError>,
        /// The last lines of its console.
        console: Vec<String>,
    },
    /// The file system has too little free space.
    #[error(
        "cannot write to {}: {free_mib} MiB are free, about {needed_mib} MiB are needed",
        path.display()
    )]
    NoSpace {
        /// A folder on the file system.
        path: PathBuf,
        /// The free space, in MiB.
        free_mib: u64,
        /// The needed space, in MiB.
        needed_mib: u64,
    },
    /// A wait passed its deadline.
    #[error("{0}")]
    TimedOut(String),
    /// A program failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The journal could not be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file or folder could not be read or written.
    #[error("cannot access {}: {error}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The user interrupted the run.
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
        let hint = match self {
            Self::LockMismatch => "Run `vault-bake lock` for this image.",
            Self::WrongBuilder => "Choose the right builder with `--builder`.",
            Self::IndexChanged { .. } => {
                "Run `vault-bake lock` again, or set a snapshot mirror that keeps the locked state."
            }
            Self::WrongDigest { .. } => {
                "Find out why the file changed before you run `vault-bake lock`."
            }
            Self::Missing { package, .. } => {
                return Some(format!("Install the Debian package {package}."));
            }
            Self::DiskTooSmall { least_gib, .. } => {
                return Some(format!("Set `disk_gib` to at least {least_gib}."));
            }
            Self::NoSpace { needed_mib, .. } => {
                return Some(format!(
                    "Free at least {needed_mib} MiB on this file system."
                ));
            }
            Self::Died { end, .. } if end.cause.is_retryable() => {
                "Search `journalctl -k` for the cause, such as exhausted memory. \
                 Run `vault-bake doctor` to check this host."
            }
            Self::StillRunning { .. } => {
                "Check whether a service in the image inhibits the power button."
            }
            Self::NotUp { error, .. } => {
                let hint = "Run `vault-bake doctor` to check this host. \
                            Increase `boot_timeout_s` in the machine section of image.toml.";
                return Some(error.hint().unwrap_or_else(|| hint.to_owned()));
            }
            Self::Process(error @ ProcessError::Start { .. }) => {
                let hint = "Run `vault-bake doctor` to check which programs are missing.";
                return Some(error.hint().unwrap_or_else(|| hint.to_owned()));
            }
            Self::Azure(error) => return error.hint(),
            Self::Process(error) => return error.hint(),
            Self::Fetch(error) => return error.hint(),
            Self::Journal(error) => return error.hint(),
            Self::Image { .. }
            | Self::Died { .. }
            | Self::Control { .. }
            | Self::TimedOut(_)
            | Self::File { .. }
            | Self::Interrupted(_) => return None,
        };
        Some(hint.to_owned())
    }

    /// Adds the path to an I/O error.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| Self::File {
            path: path.to_owned(),
            error,
        }
    }
}

/// A program or file that a builder needs on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// The name of a program in `PATH`, or the path of a program or file.
    pub program: PathBuf,
    /// The Debian package that contains it.
    pub package: &'static str,
    /// Its purpose, as in `makes ext4 file systems`.
    pub why: &'static str,
}

/// Boots temporary VMs and captures them. Each creation is preceded by an undo entry in the
/// journal.
pub trait Builder: Sync {
    /// A running VM. Dropping it kills the VM.
    type Machine: Machine;

    /// Returns the name of the builder: `qemu` or `azure`.
    fn name(&self) -> &'static str;

    /// Returns the base disk of a plan, from the cache if possible.
    fn base(
        &self,
        base: &PlannedBase,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Disk, BuilderError>> + Send;

    /// Returns whether its VMs can have an upload disk: [`Machine::attach_uploads`].
    fn supports_upload_disk(&self) -> bool {
        false
    }

    /// Finds the cached layer on `disk` for the last of `keys` that is cached. Each key covers the
    /// ones before it.
    ///
    /// Returns `None` if there is no such layer, or if the builder has no layer cache.
    fn find_layer(
        &self,
        disk: &Disk,
        keys: &[Digest],
        now: Timestamp,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Option<Layer>, BuilderError>> + Send {
        let _ = (disk, keys, now, interrupt);
        std::future::ready(Ok(None))
    }

    /// Returns whether the layers of a VM that starts from `disk` can be cached.
    fn can_cache_layers(&self, disk: &Disk) -> bool {
        let _ = disk;
        false
    }

    /// Caches the changes on the VM's disk since the last layer, as a new layer. The caller has
    /// made the VM sync its disk.
    fn cache_layer(
        &self,
        machine: &mut Self::Machine,
        made: LayerOrigin,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<(), BuilderError>> + Send {
        let _ = (machine, made, interrupt);
        std::future::ready(Ok(()))
    }

    /// Removes the cached layers of `run`, after its VM shut down unexpectedly. They may lack later
    /// writes.
    fn discard_layers(
        &self,
        machine: Option<&mut Self::Machine>,
        run: &str,
    ) -> impl Future<Output = Result<(), BuilderError>> + Send {
        let _ = (machine, run);
        std::future::ready(Ok(()))
    }

    /// Starts a VM. It may not answer on SSH yet; the caller waits when it connects.
    fn boot(
        &self,
        boot: Boot<'_>,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Self::Machine, BuilderError>> + Send;

    /// Shuts the VM down and captures its disk: a file at `to`, or images in a cloud.
    ///
    /// Cloud images stay in the journal until they are recorded. A raw copy of a file for the leak
    /// scan is put next to it.
    fn capture(
        &self,
        machine: Self::Machine,
        to: PathBuf,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Captured, BuilderError>> + Send;

    /// Tags cloud images with the digest of their manifest. Files need no tag, because the manifest
    /// has their digest.
    fn tag_artifact(
        &self,
        artifact: &Artifact,
        manifest: &Digest,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<(), BuilderError>> + Send {
        let _ = (artifact, manifest, interrupt);
        std::future::ready(Ok(()))
    }

    /// Finds the base that a manifest names, by the digest of its disk or by its resolved image.
    /// Does not build a missing base.
    fn recorded_base(
        &self,
        disk_sha256: Option<Digest>,
        resolved: &serde_json::Value,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<Option<Content>, BuilderError>> + Send {
        let _ = (disk_sha256, resolved, interrupt);
        std::future::ready(Ok(None))
    }

    /// Returns the client that deletes this builder's cloud resources, if it creates any.
    fn cloud_cleaner(&self) -> Option<Arc<dyn Cloud>> {
        None
    }
}

/// A running VM.
pub trait Machine: Send {
    /// Returns the address for SSH.
    fn endpoint(&self) -> Endpoint;

    /// Puts the content of `folder` on the upload disk [`crate::ssh::UPLOAD_DISK`], as a read-only
    /// ext2 file system. Returns false if the VM has no upload disk.
    fn attach_uploads(
        &self,
        folder: &Path,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<bool, BuilderError>> + Send {
        let _ = (folder, interrupt);
        std::future::ready(Ok(false))
    }

    /// Returns the VM snapshot that it resumed from, or `None` if it booted.
    fn resumed(&self) -> Option<&Resumed> {
        None
    }

    /// Returns the cause of its end, or `None` while it runs. After the end of a VM, the cause may
    /// take a second to appear.
    fn end(&mut self) -> Option<MachineEnd>;

    /// Keeps the VM running after this process ends.
    fn detach(self);

    /// Returns the last lines of its serial console.
    fn console(&self) -> impl Future<Output = Vec<String>> + Send;
}
