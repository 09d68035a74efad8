//! Whether a lock fits its definition, and the base that both name.

use std::collections::BTreeMap;

use super::{PlanError, PlannedBase};
use crate::definition::{Definition, QemuBase};
use crate::lock::{self, Lock, LockedBase};

/// The base of `definition` as `lock` has it, where the two fit.
pub(super) fn decide(definition: &Definition, lock: &Lock) -> Result<PlannedBase, PlanError> {
    if lock.wanted != lock::wanted(definition) {
        return Err(PlanError::StaleLock {
            image: definition.name.clone(),
        });
    }
    let broken = |reason: String| PlanError::BrokenLock {
        image: definition.name.clone(),
        reason,
    };
    let locked: BTreeMap<&String, &String> = lock
        .releases
        .iter()
        .map(|release| (&release.product, &release.version))
        .collect();
    if locked.len() != lock.releases.len() || !locked.into_iter().eq(&definition.releases) {
        return Err(broken(String::from(
            "the releases are not those of image.toml",
        )));
    }
    let (Some(wanted), Some(locked)) = (&definition.qemu, &lock.qemu) else {
        return Err(broken(String::from("it has no base for qemu")));
    };
    if !fits(wanted, locked) {
        return Err(broken(String::from("the base is not that of image.toml")));
    }
    let (mut wanted, mut locked) = (wanted.clone(), locked.clone());
    if let QemuBase::CloudImage { url, .. } = &mut wanted {
        *url = lock::whole(&definition.folder, url);
    }
    if let LockedBase::CloudImage { url, .. } = &mut locked {
        *url = lock::whole(&definition.folder, url);
    }
    Ok(PlannedBase { wanted, locked })
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
