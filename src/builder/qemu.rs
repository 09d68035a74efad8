//! The QEMU builder: machines of this computer, in user space, without privileges.
//!
//! In: a planned base, keys. Out: disks in the cache, running machines, qcow2 artifacts. Deliberately never mounts
//! anything, uses no loop device, and opens no port but on 127.0.0.1.

mod base;
mod cache;
mod capture;
mod disk_image;
mod image;
mod layer_cache;
pub mod machine;
mod qmp;
mod requirement;
mod options;
mod socket;
mod snapshot_cache;
mod user_ids;

use std::path::PathBuf;

use jiff::Timestamp;

use crate::builder::{
    AccessBy, Boot, Builder, BuilderError, Captured, Content, Disk, Layer, LayerUse, Made,
    SnapshotUse,
};
use crate::definition::QemuBase;
use crate::digest::Digest;
use crate::event::Events;
use crate::lock::LockedBase;
use crate::plan::PlannedBase;
use crate::teardown::Teardown;
use crate::wait::Interrupt;

pub use machine::QemuMachine;
pub use options::{QemuOptions, Tools};
pub use requirement::{build_requirements, requirements, test_requirements};
pub use user_ids::UserIds;

/// Whether machines run under KVM here; else under software emulation.
pub fn kvm_works() -> bool {
    machine::kvm_works()
}

/// What the layers of a cache take.
pub fn layer_use(settings: &QemuOptions) -> LayerUse {
    layer_cache::usage(settings)
}

/// What the suspended machines of a cache take.
pub fn snapshot_use(settings: &QemuOptions) -> SnapshotUse {
    snapshot_cache::usage(settings)
}

/// Builds with QEMU on this computer.
pub struct Qemu {
    settings: QemuOptions,
}

impl Qemu {
    /// A builder with `settings`. Touches nothing yet.
    pub fn new(settings: QemuOptions) -> Self {
        Self { settings }
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
            } => base::find_or_make(&self.settings, base, teardown, events, interrupt).await,
            PlannedBase::Qemu {
                wanted: QemuBase::CloudImage { firmware, .. },
                locked: LockedBase::CloudImage { url, sha512 },
            } => {
                let wanted = image::ImageRequest {
                    url,
                    sha512,
                    firmware: *firmware,
                };
                image::find_or_fetch(&self.settings, &wanted, teardown, events, interrupt).await
            }
            PlannedBase::Qemu { .. } => Err(BuilderError::LockOfAnotherBase),
            PlannedBase::Azure { .. } => Err(BuilderError::OtherBuilder),
        }
    }

    fn supports_upload_disk(&self) -> bool {
        true
    }

    async fn layer(
        &self,
        disk: &Disk,
        keys: &[Digest],
        now: Timestamp,
        interrupt: &Interrupt,
    ) -> Result<Option<Layer>, BuilderError> {
        snapshot_cache::prune(&self.settings, now)?;
        if keys.is_empty() {
            return Ok(None);
        }
        layer_cache::find(&self.settings, disk.file()?, keys, now, interrupt).await
    }

    /// Only where keys of a run never touch the disk: a layer with them in it would hand them on.
    fn keeps_layers(&self, disk: &Disk) -> bool {
        disk.access == AccessBy::Credentials
    }

    async fn keep_layer(
        &self,
        machine: &mut QemuMachine,
        made: Made,
        interrupt: &Interrupt,
    ) -> Result<(), BuilderError> {
        machine::keep_layer(&self.settings, machine, made, interrupt).await
    }

    async fn forget_layers(
        &self,
        machine: Option<&mut QemuMachine>,
        run: &str,
    ) -> Result<(), BuilderError> {
        if let Some(machine) = machine {
            // What is being recorded would be there after all.
            machine.finish_recording().await;
        }
        layer_cache::forget(&self.settings, run)
    }

    async fn boot(
        &self,
        boot: Boot<'_>,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<QemuMachine, BuilderError> {
        machine::start(&self.settings, &boot, teardown, events, interrupt).await
    }

    async fn capture(
        &self,
        machine: QemuMachine,
        to: PathBuf,
        _teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Captured, BuilderError> {
        capture::capture(&self.settings, machine, to, events, interrupt).await
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
        let file = cache::by_digest(&self.settings.cache, sha256, interrupt).await?;
        Ok(file.map(Content::File))
    }
}
