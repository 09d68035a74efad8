//! Runs the leak scan on the captured disk, before the image is recorded.
//! Without it, each node would get a copy of a leaked secret.

use std::path::Path;

use super::{Bake, BakeError};
use crate::builder::{Builder, BuilderError};
use crate::guest_steps::CheckRecord;
use crate::leak_scan::{self, Programs, SecretPatterns};
use crate::release::VerifiedRelease;
use crate::store::backend::Backend;

/// Scans the raw disk and deletes it. Returns a check record for each rule, or an error with the
/// findings. Without a raw disk, all records are skipped.
pub(super) async fn scan_disk<B: Builder, S: Backend>(
    bake: &Bake<'_, B, S>,
    raw: Option<&Path>,
    releases: &[VerifiedRelease],
) -> Result<Vec<CheckRecord>, BakeError> {
    let Some(raw) = raw else {
        let reason = "the disk is in the cloud; the build VM was checked before the capture";
        return Ok(leak_scan::skipped(reason));
    };
    let keys = [&bake.keys.host_private, &bake.keys.user_private];
    let secrets = SecretPatterns::new(&bake.options.plan.secrets).with_keys(keys);
    let programs = releases
        .iter()
        .map(|release| (release.locked.product.as_str(), release.binary_sha256));
    let (disk, programs) = (raw.to_owned(), Programs::new(programs));
    let scanning = bake.blocking(move || leak_scan::scan(&disk, &secrets, &programs));
    let report = scanning.await?;
    std::fs::remove_file(raw).map_err(BuilderError::file(raw))?;
    if report.leaks.is_empty() {
        Ok(report.records())
    } else {
        Err(BakeError::LeaksFound(report.leaks))
    }
}
