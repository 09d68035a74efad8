//! The bake: from a plan to a recorded and tested image. One of the two conductors; `Bake::stages` is the product as
//! one short function.
//!
//! In: a plan, a builder, a store. Out: the manifest and the test's result, or what failed and what was left behind.
//! Deliberately does nothing itself: every stage is a call of the module that knows it.

mod layer_cache;
mod scan;
mod options;
mod outcome;
mod store_build;
mod test;
mod uploads;

use std::path::Path;

use tokio::try_join;

use crate::boot_test::Audits;
use crate::build_record::Provisioned;
use crate::builder::{self, Artifact, Boot, Builder, Captured, Disk, Machine};
use crate::digest::Digest;
use crate::event::{Event, Stage};
use crate::guest_steps::{self, CheckRecord, Guest, Installed};
use crate::release::{self, Verified};
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

/// Bakes an image, records it and, where the order says so, tries it. Whatever happens, what was temporary is removed
/// at the end, but for the machine of a failed bake that the order's `on_error` wants kept.
pub async fn bake<B: Builder, S: Backend>(
    builder: &B,
    store: &Store<S>,
    order: &BakeOptions<'_>,
    world: &RunContext<'_>,
) -> Result<Baked, Failed> {
    let run = world.new_run();
    let subject = format!("bake of {}", order.plan.image);
    world.events.emit(&Event::RunStarted {
        run: run.clone(),
        subject,
    });
    let mut teardown = Teardown::begin(&world.runs(), &run)?;
    teardown.set_cloud_cleaner(builder.cloud());
    let mut machine = None;
    let keys = Keys::generate();
    let bake = Bake {
        builder,
        store,
        order,
        world,
        run: &run,
        keys: &keys,
    };
    match bake.stages(&mut machine, &mut teardown).await {
        Ok(baked) => Ok(Baked {
            leaks: outcome::clean_up(machine, teardown, world).await,
            ..baked
        }),
        Err(error) => {
            let error = outcome::explain(error, machine.as_mut(), world).await;
            if error.went_away() {
                layer_cache::forget(builder, machine.as_mut(), &run, world).await;
            }
            match machine.take_if(|_| order.keeps(&error)) {
                Some(machine) => Err(outcome::keep(error, machine, &keys, teardown)),
                None => Err(Failed {
                    error,
                    leaks: outcome::clean_up(machine, teardown, world).await,
                    kept: None,
                }),
            }
        }
    }
}

/// One bake: what does not change while it runs.
struct Bake<'a, B, S> {
    builder: &'a B,
    store: &'a Store<S>,
    order: &'a BakeOptions<'a>,
    world: &'a RunContext<'a>,
    run: &'a str,
    keys: &'a Keys,
}

