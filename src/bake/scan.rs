//! Looks through what was captured, before it is recorded: what is left on the disk would be left on every node.

use std::path::Path;

use super::{Bake, BakeError};
use crate::builder::{Builder, BuilderError};
use crate::guest_steps::CheckRecord;
use crate::leak_scan::{self, Programs, SecretPatterns};
use crate::release::Verified;
use crate::store::backend::Backend;

/// The records of what was looked for, none of which failed.
pub(super) async fn scan_disk<B: Builder, S: Backend>(
    bake: &Bake<'_, B, S>,
    raw: Option<&Path>,
    releases: &[Verified],
) -> Result<Vec<CheckRecord>, BakeError> {
    let Some(raw) = raw else {
        let why = "the disk is in the cloud; what the machine itself could see was checked before it was captured";
        return Ok(leak_scan::skipped(why));
    };
    let keys = [&bake.keys.host_private, &bake.keys.user_private];
    let needles = SecretPatterns::new(&bake.order.plan.secrets).and_keys(keys);
    let programs = releases
        .iter()
        .map(|release| (release.locked.product.as_str(), release.binary_sha256));
    let (disk, programs) = (raw.to_owned(), Programs::new(programs));
    let looking = bake.blocking(move || leak_scan::scan(&disk, &needles, &programs));
    let looked = looking.await?;
    std::fs::remove_file(raw).map_err(BuilderError::file(raw))?;
    if looked.found.is_empty() {
        Ok(looked.records())
    } else {
        Err(BakeError::Residue(looked.found))
    }
}
