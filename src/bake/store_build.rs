//! Puts the result of a build into the store: the artifact, its objects, and last the manifest.

use super::{Bake, BakeError, StageResults};
use crate::boot_test::CheckSet;
use crate::build_record::{self, Facts};
use crate::builder::{Artifact, Builder};
use crate::digest::Digest;
use crate::event::Event;
use crate::manifest::Manifest;
use crate::store::StoreError;
use crate::store::backend::Backend;
use crate::teardown::Teardown;

/// A build in the store.
pub(super) struct Recorded {
    pub digest: Digest,
    pub manifest: Manifest,
    /// The checks for the boot test.
    pub checks: CheckSet,
}

/// Records the results of a build. The journal keeps an undo entry for cloud images until their
/// manifest is recorded.
pub(super) async fn put<B: Builder, S: Backend>(
    bake: &Bake<'_, B, S>,
    results: &StageResults,
    teardown: &mut Teardown,
) -> Result<Recorded, BakeError> {
    let (store, context, plan) = (bake.store, bake.context, bake.options.plan);
    let location = match &results.artifact {
        Artifact::File(file) => {
            let adopting = store.adopt_artifact(&file.path, file.sha256);
            if store.backend().is_local() {
                adopting.await?
            } else {
                // An upload to a remote store takes minutes, so an interrupt must end it.
                context.interrupt.or(adopting).await??
            }
        }
        images @ Artifact::Cloud(_) => images.ids().join(", "),
    };
    let list = build_record::packages(&results.provisioned.packages);
    let manager = &results.provisioned.packages.manager;
    let packages = store.put_packages(&list, manager).await?;
    let checks = CheckSet::from_plan(plan, &results.releases, &results.start.disk);
    let check_bytes = checks.to_bytes();
    let facts = Facts {
        run: bake.run,
        plan,
        revision: bake.options.revision.as_ref(),
        releases: &results.releases,
        disk: &results.start.disk,
        layers: results.start.files(),
        resumed: results.start.resumed.as_ref(),
        provisioned: &results.provisioned,
        packages,
        checks: (
            store.put_object(&check_bytes).await?,
            check_bytes.len() as u64,
        ),
        artifact: &results.artifact,
        parent: results.parent,
        builder: bake.builder.name(),
        tool: context.tool,
    };
    let date = || build_record::date((context.now)());
    loop {
        let version = match bake.options.version {
            Some(version) => version,
            None => store.next_version(&plan.image, date()).await?,
        };
        let mut manifest = build_record::manifest(&facts, version, (context.now)());
        manifest.sbom = Some(store.put_sbom(&manifest, &list).await?);
        // If this process is killed here, an image without a manifest is better than a manifest
        // without its image.
        let released = teardown.release(&results.artifact.ids())?;
        match store.put_manifest(&manifest, (context.now)()).await {
            // Another build recorded this version in the meantime, so try the next one.
            Err(StoreError::VersionTaken { .. }) if bake.options.version.is_none() => {}
            Err(error) => {
                for undo in released {
                    teardown.register(undo)?;
                }
                return Err(error.into());
            }
            Ok(digest) => {
                context.events.emit(&Event::Recorded {
                    image: manifest.image.clone(),
                    version: manifest.version.to_string(),
                    manifest: digest.to_string(),
                    artifact: location,
                });
                let tagging =
                    bake.builder
                        .tag_artifact(&results.artifact, &digest, context.interrupt);
                tagging.await?;
                return Ok(Recorded {
                    digest,
                    manifest,
                    checks,
                });
            }
        }
    }
}
