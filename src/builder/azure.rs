//! The Azure builder: takes a planned base, keys and an ARM client; returns VMs and images.
//!
//! Every id is in the journal before its resource is created. Resource groups, galleries and image
//! definitions that outlive a build must exist; nothing that exists is replaced.

mod body;
mod capture;
mod cleanup;
mod error;
mod machine;
pub mod names;
mod preflight;
mod sweep;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::azure::{ArmClient, ResourceId};
use crate::builder::{AccessBy, Artifact, Boot, Builder, BuilderError, Captured, Content, Disk};
use crate::definition::{AzureMachine, AzureOutput, Firmware, GalleryOutput};
use crate::digest::Digest;
use crate::event::Events;
use crate::lock::{LockedImage, VmGeneration};
use crate::plan::PlannedBase;
use crate::teardown::{Cloud, Teardown};
use crate::wait::Interrupt;

pub use cleanup::Cleaner;
pub use error::AzureError;
pub use machine::AzureVm;
pub use sweep::{Expired, sweep_expired};

/// The resources that a build creates on Azure.
#[derive(Clone, Debug)]
pub struct Job {
    /// The settings of the build VM.
    pub machine: AzureMachine,
    /// The settings of the images.
    pub output: AzureOutput,
    /// The image's name.
    pub image: String,
    /// The image's version, MAJOR.MINOR.PATCH.
    pub version: String,
    /// The SSH user: `root`, except in tests that replace the VM.
    pub user: String,
    /// The time, RFC 3339 UTC, after which `sweep` deletes temporary resources.
    pub expires: String,
}

/// The builder that runs its build VMs on Azure.
pub struct Azure {
    arm: ArmClient,
    job: Job,
    /// The source of the gallery version. Preflight sets it.
    gallery_source: Mutex<GallerySource>,
}

/// The source of a gallery version. Azure accepts not each of them for each security type:
/// <https://learn.microsoft.com/azure/virtual-machines/trusted-launch-portal>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum GallerySource {
    /// The generalized build VM.
    #[default]
    Machine,
    /// A managed image of it.
    ManagedImage,
    /// A snapshot of its OS disk.
    Snapshot,
}

impl Job {
    /// Returns the id of the managed image.
    pub fn managed_image(&self, subscription: &str) -> ResourceId {
        let group = ResourceId::group(subscription, &self.output.resource_group);
        let name = format!("{}-{}", self.image, self.version);
        group.resource("Microsoft.Compute/images", &name)
    }

    /// Returns the id of the image definition in `gallery`.
    fn definition(&self, subscription: &str, gallery: &GalleryOutput) -> ResourceId {
        let group = ResourceId::group(subscription, &gallery.resource_group);
        let gallery_id = group.resource("Microsoft.Compute/galleries", &gallery.name);
        gallery_id.child("images", &gallery.definition)
    }

    /// Returns the id of the gallery version, if the build creates one.
    pub(crate) fn gallery_version(&self, subscription: &str) -> Option<ResourceId> {
        let gallery = self.output.gallery.as_ref()?;
        let definition = self.definition(subscription, gallery);
        Some(definition.child("versions", &self.version))
    }

    /// Returns the ids of all images that the build creates, with their api-versions.
    fn image_ids(&self, subscription: &str) -> Vec<(ResourceId, &'static str)> {
        let managed = self
            .output
            .managed_image
            .then(|| self.managed_image(subscription));
        let managed = managed.map(|id| (id, body::COMPUTE));
        let version = self.gallery_version(subscription);
        let version = version.map(|id| (id, body::GALLERY));
        managed.into_iter().chain(version).collect()
    }
}

impl Azure {
    /// Creates a builder that runs `job` through `arm`, without sending anything.
    pub fn new(arm: ArmClient, job: Job) -> Self {
        Self {
            arm,
            job,
            gallery_source: Mutex::default(),
        }
    }

    fn gallery_source(&self) -> GallerySource {
        *self
            .gallery_source
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Builder for Azure {
    type Machine = AzureVm;

    fn name(&self) -> &'static str {
        "azure"
    }

    async fn base(
        &self,
        base: &PlannedBase,
        _teardown: &mut Teardown,
        events: &Events,
        _interrupt: &Interrupt,
    ) -> Result<Disk, BuilderError> {
        let PlannedBase::Azure { locked, .. } = base else {
            return Err(BuilderError::WrongBuilder);
        };
        let source = preflight::check(self, locked, events).await?;
        *self
            .gallery_source
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = source;
        Ok(disk(locked))
    }

    async fn boot(
        &self,
        boot: Boot<'_>,
        teardown: &mut Teardown,
        events: &Events,
        _interrupt: &Interrupt,
    ) -> Result<AzureVm, BuilderError> {
        machine::start(self, &boot, teardown, events).await
    }

    async fn capture(
        &self,
        machine: AzureVm,
        _to: PathBuf,
        teardown: &mut Teardown,
        events: &Events,
        _interrupt: &Interrupt,
    ) -> Result<Captured, BuilderError> {
        let artifact = capture::capture(self, machine, teardown, events).await?;
        Ok(Captured {
            artifact,
            raw: None,
        })
    }

    async fn tag_artifact(
        &self,
        artifact: &Artifact,
        manifest: &Digest,
        _interrupt: &Interrupt,
    ) -> Result<(), BuilderError> {
        Ok(capture::tag_images(self, artifact, manifest).await?)
    }

    async fn recorded_base(
        &self,
        _disk_sha256: Option<Digest>,
        resolved: &serde_json::Value,
        _interrupt: &Interrupt,
    ) -> Result<Option<Content>, BuilderError> {
        let locked = serde_json::from_value(resolved.clone());
        Ok(locked.ok().map(Content::Azure))
    }

    fn cloud_cleaner(&self) -> Option<Arc<dyn Cloud>> {
        Some(Arc::new(Cleaner::new(&self.arm)))
    }
}

fn disk(locked: &LockedImage) -> Disk {
    Disk {
        content: Content::Azure(locked.clone()),
        firmware: match locked.generation {
            VmGeneration::V1 => Firmware::Bios,
            VmGeneration::V2 => Firmware::Uefi,
        },
        access: AccessBy::CustomData,
        kernel: None,
    }
}
