//! Tries a recorded image: at the end of a bake, and again at any time.

use super::outcome::{self, BakeError, Failed, Tested};
use crate::boot_test::{self, Audits, CheckSet, Subject};
use crate::builder::{Builder, Content, DiskFile};
use crate::definition::Firmware;
use crate::digest::Digest;
use crate::event::{Event, Stage};
use crate::guest_steps::Lynis;
use crate::lock::{ImageReference, LockedImage, VmGeneration};
use crate::manifest::{CHECKS_ROLE, Manifest, TestRecord};
use crate::run_context::RunContext;
use crate::store::Store;
use crate::store::backend::Backend;
use crate::teardown::Teardown;

/// Boots the image of a recorded manifest with a throw-away identity, runs its checks, and records the result.
pub async fn test<B: Builder, S: Backend>(
    builder: &B,
    store: &Store<S>,
    manifest: Digest,
    lynis: Option<&Lynis>,
    world: &RunContext<'_>,
) -> Result<Tested, Failed> {
    let run = world.new_run();
    let read = store.manifest(&manifest).await.map_err(BakeError::from)?;
    world.events.emit(&Event::RunStarted {
        run: run.clone(),
        subject: format!("test of {}", read.name()),
    });
    let mut teardown = Teardown::begin(&world.runs(), &run)?;
    teardown.set_cloud_cleaner(builder.cloud());
    let work = async {
        let checks = stored_checks(store, &read).await?;
        let audits = match lynis {
            Some(lynis) => Some(Audits {
                lynis: lynis.clone(),
                base: builder
                    .recorded_base(read.base.disk_sha256, &read.base.resolved, world.interrupt)
                    .await?,
            }),
            None => None,
        };
        record(
            builder,
            store,
            (manifest, &read),
            (&checks, audits.as_ref()),
            &run,
            &mut teardown,
            world,
        )
        .await
    };
    let result = world.events.stage(Stage::Test, work).await;
    let result = match result {
        Ok(record) => Ok(record),
        Err(error) => Err(outcome::explain(error, None::<&mut B::Machine>, world).await),
    };
    let leaks = outcome::clean_up(None::<B::Machine>, teardown, world).await;
    match result {
        Ok(record) => Ok(Tested { record, leaks }),
        Err(error) => Err(Failed {
            error,
            leaks,
            kept: None,
        }),
    }
}

/// Tries an image and records the result. The caller has the run.
pub(super) async fn record<B: Builder, S: Backend>(
    builder: &B,
    store: &Store<S>,
    (digest, manifest): (Digest, &Manifest),
    (checks, audits): (&CheckSet, Option<&Audits>),
    run: &str,
    teardown: &mut Teardown,
    world: &RunContext<'_>,
) -> Result<TestRecord, BakeError> {
    let missing = || BakeError::NoArtifact {
        name: manifest.name(),
    };
    let output = manifest.outputs.first().ok_or_else(missing)?;
    let content = match output.local_file() {
        Some(file) => {
            // Below the run's work folder, whose undo is in the journal already.
            let fetching = store.artifact(manifest, teardown.work());
            Content::File(DiskFile {
                path: world.interrupt.or(fetching).await??.ok_or_else(missing)?,
                format: output.format.clone(),
                sha256: file.digest,
            })
        }
        None => Content::Azure(LockedImage {
            image: match output.class.as_str() {
                "azure-gallery-version" => ImageReference::Gallery {
                    id: output.id.clone(),
                },
                _ => ImageReference::ManagedImage {
                    id: output.id.clone(),
                },
            },
            generation: match checks.firmware {
                Firmware::Bios => VmGeneration::V1,
                Firmware::Uefi => VmGeneration::V2,
            },
            arch: output.arch.clone(),
            security: None,
            plan: None,
        }),
    };
    let subject = Subject {
        manifest: digest,
        content,
        checks,
        audits,
    };
    let record = boot_test::run(builder, &subject, run, teardown, world).await?;
    store.put_test(&record, (world.now)()).await?;
    let failed_checks = record.checks.iter().filter(|check| !check.ok).count();
    world.events.emit(&Event::TestFinished {
        manifest: digest.to_string(),
        passed: record.passed,
        checks: record.checks.len(),
        failed_checks,
        error: record.failure.clone(),
    });
    Ok(record)
}

/// The checks that were stored with a manifest.
pub async fn stored_checks(
    store: &Store<impl Backend>,
    manifest: &Manifest,
) -> Result<CheckSet, BakeError> {
    let input = manifest
        .inputs
        .iter()
        .find(|input| input.role == CHECKS_ROLE);
    let input = input.ok_or_else(|| BakeError::NoChecks {
        name: manifest.name(),
    })?;
    let bytes = store.object(&input.digest).await?;
    Ok(CheckSet::parse(&manifest.image, &bytes).map_err(boot_test::BootTestError::from)?)
}
