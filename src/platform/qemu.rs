//! The QEMU builder: VMs on this host, in user space and without privileges.
//! Takes a planned base and keys; returns disks in the cache, running VMs and qcow2 artifacts.
//! Mounts nothing, uses no loop devices, and opens ports only on 127.0.0.1.

mod base;
mod cache;
mod capture;
mod definition;
mod disk_image;
mod image;
mod layer_cache;
mod lock;
pub mod machine;
pub(crate) mod qmp;
mod requirement;
mod options;
mod plan;
mod recorded;
mod socket;
mod space;
mod user_ids;

use std::path::PathBuf;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::builder::{
    AccessBy, Boot, Builder, BuilderError, Captured, Content, Disk, Layer, LayerCacheUsage,
    LayerOrigin, SnapshotCacheUsage,
};
use crate::definition::platform::{
    BaseError, LockContext, Parts, PlannedBase, Platform, Reading, Tables, Target, Unplannable,
};
use crate::definition::{Definition, Problem};
use crate::digest::Digest;
use crate::event::Events;
use crate::teardown::Teardown;
use crate::wait::Interrupt;

use machine::emulation;

pub use definition::{Compression, MachineSpec, Network, OutputSpec, QemuBase};
pub use lock::{DEBIAN_KEYRING, LockedBase, PackageIndex, SignedSuites, Suites};
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

/// The name of the platform.
const NAME: &str = "qemu";

/// What definitions, locks and plans know of QEMU.
pub struct QemuPlatform {
    /// Looks up the suites of bases.
    pub suites: Box<dyn Suites>,
}

impl Default for QemuPlatform {
    fn default() -> Self {
        Self {
            suites: Box::new(SignedSuites {
                keyring: DEBIAN_KEYRING.into(),
            }),
        }
    }
}

impl Platform for QemuPlatform {
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
            let wanted = QemuBase::deserialize(&parts.base).expect("what this platform read");
            let locked = lock::lock(&wanted, self.suites.as_ref(), context).await?;
            Ok(toml::Table::try_from(locked).expect("a locked base is a table"))
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
            #[serde(rename = "qemu")]
            _base: Option<LockedBase>,
        }
        toml::from_str::<File>(text).map(drop)
    }

    /// Its keys are those from before there were other platforms, so that digests stay the same.
    fn digested(&self, parts: Option<&Parts>) -> Map<String, Json> {
        let default = || Parts {
            base: Json::Null,
            machine: json!(MachineSpec::default()),
            output: json!(OutputSpec::default()),
        };
        let parts = parts.cloned().unwrap_or_else(default);
        let keys = [
            ("qemu", parts.base),
            ("machine", parts.machine),
            ("output", parts.output),
        ];
        keys.map(|(key, value)| (key.to_owned(), value))
            .into_iter()
            .collect()
    }
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
        NAME
    }

    async fn base(
        &self,
        base: &PlannedBase,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Disk, BuilderError> {
        let (wanted, locked) = base_of(base)?;
        match (&wanted, locked) {
            (QemuBase::Packages { .. }, LockedBase::Packages { index }) => {
                let base = (&wanted, index.as_slice());
                base::find_or_make(&self.options, base, teardown, events, interrupt).await
            }
            (QemuBase::CloudImage { firmware, .. }, LockedBase::CloudImage { url, sha512 }) => {
                let request = image::ImageRequest {
                    url: &url,
                    sha512: &sha512,
                    firmware: *firmware,
                };
                image::find_or_fetch(&self.options, &request, teardown, events, interrupt).await
            }
            _ => Err(BuilderError::LockMismatch),
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

/// Returns a planned base in this platform's form, or an error for one of another platform.
fn base_of(base: &PlannedBase) -> Result<(QemuBase, LockedBase), BuilderError> {
    let wanted = QemuBase::deserialize(&base.wanted);
    let locked = LockedBase::deserialize(&base.locked);
    wanted
        .and_then(|wanted| Ok((wanted, locked?)))
        .map_err(|_| BuilderError::WrongBuilder)
}
