//! The Azure builder: a temporary machine in a subscription, and images made of it.
//!
//! In: a planned base, keys, a door to the subscription. Out: running machines, managed images and gallery versions.
//! Every id is in the journal before it is asked for. What does not depend on each other is made at the same time.
//! Deliberately makes no group, gallery or definition that outlives a bake, and replaces nothing that is there.

mod body;
mod capture;
mod cleanup;
mod machine;
pub mod names;
mod preflight;
mod sweep;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::azure::{ArmClient, ArmError, ResourceId};
use crate::builder::{AccessBy, Artifact, Boot, Builder, BuilderError, Captured, Content, Disk};
use crate::definition::{AzureMachine, AzureOutput, Firmware, GalleryOutput};
use crate::digest::Digest;
use crate::event::Events;
use crate::lock::{LockedImage, VmGeneration};
use crate::plan::PlannedBase;
use crate::teardown::{Cloud, Teardown};
use crate::wait::Interrupt;

pub use cleanup::Cleaner;
pub use machine::AzureVm;
pub use sweep::{Expired, sweep_expired};

/// What a run makes on Azure.
#[derive(Clone, Debug)]
pub struct Job {
    /// How its machines run.
    pub machine: AzureMachine,
    /// What it leaves.
    pub output: AzureOutput,
    /// The image's name.
    pub image: String,
    /// Its version, MAJOR.MINOR.PATCH.
    pub version: String,
    /// Who logs in: `root`, but for stand-in machines of tests.
    pub user: String,
    /// Until when what it makes may be needed, RFC 3339 UTC: later it is swept.
    pub expires: String,
}

/// Builds on Azure.
pub struct Azure {
    arm: ArmClient,
    job: Job,
    /// Whether a gallery version needs a managed image to be made of: known after the first look.
    needs_image: AtomicBool,
}

/// A bake on Azure failed.
#[derive(Debug, thiserror::Error)]
pub enum AzureError {
    /// It could not have succeeded.
    #[error("{what}: {why}")]
    Preflight {
        /// What was looked at.
        what: String,
        /// Why not, and what to do.
        why: String,
    },
    /// Azure refused, failed, or was not reached.
    #[error("{error}{}", hint(.error))]
    Arm {
        /// What it says.
        error: ArmError,
    },
    /// An answer does not say what it has to.
    #[error("{what}: {why}")]
    Unexpected {
        /// The resource.
        what: String,
        /// What is missing or wrong.
        why: String,
    },
    /// The machine became another than was asked for.
    #[error(
        "machine {machine} became a {found} one though `{wanted}` was asked for; a policy of the subscription may have changed it"
    )]
    Security {
        /// Its name.
        machine: String,
        /// Which kind it is.
        found: String,
        /// Which kind it should be.
        wanted: &'static str,
    },
}

impl From<ArmError> for AzureError {
    fn from(error: ArmError) -> Self {
        Self::Arm { error }
    }
}

fn hint(error: &ArmError) -> String {
    error
        .hint()
        .map(|hint| format!("\nhint: {hint}"))
        .unwrap_or_default()
}

impl AzureError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }

    /// Whether it is an interrupt in other clothes.
    pub fn is_interrupt(&self) -> bool {
        matches!(
            self,
            Self::Arm {
                error: ArmError::Interrupted(_)
            }
        )
    }
}

impl Job {
    /// The managed image that is left.
    pub fn managed_image(&self, subscription: &str) -> ResourceId {
        let group = ResourceId::group(subscription, &self.output.resource_group);
        let name = format!("{}-{}", self.image, self.version);
        group.resource("Microsoft.Compute/images", &name)
    }

    /// The definition in `gallery`.
    fn definition(&self, subscription: &str, gallery: &GalleryOutput) -> ResourceId {
        let group = ResourceId::group(subscription, &gallery.resource_group);
        let gallery_id = group.resource("Microsoft.Compute/galleries", &gallery.name);
        gallery_id.child("images", &gallery.definition)
    }

    /// The gallery version that is left, where one is.
    pub fn gallery_version(&self, subscription: &str) -> Option<ResourceId> {
        let gallery = self.output.gallery.as_ref()?;
        let definition = self.definition(subscription, gallery);
        Some(definition.child("versions", &self.version))
    }

    /// All that is left, each with the version of its interface.
    fn targets(&self, subscription: &str) -> Vec<(ResourceId, &'static str)> {
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
    /// A builder that does `job` through `arm`. Asks nothing yet.
    pub fn new(arm: ArmClient, job: Job) -> Self {
        Self {
            arm,
            job,
            needs_image: AtomicBool::new(false),
        }
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
            return Err(BuilderError::OtherBuilder);
        };
        let known = preflight::check(self, locked, events).await?;
        self.needs_image.store(known.needs_image, Relaxed);
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
        Ok(capture::mark(self, artifact, manifest).await?)
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

    fn cloud(&self) -> Option<Arc<dyn Cloud>> {
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
