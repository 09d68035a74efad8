//! Looks through what was captured, before it is recorded: what is left on the disk would be left on every node.

use std::path::Path;

use super::{Bake, BakeError};
use crate::builder::{Artifact, Builder, BuilderError};
use crate::provision::CheckRecord;
use crate::residue::{self, Needles};
use crate::store::backend::Backend;

/// The records of what was looked for, none of which failed.
pub(super) async fn look_through<B: Builder, S: Backend>(
    bake: &Bake<'_, B, S>,
    artifact: &Artifact,
    work: &Path,
) -> Result<Vec<CheckRecord>, BakeError> {
    let interrupt = bake.world.interrupt;
    let Some(raw) = bake.builder.raw_disk(artifact, work, interrupt).await? else {
        let why = "the disk is in the cloud; what the machine itself could see was checked before it was captured";
        return Ok(residue::skipped(why));
    };
    let keys = [&bake.keys.host_private, &bake.keys.user_private];
    let needles = Needles::new(&bake.order.plan.secrets).and_keys(keys);
    let disk = raw.clone();
    let looking = tokio::task::spawn_blocking(move || residue::scan(&disk, &needles));
    let looked = match interrupt.or(looking).await? {
        Ok(looked) => looked?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    std::fs::remove_file(&raw).map_err(BuilderError::file(&raw))?;
    if looked.found.is_empty() {
        Ok(looked.records())
    } else {
        Err(BakeError::Residue(looked.found))
    }
}
