//! Runs the boot test of a recorded image, at the end of a build or later, and records its result.

use super::outcome::{self, BakeError, Failed, Tested};
use crate::boot_test::{self, AuditOptions, CheckSet, Subject};
use crate::builder::{Builder, Content, DiskFile, RecordedImage};
use crate::digest::Digest;
use crate::event::{Event, Stage};
use crate::guest_steps::Lynis;
use crate::manifest::{CHECKS_ROLE, Manifest, TestRecord};
use crate::run_context::RunContext;
use crate::store::Store;
use crate::store::backend::Backend;
use crate::teardown::Teardown;

/// Boots the image of a recorded manifest with a temporary identity, runs its checks, and records
/// the result.
pub async fn test<B: Builder, S: Backend>(
    builder: &B,
    store: &Store<S>,
    manifest: Digest,
    lynis: Option<&Lynis>,
    context: &RunContext<'_>,
) -> Result<Tested, Failed> {
    let run = context.new_run_id();
    let recorded = store.manifest(&manifest).await.map_err(BakeError::from)?;
    context.events.emit(&Event::RunStarted {
        run: run.clone(),
        subject: format!("test of {}", recorded.name()),
    });
    let mut teardown = Teardown::begin(&context.runs_folder(), &run)?;
    teardown.set_cloud_cleaner(builder.cloud_cleaner());
    let work = async {
        let checks = stored_checks(store, &recorded).await?;
        let audits = match lynis {
            Some(lynis) => Some(AuditOptions {
                lynis: lynis.clone(),
                base: builder
                    .recorded_base(
                        recorded.base.disk_sha256,
                        &recorded.base.resolved,
                        context.interrupt,
                    )
                    .await?,
            }),
            None => None,
        };
        let target = Target {
            digest: manifest,
            manifest: &recorded,
            checks: &checks,
            audits: audits.as_ref(),
        };
        record(builder, store, &target, &run, &mut teardown, context).await
    };
    let result = context.events.stage(Stage::Test, work).await;
    let result = match result {
        Ok(record) => Ok(record),
        Err(error) => Err(outcome::find_cause(error, None::<&mut B::Machine>, context).await),
    };
    let leaks = outcome::clean_up(None::<B::Machine>, teardown, context).await;
    match result {
        Ok(record) => Ok(Tested {
            record,
            leftovers: leaks,
        }),
        Err(error) => Err(Failed {
            error,
            leftovers: leaks,
            kept: None,
        }),
    }
}

/// The image that a boot test runs on.
pub(super) struct Target<'a> {
    pub digest: Digest,
    pub manifest: &'a Manifest,
    pub checks: &'a CheckSet,
    pub audits: Option<&'a AuditOptions>,
}

/// Runs the boot test as part of `run`, and records the result.
pub(super) async fn record<B: Builder, S: Backend>(
    builder: &B,
    store: &Store<S>,
    target: &Target<'_>,
    run: &str,
    teardown: &mut Teardown,
    context: &RunContext<'_>,
) -> Result<TestRecord, BakeError> {
    let Target {
        digest,
        manifest,
        checks,
        audits,
    } = *target;
    let missing = || BakeError::NoArtifact {
        name: manifest.name(),
    };
    let output = manifest.outputs.first().ok_or_else(missing)?;
    let content = match output.local_file() {
        Some(file) => {
            // The journal already covers the work folder, so the copy needs no undo entry.
            let fetching = store.artifact(manifest, teardown.work());
            Content::File(DiskFile {
                path: context.interrupt.or(fetching).await??.ok_or_else(missing)?,
                format: output.format.clone(),
                sha256: file.digest,
            })
        }
        None => {
            let recorded = RecordedImage {
                id: &output.id,
                class: &output.class,
                arch: &output.arch,
                firmware: checks.firmware,
                base: &manifest.base.resolved,
            };
            builder.reopen(&recorded)?
        }
    };
    let subject = Subject {
        manifest: digest,
        content,
        checks,
        audits,
    };
    let record = boot_test::run(builder, &subject, run, teardown, context).await?;
    store.put_test(&record, (context.now)()).await?;
    let failed_checks = record.checks.iter().filter(|check| !check.ok).count();
    context.events.emit(&Event::TestFinished {
        manifest: digest.to_string(),
        passed: record.passed,
        checks: record.checks.len(),
        failed_checks,
        error: record.failure.clone(),
    });
    Ok(record)
}

/// Reads the checks that are stored with a manifest.
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
