//! What a machine of this computer is shown instead of sent: made beside its start, seen by it at once.

use std::path::Path;

use super::{Bake, BakeError};
use crate::builder::{Builder, BuilderError, Machine};
use crate::provision::{self, Guest};
use crate::release::Verified;
use crate::store::backend::Backend;

/// Unpacks the releases below `folder`.
pub(super) async fn unpack<B: Builder, S: Backend>(
    bake: &Bake<'_, B, S>,
    releases: &[Verified],
    folder: &Path,
) -> Result<(), BakeError> {
    let (releases, folder) = (releases.to_vec(), folder.to_owned());
    let unpacking = tokio::task::spawn_blocking(move || provision::unpack(&releases, &folder));
    match bake.world.interrupt.or(unpacking).await? {
        Ok(unpacked) => Ok(unpacked?),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Shows the machine what is below `folder`, which goes, with all else that it needs. Whether it can be shown anything.
pub(super) async fn show<M: Machine>(
    guest: &Guest<'_>,
    machine: Option<&M>,
    folder: &Path,
) -> Result<bool, BakeError> {
    let Some(machine) = machine.filter(|_| folder.is_dir()) else {
        return Ok(false);
    };
    provision::pack(guest, folder)?;
    let shown = machine.show(folder, guest.interrupt).await?;
    std::fs::remove_dir_all(folder).map_err(BuilderError::file(folder))?;
    Ok(shown)
}
