//! Checks that a lock fits its definition, and lets the platform plan base, machine and output.

use std::collections::BTreeMap;

use super::PlanError;
use crate::definition::Definition;
use crate::definition::platform::{Parts, Platform, Platforms, Target, Unplannable};
use crate::lock::{self, Lock};
use crate::release::LockedRelease;

/// Returns the target of `definition` on a platform, and the releases for its architecture.
pub(super) fn decide(
    definition: &Definition,
    lock: &Lock,
    platform: &dyn Platform,
    platforms: &Platforms,
) -> Result<(Target, Vec<LockedRelease>), PlanError> {
    if lock.wanted != lock::requested_releases(definition, platforms) {
        return Err(PlanError::StaleLock {
            image: definition.name.clone(),
        });
    }
    let parts = parts(definition, platform.name())?;
    let locked = lock.base(platform.name());
    let locked = locked.ok_or_else(|| PlanError::NotLocked {
        image: definition.name.clone(),
        builder: platform.name().to_owned(),
    })?;
    let planned = platform.plan(definition, parts, locked);
    let target = planned.map_err(|error| match error {
        Unplannable::Problem(problem) => problem.into(),
        Unplannable::Lock(reason) => broken_lock(definition, reason),
    })?;
    let releases = lock.releases.iter();
    let mut releases: Vec<LockedRelease> = releases
        .filter(|release| release.arch == target.architecture)
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
    Ok((target, releases))
}

/// Finds a platform, or returns the error that the definition has no base for it.
pub(super) fn find<'a>(
    definition: &Definition,
    platforms: &'a Platforms,
    name: &str,
) -> Result<&'a dyn Platform, PlanError> {
    let found = platforms.find(name);
    found.ok_or_else(|| no_base(definition, name))
}

/// Returns the tables of a platform, or an error if the definition has no base for it.
pub(super) fn parts<'a>(definition: &'a Definition, name: &str) -> Result<&'a Parts, PlanError> {
    let found = definition.parts(name);
    found.ok_or_else(|| no_base(definition, name))
}

fn no_base(definition: &Definition, platform: &str) -> PlanError {
    PlanError::OtherBuilder {
        image: definition.name.clone(),
        builder: platform.to_owned(),
    }
}

fn broken_lock(definition: &Definition, reason: &str) -> PlanError {
    PlanError::BrokenLock {
        image: definition.name.clone(),
        reason: reason.to_owned(),
    }
}
