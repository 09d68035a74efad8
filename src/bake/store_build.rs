//! Puts a bake into the store: the artifact, what belongs to it, and the manifest, in this order.

use super::{Bake, BakeError, Found};
use crate::boot_test::CheckSet;
use crate::build_record::{self, Facts};
use crate::builder::{Artifact, Builder};
use crate::digest::Digest;
use crate::event::Event;
use crate::manifest::Manifest;
use crate::store::StoreError;
use crate::store::backend::Backend;
use crate::teardown::Teardown;

/// Records what was found. Images on a cloud stay only once they are recorded.
pub(super) async fn put<B: Builder, S: Backend>(
    bake: &Bake<'_, B, S>,
    found: &Found,
    teardown: &mut Teardown,
) -> Result<(Digest, Manifest, CheckSet), BakeError> {
    let (store, world, plan) = (bake.store, bake.world, bake.order.plan);
    let place = match &found.artifact {
        Artifact::File(file) => {
            let adopting = store.adopt_artifact(&file.path, file.sha256);
            match store.backend().is_near() {
                true => adopting.await?,
                // Far away it takes its time.
                false => world.interrupt.or(adopting).await??,
            }
        }
        images @ Artifact::Azure(_) => images.ids().join(", "),
    };
    let list = build_record::packages(&found.provisioned.packages);
    let manager = &found.provisioned.packages.manager;
    let packages = store.put_packages(&list, manager).await?;
    let checks = CheckSet::of(plan, &found.releases, &found.start.disk);
    let check_bytes = checks.to_bytes();
    let facts = Facts {
        run: bake.run,
        plan,
        revision: bake.order.revision.as_ref(),
        releases: &found.releases,
        disk: &found.start.disk,
        layers: found.start.files(),
        resumed: found.start.resumed.as_ref(),
        provisioned: &found.provisioned,
        packages,
        checks: (
            store.put_object(&check_bytes).await?,
            check_bytes.len() as u64,
        ),
        artifact: &found.artifact,
        parent: found.parent,
        builder: bake.builder.name(),
        tool: world.tool,
    };
    let date = || build_record::date((world.now)());
    loop {
        let version = match bake.order.version {
            Some(version) => version,
            None => store.next_version(&plan.image, date()).await?,
        };
        let mut manifest = build_record::manifest(&facts, version, (world.now)());
        manifest.sbom = Some(store.put_sbom(&manifest, &list).await?);
        // A record without its image would be worse than an image without a record, should we be killed in between.
        let kept = teardown.release(&found.artifact.ids())?;
        match store.put_manifest(&manifest, (world.now)()).await {
            // Another bake of today took the version since we looked: the next one is ours, perhaps.
            Err(StoreError::VersionTaken { .. }) if bake.order.version.is_none() => {}
            Err(error) => {
                for undo in kept {
                    teardown.register(undo)?;
                }
                return Err(error.into());
            }
            Ok(digest) => {
                world.events.emit(&Event::Recorded {
                    image: manifest.image.clone(),
                    version: manifest.version.to_string(),
                    manifest: digest.to_string(),
                    artifact: place,
                });
                let marking = bake
                    .builder
                    .tag_artifact(&found.artifact, &digest, world.interrupt);
                marking.await?;
                return Ok((digest, manifest, checks));
            }
        }
    }
}
