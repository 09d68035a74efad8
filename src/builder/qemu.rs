//! The QEMU builder: VMs on this host, in user space and without privileges.
//! Takes a planned base and keys; returns disks in the cache, running VMs and qcow2 artifacts.
//! Mounts nothing, uses no loop devices, and opens ports only on 127.0.0.1.

mod base;
mod cache;
mod capture;
mod disk_image;
mod image;
mod layer_cache;
pub mod machine;
pub(crate) mod qmp;
mod requirement;
mod options;
mod recorded;
mod socket;
mod space;
mod user_ids;

use std::path::PathBuf;

use jiff::Timestamp;

use crate::builder::{
    AccessBy, Boot, Builder, BuilderError, Captured, Content, Disk, Layer, LayerCacheUsage,
    LayerOrigin, SnapshotCacheUsage,
};
use crate::definition::QemuBase;
use crate::digest::Digest;
use crate::event::Events;
use crate::lock::LockedBase;
use crate::plan::PlannedBase;
use crate::teardown::Teardown;
use crate::wait::Interrupt;

use machine::emulation;

pub use machine::QemuMachine;
pub use options::{QemuOptions, Tools};
pub use requirement::{build_requirements, requirements, test_requirements};
pub use user_ids::UserIds;

/// Returns whether VMs run under KVM on this host. Otherwise they are emulated.
pub fn kvm_works() -> bool {
    machine::kvm_works()
}

/// Returns the size of the layer cache.
pub fn layer_use(options: &QemuOptions) -> LayerCacheUsage {
    layer_cache::usage(options)
}

/// Returns the size of the VM snapshots in the cache.
pub fn snapshot_use(options: &QemuOptions) -> SnapshotCacheUsage {
    emulation::usage(options)
}

/// The builder that runs VMs with QEMU on this host.
pub struct Qemu {
    options: QemuOptions,
}

impl Qemu {
    /// Returns a builder with these options. Does not access the cache yet.
    pub fn new(options: QemuOptions) -> Self {
        Self { options }
    }
}

impl Builder for Qemu {
    type Machine = QemuMachine;

    fn name(&self) -> &'static str {
        "qemu"
    }

    async fn base(
        &self,
        base: &PlannedBase,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Disk, BuilderError> {
        match base {
            PlannedBase::Qemu {
                wanted: QemuBase::Packages { .. },
                locked: LockedBase::Packages { .. },
            } => base::find_or_make(&self.options, base, teardown, events, interrupt).await,
            PlannedBase::Qemu {
                wanted: QemuBase::CloudImage { firmware, .. },
                locked: LockedBase::CloudImage { url, sha512 },
            } => {
                let request = image::ImageRequest {
                    url,
                    sha512,
                    firmware: *firmware,
                };
                image::find_or_fetch(&self.options, &request, teardown, events, interrupt).await
            }
            PlannedBase::Qemu { .. } => Err(BuilderError::LockMismatch),
            PlannedBase::Azure { .. } => Err(BuilderError::WrongBuilder),
        }
    }

    fn supports_upload_disk(&self) -> bool {
        true
    }

    async fn find_layer(
        &self,
        disk: &Disk,
        keys: &[Digest],
        now: Timestamp,
        interrupt: &Interrupt,
    ) -> Result<Option<Layer>, BuilderError> {
        emulation::prune(&self.options, now)?;
        if keys.is_empty() {
            return Ok(None);
        }
        layer_cache::find(&self.options, disk.file()?, keys, now, interrupt).await
    }

    /// cloud-init writes the keys of a run to the disk. Later builds would get them with a cached
    /// layer.
    fn can_cache_layers(&self, disk: &Disk) -> bool {
        disk.access == AccessBy::Credentials
    }

    async fn cache_layer(
        &self,
        machine: &mut QemuMachine,
        made: LayerOrigin,
        interrupt: &Interrupt,
    ) -> Result<(), BuilderError> {
        machine::keep_layer(&self.options, machine, made, interrupt).await
    }

    async fn discard_layers(
        &self,
        machine: Option<&mut QemuMachine>,
        run: &str,
    ) -> Result<(), BuilderError> {
        if let Some(machine) = machine {
            // Otherwise the layer that is being recorded would appear in the cache afterwards.
            machine.finish_recording().await;
        }
        layer_cache::discard(&self.options, run)
    }

    async fn boot(
        &self,
        boot: Boot<'_>,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<QemuMachine, BuilderError> {
        machine::start(&self.options, &boot, teardown, events, interrupt).await
    }

    async fn capture(
        &self,
        machine: QemuMachine,
        to: PathBuf,
        _teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Captured, BuilderError> {
        capture::capture(&self.options, machine, to, events, interrupt).await
    }

    async fn recorded_base(
        &self,
        disk_sha256: Option<Digest>,
        _resolved: &serde_json::Value,
        interrupt: &Interrupt,
    ) -> Result<Option<Content>, BuilderError> {
        let Some(sha256) = disk_sha256 else {
            return Ok(None);
        };
        let file = recorded::by_digest(&self.options.cache, sha256, interrupt).await?;
        Ok(file.map(Content::File))
    }
}
