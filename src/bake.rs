//! Runs all stages of a build, in the order of `Bake::run_stages`.
//! Takes a plan, a builder and a store; returns the manifest and test record, or the error.
//! Each stage is implemented in the module that it calls.

mod layer_cache;
mod scan;
mod options;
mod outcome;
mod store_build;
mod test;
mod uploads;

use std::path::Path;

use tokio::try_join;

use crate::boot_test::AuditOptions;
use crate::build_record::Provisioned;
use crate::builder::{self, Artifact, Boot, Builder, Captured, Disk, Machine};
use crate::digest::Digest;
use crate::event::{Event, Stage};
use crate::guest_steps::{self, CheckRecord, Installed, StepContext};
use crate::release::{self, VerifiedRelease};
use crate::run_context::RunContext;
use crate::ssh::{Keys, Reboot, Session};
use crate::store::Store;
use crate::store::backend::Backend;
use crate::teardown::Teardown;

use layer_cache::Start;

pub use layer_cache::layer_keys;
pub use options::{BakeOptions, OnError};
pub use outcome::{BakeError, Baked, Failed, Kept, Tested};
pub use test::{stored_checks, test};

/// Builds an image, records it and, if `options.test` is set, runs its boot test.
///
/// Removes all temporary resources at the end, also after an error. If a stage fails and
/// `options.on_error` returns [`OnError::Keep`], the build VM keeps running.
pub async fn bake<B: Builder, S: Backend>(
    builder: &B,
    store: &Store<S>,
    options: &BakeOptions<'_>,
    context: &RunContext<'_>,
) -> Result<Baked, Failed> {
    let run = context.new_run_id();
    let subject = format!("bake of {}", options.plan.image);
    context.events.emit(&Event::RunStarted {
        run: run.clone(),
        subject,
    });
    let mut teardown = Teardown::begin(&context.runs_folder(), &run)?;
    teardown.set_cloud_cleaner(builder.cloud_cleaner());
    let mut machine = None;
    let keys = Keys::generate();
    let bake = Bake {
        builder,
        store,
        options,
        context,
        run: &run,
        keys: &keys,
    };
    match bake.run_stages(&mut machine, &mut teardown).await {
        Ok(baked) => Ok(Baked {
            leftovers: outcome::clean_up(machine, teardown, context).await,
            ..baked
        }),
        Err(error) => {
            let error = outcome::find_cause(error, machine.as_mut(), context).await;
            if error.is_unexpected_shutdown() {
                layer_cache::discard(builder, machine.as_mut(), &run, context).await;
            }
            match machine.take_if(|_| options.keeps_vm_after(&error)) {
                Some(machine) => Err(outcome::keep_vm(error, machine, &keys, teardown)),
                None => Err(Failed {
                    error,
                    leftovers: outcome::clean_up(machine, teardown, context).await,
                    kept: None,
                }),
            }
        }
    }
}

/// The parameters of one build, the same for all stages.
struct Bake<'a, B, S> {
    builder: &'a B,
    store: &'a Store<S>,
    options: &'a BakeOptions<'a>,
    context: &'a RunContext<'a>,
    run: &'a str,
    keys: &'a Keys,
}

