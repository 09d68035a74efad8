//! Checks that a lock fits its definition, and selects base, machine and output of the builder.

use std::collections::BTreeMap;

use super::{PlanError, PlannedBase, PlannedMachine, PlannedOutput};
use crate::definition::{Address, AzureBase, BuilderKind, Definition, Location, QemuBase};
use crate::lock::{self, ImageReference, Lock, LockedBase};
use crate::release::{Architecture, LockedRelease};

/// The parts of a plan that depend on the builder.
pub(super) struct Target {
    pub(super) base: PlannedBase,
    pub(super) releases: Vec<LockedRelease>,
    pub(super) machine: PlannedMachine,
    pub(super) output: PlannedOutput,
}

/// Returns the locked base of `definition` for `builder`, with machine and output.
pub(super) fn decide(
    definition: &Definition,
    lock: &Lock,
    builder: BuilderKind,
) -> Result<Target, PlanError> {
    if lock.wanted != lock::requested_releases(definition) {
        return Err(PlanError::StaleLock {
            image: definition.name.clone(),
        });
    }
    let (base, machine, output) = match builder {
        BuilderKind::Qemu => qemu(definition, lock),
        BuilderKind::Azure => azure(definition, lock),
    }?;
    let releases = lock.releases.iter();
    let mut releases: Vec<LockedRelease> = releases
        .filter(|release| release.arch == base.architecture())
        .cloned()
        .collect();
    let locked: BTreeMap<&String, &String> = releases
        .iter()
        .map(|release| (&release.product, &release.version))
        .collect();
    if locked.len() != releases.len() || !locked.into_iter().eq(&definition.releases) {
        return Err(broken_lock(
            definition,
            "its releases are not those of image.toml",
        ));
    }
    for release in &mut releases {
        release.url = lock::resolve_path(&definition.folder, &release.url);
    }
    Ok(Target {
        base,
        releases,
        machine,
        output,
    })
}

impl PlannedBase {
    /// Returns the architecture of its programs.
    pub fn architecture(&self) -> Architecture {
        match self {
            Self::Qemu { .. } => lock::QEMU_ARCHITECTURE,
            Self::Azure { locked, .. } => locked.arch,
        }
    }
}

/// Base, machine and output of one builder.
type Parts = (PlannedBase, PlannedMachine, PlannedOutput);

/// Fails if the definition has no base for `builder`.
pub(super) fn check_base(definition: &Definition, builder: BuilderKind) -> Result<(), PlanError> {
    match builder {
        BuilderKind::Qemu if definition.qemu.is_none() => Err(no_base(definition, "qemu")),
        BuilderKind::Azure if definition.azure.is_none() => Err(no_base(definition, "azure")),
        BuilderKind::Qemu | BuilderKind::Azure => Ok(()),
    }
}

fn broken_lock(definition: &Definition, reason: &str) -> PlanError {
    PlanError::BrokenLock {
        image: definition.name.clone(),
        reason: reason.to_owned(),
    }
}

fn no_base(definition: &Definition, builder: &'static str) -> PlanError {
    PlanError::OtherBuilder {
        image: definition.name.clone(),
        builder,
    }
}

fn not_locked(definition: &Definition, builder: &'static str) -> PlanError {
    PlanError::NotLocked {
        image: definition.name.clone(),
        builder,
    }
}

fn qemu(definition: &Definition, lock: &Lock) -> Result<Parts, PlanError> {
    let wanted = definition.qemu.as_ref();
    let wanted = wanted.ok_or_else(|| no_base(definition, "qemu"))?;
    let locked = lock.qemu.as_ref();
    let locked = locked.ok_or_else(|| not_locked(definition, "qemu"))?;
    if !fits(wanted, locked) {
        return Err(broken_lock(
            definition,
            "its base is not that of image.toml",
        ));
    }
    let (mut wanted, mut locked) = (wanted.clone(), locked.clone());
    if let QemuBase::CloudImage { url, .. } = &mut wanted {
        *url = lock::resolve_path(&definition.folder, url);
    }
    if let LockedBase::CloudImage { url, .. } = &mut locked {
        *url = lock::resolve_path(&definition.folder, url);
    }
    Ok((
        PlannedBase::Qemu { wanted, locked },
        PlannedMachine::Qemu(definition.machine.clone()),
        PlannedOutput::Qemu(definition.output),
    ))
}

fn azure(definition: &Definition, lock: &Lock) -> Result<Parts, PlanError> {
    let wanted = definition.azure.clone();
    let wanted = wanted.ok_or_else(|| no_base(definition, "azure"))?;
    if wanted.machine.address == Address::Public && wanted.machine.allow_from.is_empty() {
        let at = Location::start_of(&definition.file).below("machine.azure.allow_from");
        return Err(at
            .problem("empty; expected the addresses that builds are started from")
            .with_hint("Add an address. For a variable, pass `--var azure_allow_from=203.0.113.7`.")
            .into());
    }
    let locked = lock.azure.clone();
    let locked = locked.ok_or_else(|| not_locked(definition, "azure"))?;
    if !is_version_of(&wanted.base, &locked.image) {
        return Err(broken_lock(
            definition,
            "its image is not that of image.toml",
        ));
    }
    let base = PlannedBase::Azure {
        wanted: wanted.base,
        locked,
    };
    let machine = PlannedMachine::Azure(Box::new(wanted.machine));
    Ok((base, machine, PlannedOutput::Azure(wanted.output)))
}

/// Tells if `wanted` can be locked to `locked`.
fn is_version_of(wanted: &AzureBase, locked: &ImageReference) -> bool {
    match (wanted, locked) {
        (
            AzureBase::Marketplace {
                publisher,
                offer,
                sku,
                version,
            },
            ImageReference::Marketplace {
                publisher: locked_publisher,
                offer: locked_offer,
                sku: locked_sku,
                version: locked_version,
            },
        ) => {
            (publisher, offer, sku) == (locked_publisher, locked_offer, locked_sku)
                && (version == "latest" || version == locked_version)
        }
        // An image definition is locked to one of its versions.
        (AzureBase::Gallery { id }, ImageReference::Gallery { id: locked }) => {
            locked == id || locked.starts_with(&format!("{id}/versions/"))
        }
        (AzureBase::ManagedImage { id }, ImageReference::ManagedImage { id: locked }) => {
            id == locked
        }
        _ => false,
    }
}

fn fits(wanted: &QemuBase, locked: &LockedBase) -> bool {
    match (wanted, locked) {
        (QemuBase::Packages { .. }, LockedBase::Packages { index }) => index
            .iter()
            .map(|index| (index.mirror.as_str(), index.suite.as_str()))
            .eq(wanted.suites()),
        (
            QemuBase::CloudImage { url, sha512, .. },
            LockedBase::CloudImage {
                url: locked_url,
                sha512: locked_sha512,
            },
        ) => url == locked_url && sha512 == locked_sha512,
        _ => false,
    }
}
