//! Decides which steps of a plan come from the layer cache, and caches a layer after each step.
//! Takes a plan and a base disk; returns cache keys and the disk to start from.
//! A key covers all inputs of its step and of the steps before. The builder stores the layers.

use serde_json::json;

use super::{Bake, BakeError};
use crate::builder::{Builder, Content, Disk, Layer, LayerFile, LayerOrigin, Machine, Resumed};
use crate::digest::Digest;
use crate::event::Event;
use crate::guest_steps::{self, StepContext, StepRecord};
use crate::plan::{EnvValue, Plan, PlannedStep, StepKind};
use crate::run_context::RunContext;
use crate::ssh::Session;
use crate::store::backend::Backend;

/// The version of the key format. A change invalidates all cache entries.
const RECIPE: u32 = 3;

/// Returns the cache keys of a build of `plan` on `disk`: one for each step, in order.
///
/// The list ends before the first step that cannot be cached. It is empty for disks in a cloud.
pub fn layer_keys(plan: &Plan, disk: &Disk) -> Vec<Digest> {
    let Content::File(base) = &disk.content else {
        return Vec::new();
    };
    let mut key = Digest::hash_value(&json!({
        "recipe": RECIPE,
        "base": base.sha256,
        "firmware": disk.firmware,
        "own_kernel": disk.kernel.is_none(),
        "machine": plan.target.machine,
        "image": plan.image,
        "lib": plan.lib.sha256,
    }));
    let steps = plan.steps.iter().take_while(|step| is_cacheable(step));
    steps
        .map(|step| {
            let uses = |product: &String| step.releases.contains(product);
            let releases = plan.releases.iter().filter(|one| uses(&one.product));
            let releases: Vec<_> = releases
                .map(|release| json!([release.product, release.version, release.sha256]))
                .collect();
            key = Digest::hash_value(&json!({
                "below": key,
                "name": step.name,
                "digest": step.digest,
                "releases": releases,
            }));
            key
        })
        .collect()
}

/// Returns whether the digest of `step` covers all its inputs. The digest has only the name of a
/// secret, and it omits the host that a playbook runs on. The seal is never cached, because it
/// belongs to one image.
fn is_cacheable(step: &PlannedStep) -> bool {
    let secret = |value: &EnvValue| matches!(value, EnvValue::Secret { .. });
    let kind = match step.kind {
        StepKind::Provisioner { seal, .. } => !seal,
        StepKind::Shell | StepKind::File { .. } | StepKind::Reboot => true,
        StepKind::Ansible { .. } => false,
    };
    kind && !step.env.values().any(secret)
}

/// The disk that a build VM starts from, and the steps that are already on it.
pub(super) struct Start {
    pub disk: Disk,
    /// The cached layer on top of the base disk.
    pub layer: Option<Layer>,
    /// The records of the steps in `layer`.
    pub done: Vec<StepRecord>,
    /// The VM snapshot that the build VM resumed from; `None` if it booted.
    pub resumed: Option<Resumed>,
    keys: Vec<Digest>,
}

impl Start {
    /// Finds the cached layer with the most steps of the plan.
    pub async fn find<B: Builder, S: Backend>(
        bake: &Bake<'_, B, S>,
        disk: Disk,
    ) -> Result<Self, BakeError> {
        let context = bake.context;
        let keys = if bake.builder.can_cache_layers(&disk) {
            layer_keys(bake.options.plan, &disk)
        } else {
            Vec::new()
        };
        let finding = bake
            .builder
            .find_layer(&disk, &keys, (context.now)(), context.interrupt);
        let layer = finding.await?;
        // The manifest needs the record of each step, so a layer without readable records is
        // useless.
        let records = layer.as_ref().map(|layer| step_records(&layer.files));
        let (layer, done) = match (layer, records) {
            (Some(layer), Some(Some(done))) => (Some(layer), done),
            _ => (None, Vec::new()),
        };
        let last = layer.as_ref().and_then(|layer| layer.files.last());
        if let Some(LayerOrigin { step, run, .. }) = last.map(|file| &file.made) {
            context.events.note(format!(
                "{} of {} steps are cached by run {run}, up to {step}; `--no-cache` runs them again",
                done.len(),
                bake.options.plan.steps.len(),
            ));
        }
        Ok(Self {
            disk,
            layer,
            done,
            resumed: None,
            keys,
        })
    }

    /// Returns the files of the cached layer, the lowest first.
    pub fn files(&self) -> &[LayerFile] {
        self.layer.as_ref().map_or(&[], |layer| &layer.files)
    }
}

/// Returns the step records in the notes of `files`, or `None` if one cannot be read.
fn step_records(files: &[LayerFile]) -> Option<Vec<StepRecord>> {
    let record = |file: &LayerFile| serde_json::from_value(file.made.note.clone()).ok();
    files.iter().map(record).collect()
}

/// Removes the cache entries of `run`, after its build VM shut down unexpectedly. The cached disks
/// may lack writes that a completed restart would have made.
pub(super) async fn discard<B: Builder>(
    builder: &B,
    machine: Option<&mut B::Machine>,
    run: &str,
    context: &RunContext<'_>,
) {
    if let Err(error) = builder.discard_layers(machine, run).await {
        let message =
            format!("cannot remove the cache entries of this run, so use `--no-cache`: {error}");
        context.events.emit(&Event::Warning { message });
    }
}

/// Runs the steps that are not in the start layer, except the seal, and caches a layer after each
/// cacheable step.
pub(super) async fn run_steps<B: Builder, S: Backend>(
    bake: &Bake<'_, B, S>,
    vm_slot: &mut Option<B::Machine>,
    guest: &StepContext<'_>,
    mut session: Session,
    start: &Start,
) -> Result<(Session, Vec<StepRecord>), BakeError> {
    let context = bake.context;
    let mut records = start.done.clone();
    let last = guest.steps.len().saturating_sub(1);
    for index in records.len()..last {
        let died = async || {
            let end = vm_slot.as_mut().and_then(Machine::end);
            end.map(|end| end.to_string())
        };
        let key = start.keys.get(index);
        let step = guest_steps::run_step(guest, session, index, died, key.is_some(), context.now);
        let (next, record) = step.await?;
        session = next;
        if let (Some(key), Some(machine)) = (key, vm_slot.as_mut()) {
            let made = LayerOrigin {
                key: *key,
                run: guest.run.to_owned(),
                made_s: (context.now)().as_second(),
                step: record.name.clone(),
                note: json!(record),
            };
            let keeping = bake.builder.cache_layer(machine, made, context.interrupt);
            keeping.await?;
        }
        records.push(record);
    }
    Ok((session, records))
}
