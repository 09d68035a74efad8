//! Prepares the content of an upload disk, which a VM reads without a transfer over SSH.

use std::path::{Path, PathBuf};

use super::{Bake, BakeError};
use crate::builder::{Builder, BuilderError, Machine};
use crate::guest_steps::{self, StepContext};
use crate::release::VerifiedRelease;
use crate::store::backend::Backend;

/// Returns the folder with the content of the upload disk.
fn folder(local_work: &Path) -> PathBuf {
    local_work.join("uploads")
}

/// Unpacks the releases into the upload folder.
pub(super) async fn unpack<B: Builder, S: Backend>(
    bake: &Bake<'_, B, S>,
    releases: &[VerifiedRelease],
    local_work: &Path,
) -> Result<(), BakeError> {
    let (releases, folder) = (releases.to_vec(), folder(local_work));
    bake.blocking(move || guest_steps::unpack(&releases, &folder))
        .await
}

/// Completes the upload folder, attaches it to the VM as a disk, and deletes the folder. Returns
/// false if there is no upload folder or the VM has no upload disk.
pub(super) async fn attach<M: Machine>(
    guest: &StepContext<'_>,
    machine: Option<&M>,
) -> Result<bool, BakeError> {
    let folder = &folder(guest.local_work);
    let Some(machine) = machine.filter(|_| folder.is_dir()) else {
        return Ok(false);
    };
    guest_steps::pack(guest, folder)?;
    let attached = machine.attach_uploads(folder, guest.interrupt).await?;
    std::fs::remove_dir_all(folder).map_err(BuilderError::file(folder))?;
    Ok(attached)
}