impl<B: Builder, S: Backend> Bake<'_, B, S> {
    async fn run_stages(
        &self,
        machine: &mut Option<B::Machine>,
        teardown: &mut Teardown,
    ) -> Result<Baked, BakeError> {
        let parent = self.context.interrupt.or(self.find_parent()).await??;
        let work = teardown.work().to_owned();
        let (releases, (start, session)) =
            try_join!(self.fetch(&work), self.start(machine, teardown))?;
        let mut provisioned = self
            .provision(machine, session, &releases, &start, &work)
            .await?;
        let (artifact, leak_checks) = self.capture(machine, &releases, teardown).await?;
        provisioned.checks.extend(leak_checks);
        let results = StageResults {
            releases,
            start,
            provisioned,
            artifact,
            parent,
        };
        let audits = self.options.audit.map(|lynis| AuditOptions {
            lynis: lynis.clone(),
            base: Some(results.start.disk.content.clone()),
        });
        let recording = store_build::put(self, &results, teardown);
        let recorded = self.stage(Stage::Record, recording).await?;
        let baked = Baked {
            manifest: recorded.manifest,
            digest: recorded.digest,
            tested: None,
            leftovers: Vec::new(),
        };
        if !self.options.test {
            return Ok(baked);
        }
        let target = test::Target {
            digest: baked.digest,
            manifest: &baked.manifest,
            checks: &recorded.checks,
            audits: audits.as_ref(),
        };
        let testing = test::record(
            self.builder,
            self.store,
            &target,
            self.run,
            teardown,
            self.context,
        );
        let tested = self.stage(Stage::Test, testing).await?;
        Ok(Baked {
            tested: Some(tested),
            ..baked
        })
    }

    /// Runs `work` as `stage`, unless the user interrupted the build.
    async fn stage<T, E>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BakeError>
    where
        BakeError: From<E>,
    {
        self.context.interrupt.check()?;
        Ok(self.context.events.stage(stage, work).await?)
    }

    /// Runs `work` on a blocking thread, unless the user interrupts the build.
    async fn blocking<T: Send + 'static, E: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, BakeError>
    where
        BakeError: From<E>,
    {
        let working = tokio::task::spawn_blocking(work);
        match self.context.interrupt.or(working).await? {
            Ok(result) => Ok(result?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Finds the newest manifest of this image. Fails if the requested version is already recorded:
    /// a build takes minutes, and its manifest would be refused at the end.
    async fn find_parent(&self) -> Result<Option<Digest>, BakeError> {
        let history = self.store.history().await?;
        let image = &self.options.plan.image;
        if let Some(version) = self
            .options
            .version
            .filter(|version| history.by_name(image, *version).is_some())
        {
            return Err(BakeError::VersionTaken {
                name: format!("{image}@{version}"),
            });
        }
        Ok(history
            .recorded()
            .iter()
            .rev()
            .find(|recorded| recorded.put.image == *image)
            .map(|recorded| recorded.put.manifest))
    }

    /// Downloads and verifies the releases. Runs at the same time as [`Self::start`], because the
    /// upload stage is the first to need them. Unpacks them if the builder supports upload disks.
    async fn fetch(&self, local_work: &Path) -> Result<Vec<VerifiedRelease>, BakeError> {
        let RunContext {
            events,
            interrupt,
            cache,
            now,
            ..
        } = *self.context;
        let work = async {
            let mut verified = Vec::new();
            for locked in &self.options.plan.releases {
                let source = &self.options.plan.release_source;
                verified
                    .push(release::fetch(source, locked, cache, now(), events, interrupt).await?);
            }
            if self.builder.supports_upload_disk() {
                uploads::unpack(self, &verified, local_work).await?;
            }
            Ok::<_, BakeError>(verified)
        };
        self.stage(Stage::Fetch, work).await
    }

    async fn start(
        &self,
        vm_slot: &mut Option<B::Machine>,
        teardown: &mut Teardown,
    ) -> Result<(Start, Session), BakeError> {
        let RunContext {
            events, interrupt, ..
        } = *self.context;
        let plan = self.options.plan;
        let base = self
            .builder
            .base(&plan.target.base, teardown, events, interrupt);
        let mut disk: Disk = self.stage(Stage::Base, base).await?;
        // A step that reboots must get the kernel on the disk, which an earlier step may have
        // upgraded.
        if plan.restarts() {
            disk.kernel = None;
        }
        let mut start = Start::find(self, disk).await?;
        let boot = async {
            let boot = Boot {
                disk: &start.disk,
                layer: start.layer.as_ref(),
                machine: &plan.target.machine,
                keys: self.keys,
                identity: None,
                role: "build",
                is_retry: false,
            };
            let scrubber = plan.scrubber();
            builder::start::start(
                self.builder,
                boot,
                &scrubber,
                vm_slot,
                teardown,
                (events, interrupt),
            )
            .await
        };
        let session = self.stage(Stage::Boot, boot).await?;
        start.resumed = vm_slot.as_ref().and_then(Machine::resumed).cloned();
        // Holding the lock until the build ends would keep the layer cache from shrinking to its
        // limit.
        if let Some(layer) = &mut start.layer {
            layer.release();
        }
        Ok((start, session))
    }

    /// Runs all stages inside the build VM: upload, steps, checks, seal.
    async fn provision(
        &self,
        machine: &mut Option<B::Machine>,
        session: Session,
        releases: &[VerifiedRelease],
        start: &Start,
        local_work: &Path,
    ) -> Result<Provisioned, BakeError> {
        let RunContext {
            events,
            interrupt,
            guest_work,
            now,
            ..
        } = *self.context;
        let plan = self.options.plan;
        let installed: Vec<Installed> = releases.iter().map(Installed::from).collect();
        let mut guest = StepContext {
            image: &plan.image,
            steps: &plan.steps,
            folder: &plan.folder,
            lib: &plan.lib.content,
            releases: &installed,
            archives: releases,
            run: self.run,
            work: guest_work,
            uses_upload_disk: false,
            local_work,
            keys: self.keys,
            reboot: &Reboot::default(),
            events,
            interrupt,
        };
        let upload = async {
            guest.uses_upload_disk = uploads::attach(&guest, machine.as_ref()).await?;
            guest_steps::upload(&guest, &session, start.done.len()).await?;
            Ok::<_, BakeError>(())
        };
        self.stage(Stage::Upload, upload).await?;
        let steps = async {
            let (session, steps) =
                layer_cache::run_steps(self, machine, &guest, session, start).await?;
            let guest_steps::InspectedVm {
                checks,
                packages,
                boot,
            } = guest_steps::inspect(&guest, &session).await?;
            let provisioned = Provisioned {
                steps,
                checks,
                packages,
                boot,
            };
            Ok::<_, BakeError>((session, provisioned))
        };
        let (session, mut provisioned) = self.stage(Stage::Provision, steps).await?;
        let (step, checks) = self
            .stage(Stage::Seal, guest_steps::seal(&guest, &session, now))
            .await?;
        provisioned.steps.push(step);
        provisioned.checks.extend(checks);
        Ok(provisioned)
    }

    async fn capture(
        &self,
        vm_slot: &mut Option<B::Machine>,
        releases: &[VerifiedRelease],
        teardown: &mut Teardown,
    ) -> Result<(Artifact, Vec<CheckRecord>), BakeError> {
        let RunContext {
            events, interrupt, ..
        } = *self.context;
        let machine = vm_slot.take().ok_or(BakeError::NoMachine)?;
        // The journal already covers the work folder, so the artifact needs no undo entry.
        let work = teardown.work().to_owned();
        let capture = async {
            let to = work.join("artifact");
            let capturing = self
                .builder
                .capture(machine, to, teardown, events, interrupt);
            let Captured { artifact, raw } = capturing.await?;
            let checks = scan::scan_disk(self, raw.as_deref(), releases).await?;
            Ok::<_, BakeError>((artifact, checks))
        };
        self.stage(Stage::Capture, capture).await
    }
}

/// The results of all stages before the record stage.
struct StageResults {
    releases: Vec<VerifiedRelease>,
    start: Start,
    provisioned: Provisioned,
    artifact: Artifact,
    parent: Option<Digest>,
}
