//! The Azure builder: takes a planned base, keys and an ARM client; returns VMs and images.
//!
//! Every id is in the journal before its resource is created. Resource groups, galleries and image
//! definitions that outlive a build must exist; nothing that exists is replaced.

mod body;
mod capture;
mod cleanup;
mod definition;
mod error;
mod lock;
mod locked_image;
mod machine;
pub mod names;
mod plan;
mod preflight;
mod sweep;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use serde::Deserialize;

use crate::azure::{ArmClient, ResourceId};
use crate::builder::{
    AccessBy, Artifact, Boot, Builder, BuilderError, Captured, Content, Disk, RecordedImage,
};
use crate::definition::platform::{
    BaseError, Firmware, LockContext, Parts, PlannedBase, Platform, Reading, Tables, Target,
    Unplannable,
};
use crate::definition::{Definition, Problem};
use crate::digest::Digest;
use crate::event::Events;
use crate::release::Architecture;
use crate::teardown::{Cloud, Teardown};
use crate::wait::Interrupt;

pub use cleanup::Cleaner;
pub use definition::{
    Address, AzureBase, AzureMachine, AzureOutput, AzureSpec, DiskController, GalleryOutput,
    LONGEST_IMAGE_NAME, Security, TAG_PREFIX,
};
pub use error::AzureError;
pub use lock::Images;
pub use locked_image::{ImageReference, LockedImage, PurchasePlan, VmGeneration};
pub use machine::AzureVm;
pub use sweep::{Expired, sweep_expired};

/// The name of the platform.
const NAME: &str = "azure";

/// What definitions, locks and plans know of Azure.
#[derive(Default)]
pub struct AzurePlatform {
    /// Looks up bases. Without a subscription, none can be locked.
    pub images: Option<Box<dyn Images>>,
}

impl Platform for AzurePlatform {
    fn name(&self) -> &'static str {
        NAME
    }

    fn read(&self, tables: Tables, reading: &Reading<'_>) -> Result<Option<Parts>, Problem> {
        definition::read(tables, reading)
    }

    fn lock<'a>(
        &'a self,
        parts: &'a Parts,
        context: LockContext<'a>,
    ) -> BoxFuture<'a, Result<toml::Table, BaseError>> {
        Box::pin(async move {
            let wanted = AzureSpec::of(parts).expect("what this platform read");
            let images = self.images.as_ref().ok_or_else(lock::no_subscription)?;
            let locked = images.image(&wanted, context.events).await?;
            Ok(toml::Table::try_from(locked).expect("a locked image is a table"))
        })
    }

    fn plan(
        &self,
        definition: &Definition,
        parts: &Parts,
        locked: &toml::Table,
    ) -> Result<Target, Unplannable> {
        plan::plan(definition, parts, locked)
    }

    fn check_locked(&self, text: &str) -> Result<(), toml::de::Error> {
        #[derive(Deserialize)]
        struct File {
            #[serde(rename = "azure")]
            _base: Option<LockedImage>,
        }
        toml::from_str::<File>(text).map(drop)
    }

    fn locked_parts(&self, parts: &Parts) -> Vec<serde_json::Value> {
        vec![parts.base.clone(), parts.machine["location"].clone()]
    }
}

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
        NAME
    }

    async fn base(
        &self,
        base: &PlannedBase,
        _teardown: &mut Teardown,
        events: &Events,
        _interrupt: &Interrupt,
    ) -> Result<Disk, BuilderError> {
        let locked = locked_image(&base.locked)?;
        let source = preflight::check(self, &locked, events).await?;
        *self
            .gallery_source
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = source;
        Ok(disk(&locked))
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
        let locked = LockedImage::deserialize(resolved);
        Ok(locked.ok().map(|_| Content::Cloud(resolved.clone())))
    }

    fn reopen(&self, image: &RecordedImage<'_>) -> Result<Content, BuilderError> {
        let id = image.id.to_owned();
        // An image of a paid base is started with the plan of the base.
        let base = LockedImage::deserialize(image.base).ok();
        Ok(content(&LockedImage {
            image: match image.class {
                GALLERY_VERSION => ImageReference::Gallery { id },
                _ => ImageReference::ManagedImage { id },
            },
            generation: match image.firmware {
                Firmware::Bios => VmGeneration::V1,
                Firmware::Uefi => VmGeneration::V2,
            },
            arch: Architecture::parse(image.arch).unwrap_or_default(),
            security: None,
            disk_controllers: Vec::new(),
            plan: base.and_then(|base| base.plan),
        }))
    }

    fn cloud_cleaner(&self) -> Option<Arc<dyn Cloud>> {
        Some(Arc::new(Cleaner::new(&self.arm)))
    }
}

/// The class of a managed image in a manifest.
const MANAGED_IMAGE: &str = "azure-managed-image";
/// The class of a gallery version in a manifest.
const GALLERY_VERSION: &str = "azure-gallery-version";

/// Returns an image in this platform's form, or an error for one of another platform.
fn locked_image(image: &serde_json::Value) -> Result<LockedImage, BuilderError> {
    LockedImage::deserialize(image).map_err(|_| BuilderError::WrongBuilder)
}

fn content(image: &LockedImage) -> Content {
    Content::Cloud(serde_json::json!(image))
}

fn disk(locked: &LockedImage) -> Disk {
    Disk {
        content: content(locked),
        firmware: match locked.generation {
            VmGeneration::V1 => Firmware::Bios,
            VmGeneration::V2 => Firmware::Uefi,
        },
        access: AccessBy::CustomData,
        kernel: None,
    }
}
