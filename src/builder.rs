//! Builders boot temporary VMs and capture their disks.
//! Take the base of a plan and keys; return a [`Disk`], a running [`Machine`], an [`Artifact`].
//! The work inside a VM goes over SSH and is left to others.

pub mod access;
mod artifact;
mod disk;
mod end;
mod error;
mod layer;
pub(crate) mod start;
mod snapshot;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::definition::platform::{PlannedBase, PlannedMachine};
use crate::digest::Digest;
use crate::event::Events;
use crate::ssh::{Endpoint, Keys};
use crate::teardown::{Cloud, Teardown};
use crate::wait::Interrupt;

pub use artifact::{Artifact, Captured, CapturedFile, CapturedImage, RecordedImage};
pub use disk::{AccessBy, Content, Disk, DiskFile, Kernel};
pub use end::{EndCause, MachineEnd};
pub use error::{BuilderError, PlatformFailure};
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

    /// Returns the name of the platform, for example `qemu`.
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

    /// Finds the image that a manifest names, to boot it. Only a builder in a cloud has images.
    fn reopen(&self, image: &RecordedImage<'_>) -> Result<Content, BuilderError> {
        let _ = image;
        Err(BuilderError::WrongBuilder)
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

    /// Waits until the platform has reported whether the VM started. Returns its end if it did not.
    /// A VM in a cloud may answer before.
    fn settle(&mut self) -> impl Future<Output = Option<MachineEnd>> + Send {
        std::future::ready(None)
    }

    /// Keeps the VM running after this process ends.
    fn detach(self);

    /// Returns the last lines of its serial console.
    fn console(&self) -> impl Future<Output = Vec<String>> + Send;
}
