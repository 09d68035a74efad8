//! What a machine of this computer is shown instead of sent: made beside its start, seen by it at once.

use std::path::{Path, PathBuf};

use super::{Bake, BakeError};
use crate::builder::{Builder, BuilderError, Machine};
use crate::guest_steps::{self, Guest};
use crate::release::Verified;
use crate::store::backend::Backend;

/// Below the run's folder `local_work`: what the machine will see.
fn folder(local_work: &Path) -> PathBuf {
    local_work.join("uploads")
}

/// Unpacks the releases.
pub(super) async fn unpack<B: Builder, S: Backend>(
    bake: &Bake<'_, B, S>,
    releases: &[Verified],
    local_work: &Path,
) -> Result<(), BakeError> {
    let (releases, folder) = (releases.to_vec(), folder(local_work));
    bake.blocking(move || guest_steps::unpack(&releases, &folder))
        .await
}

/// Shows the machine what was unpacked, which goes, with all else that it needs. Whether it can be shown anything.
pub(super) async fn show<M: Machine>(
    guest: &Guest<'_>,
    machine: Option<&M>,
) -> Result<bool, BakeError> {
    let folder = &folder(guest.local_work);
    let Some(machine) = machine.filter(|_| folder.is_dir()) else {
        return Ok(false);
    };
    guest_steps::pack(guest, folder)?;
    let shown = machine.attach_uploads(folder, guest.interrupt).await?;
    std::fs::remove_dir_all(folder).map_err(BuilderError::file(folder))?;
    Ok(shown)
}