impl<B: Builder, S: Backend> Bake<'_, B, S> {
    async fn stages(
        &self,
        machine: &mut Option<B::Machine>,
        teardown: &mut Teardown,
    ) -> Result<Baked, BakeError> {
        let parent = self.world.interrupt.or(self.look_ahead()).await??;
        let work = teardown.work().to_owned();
        let (releases, (start, session)) =
            try_join!(self.fetch(&work), self.start(machine, teardown))?;
        let mut provisioned = self
            .provision(machine, session, (&releases, &start), &work)
            .await?;
        let (artifact, looked) = self.capture(machine, &releases, teardown).await?;
        provisioned.checks.extend(looked);
        let facts = Found {
            releases,
            start,
            provisioned,
            artifact,
            parent,
        };
        let audits = self.order.audit.map(|lynis| Audits {
            lynis: lynis.clone(),
            base: Some(facts.start.disk.content.clone()),
        });
        let recording = store_build::put(self, &facts, teardown);
        let (digest, manifest, checks) = self.stage(Stage::Record, recording).await?;
        let baked = Baked {
            manifest,
            digest,
            tested: None,
            leaks: Vec::new(),
        };
        if !self.order.test {
            return Ok(baked);
        }
        let trial = test::record(
            self.builder,
            self.store,
            (baked.digest, &baked.manifest),
            (&checks, audits.as_ref()),
            self.run,
            teardown,
            self.world,
        );
        let tested = self.stage(Stage::Test, trial).await?;
        Ok(Baked {
            tested: Some(tested),
            ..baked
        })
    }

    /// Runs `work` as `stage`, unless we were asked to stop before.
    async fn stage<T, E>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BakeError>
    where
        BakeError: From<E>,
    {
        self.world.interrupt.check()?;
        Ok(self.world.events.stage(stage, work).await?)
    }

    /// Does what blocks beside everything else, unless we are asked to stop.
    async fn blocking<T: Send + 'static, E: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, BakeError>
    where
        BakeError: From<E>,
    {
        let working = tokio::task::spawn_blocking(work);
        match self.world.interrupt.or(working).await? {
            Ok(done) => Ok(done?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Refuses early what could not be recorded in the end, and finds the manifest that this one follows.
    async fn look_ahead(&self) -> Result<Option<Digest>, BakeError> {
        let history = self.store.history().await?;
        let image = &self.order.plan.image;
        if let Some(version) = self
            .order
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

    /// Runs beside [`Self::start`]: nothing of a release is needed before the upload. A machine that can be shown a folder finds them
    /// unpacked.
    async fn fetch(&self, local_work: &Path) -> Result<Vec<Verified>, BakeError> {
        let RunContext {
            events,
            interrupt,
            cache,
            now,
            ..
        } = *self.world;
        let work = async {
            let mut verified = Vec::new();
            for locked in &self.order.plan.releases {
                let source = &self.order.plan.release_source;
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
        held: &mut Option<B::Machine>,
        teardown: &mut Teardown,
    ) -> Result<(Start, Session), BakeError> {
        let RunContext {
            events, interrupt, ..
        } = *self.world;
        let plan = self.order.plan;
        let base = self.builder.base(&plan.base, teardown, events, interrupt);
        let mut disk: Disk = self.stage(Stage::Base, base).await?;
        // Who restarts means the kernel that is on the disk by then.
        if plan.restarts() {
            disk.kernel = None;
        }
        let mut start = Start::find(self, disk).await?;
        let boot = async {
            let boot = Boot {
                disk: &start.disk,
                layer: start.layer.as_ref(),
                machine: &plan.machine,
                keys: self.keys,
                identity: None,
                role: "build",
                again: false,
            };
            let (scrubber, told) = (plan.scrubber(), (events, interrupt));
            builder::start::start(self.builder, boot, &scrubber, held, teardown, told).await
        };
        let session = self.stage(Stage::Boot, boot).await?;
        start.resumed = held.as_ref().and_then(Machine::resumed).cloned();
        // Else the cache could not be bounded before the bake ends.
        if let Some(layer) = &mut start.layer {
            layer.release();
        }
        Ok((start, session))
    }

    /// Everything that happens inside the machine: upload, steps, checks, seal.
    async fn provision(
        &self,
        machine: &mut Option<B::Machine>,
        session: Session,
        (releases, start): (&[Verified], &Start),
        local_work: &Path,
    ) -> Result<Provisioned, BakeError> {
        let RunContext {
            events,
            interrupt,
            guest_work,
            now,
            ..
        } = *self.world;
        let plan = self.order.plan;
        let installed: Vec<Installed> = releases.iter().map(Installed::from).collect();
        let mut guest = Guest {
            image: &plan.image,
            steps: &plan.steps,
            folder: &plan.folder,
            lib: &plan.lib.content,
            releases: &installed,
            archives: releases,
            run: self.run,
            work: guest_work,
            shown: false,
            local_work,
            keys: self.keys,
            reboot: &Reboot::default(),
            events,
            interrupt,
        };
        let upload = async {
            guest.shown = uploads::show(&guest, machine.as_ref()).await?;
            guest_steps::upload(&guest, &session, start.done.len()).await?;
            Ok::<_, BakeError>(())
        };
        self.stage(Stage::Upload, upload).await?;
        let steps = async {
            let (session, steps) =
                layer_cache::do_steps(self, machine, &guest, session, start).await?;
            let guest_steps::Observed {
                checks,
                packages,
                boot,
            } = guest_steps::observe(&guest, &session).await?;
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
        held: &mut Option<B::Machine>,
        releases: &[Verified],
        teardown: &mut Teardown,
    ) -> Result<(Artifact, Vec<CheckRecord>), BakeError> {
        let RunContext {
            events, interrupt, ..
        } = *self.world;
        let machine = held.take().ok_or(BakeError::NoMachine)?;
        // Below the work folder, whose undo is in the journal already.
        let work = teardown.work().to_owned();
        let capture = async {
            let to = work.join("artifact");
            let capturing = self
                .builder
                .capture(machine, to, teardown, events, interrupt);
            let Captured { artifact, raw } = capturing.await?;
            let looked = scan::scan_disk(self, raw.as_deref(), releases).await?;
            Ok::<_, BakeError>((artifact, looked))
        };
        self.stage(Stage::Capture, capture).await
    }
}

/// What the stages found, until it is recorded.
struct Found {
    releases: Vec<Verified>,
    start: Start,
    provisioned: Provisioned,
    artifact: Artifact,
    parent: Option<Digest>,
}
