//! Layers: what of a plan was done before, from the same inputs, is not done again.
//!
//! In: a plan and a base. Out: the keys of what may be kept, where to start, and layers for the next bake. Deliberately
//! strict: a key covers all that the steps below it could see, and where that is more than digests can tell (secrets,
//! playbooks, which depend on this computer) nothing is kept from there on.

use serde_json::json;

use super::{Bake, BakeError};
use crate::builder::{Builder, Content, Disk, Layer, LayerFile, Machine, Made, Resumed};
use crate::digest::Digest;
use crate::event::Event;
use crate::guest_steps::{self, Guest, StepRecord};
use crate::plan::{EnvValue, Plan, PlannedStep, StepKind};
use crate::run_context::RunContext;
use crate::ssh::Session;
use crate::store::backend::Backend;

/// Counts the ways in which steps are done; another one makes other layers of the same steps.
const RECIPE: u32 = 3;

/// The keys of the layers that a bake of `plan` on `disk` may leave or continue from: the one at 0 is of the first step,
/// each is of one step more. They end before the first step that only a bake itself can do.
pub fn layer_keys(plan: &Plan, disk: &Disk) -> Vec<Digest> {
    let Content::File(base) = &disk.content else {
        return Vec::new();
    };
    let mut key = Digest::of_value(&json!({
        "recipe": RECIPE,
        "base": base.sha256,
        "firmware": disk.firmware,
        "own_kernel": disk.kernel.is_none(),
        "machine": plan.machine,
        "image": plan.image,
        "lib": plan.lib.sha256,
    }));
    let steps = plan.steps.iter().take_while(|step| may_be_kept(step));
    steps
        .map(|step| {
            let given = |product: &String| step.releases.contains(product);
            let releases = plan.releases.iter().filter(|one| given(&one.product));
            let releases: Vec<_> = releases
                .map(|release| json!([release.product, release.version, release.sha256]))
                .collect();
            key = Digest::of_value(&json!({
                "below": key,
                "name": step.name,
                "digest": step.digest,
                "releases": releases,
            }));
            key
        })
        .collect()
}

/// Whether its digest covers what it does: a secret stands in it by name alone, a playbook without the computer that it
/// runs on. The seal belongs to one image.
fn may_be_kept(step: &PlannedStep) -> bool {
    let secret = |value: &EnvValue| matches!(value, EnvValue::Secret { .. });
    let kind = match step.kind {
        StepKind::Provisioner { seal, .. } => !seal,
        StepKind::Shell | StepKind::File { .. } | StepKind::Reboot => true,
        StepKind::Ansible { .. } => false,
    };
    kind && !step.env.values().any(secret)
}

/// What the machine of a bake starts from.
pub(super) struct Start {
    /// The base.
    pub disk: Disk,
    /// On top of it, what was done before.
    pub layer: Option<Layer>,
    /// The records of the steps that are in the layer.
    pub done: Vec<StepRecord>,
    /// What the machine went on from, where it did not boot.
    pub resumed: Option<Resumed>,
    keys: Vec<Digest>,
}

impl Start {
    /// The base, or the layer that the most is done in.
    pub async fn find<B: Builder, S: Backend>(
        bake: &Bake<'_, B, S>,
        disk: Disk,
    ) -> Result<Self, BakeError> {
        let world = bake.world;
        let keys = match bake.builder.keeps_layers(&disk) {
            true => layer_keys(bake.order.plan, &disk),
            false => Vec::new(),
        };
        let looking = bake
            .builder
            .layer(&disk, &keys, (world.now)(), world.interrupt);
        let layer = looking.await?;
        // One that says nothing of its steps cannot be recorded, so it is of no use.
        let notes = layer.as_ref().map(|layer| notes(&layer.files));
        let (layer, done) = match (layer, notes) {
            (Some(layer), Some(Some(done))) => (Some(layer), done),
            _ => (None, Vec::new()),
        };
        let last = layer.as_ref().and_then(|layer| layer.files.last());
        if let Some(Made { step, run, .. }) = last.map(|file| &file.made) {
            world.events.note(format!(
                "{} of {} steps are in a layer of run {run}, up to {step}; `--no-cache` does them again",
                done.len(),
                bake.order.plan.steps.len(),
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

    /// What of it was kept by earlier bakes.
    pub fn files(&self) -> &[LayerFile] {
        self.layer.as_ref().map_or(&[], |layer| &layer.files)
    }
}

/// The records of the steps that are in these layers, where all can be read.
fn notes(files: &[LayerFile]) -> Option<Vec<StepRecord>> {
    let note = |file: &LayerFile| serde_json::from_value(file.made.note.clone()).ok();
    files.iter().map(note).collect()
}

/// Removes what the run kept, because its machine went away: a later bake would continue from before a restart that never came.
pub(super) async fn forget<B: Builder>(
    builder: &B,
    machine: Option<&mut B::Machine>,
    run: &str,
    world: &RunContext<'_>,
) {
    if let Err(error) = builder.forget_layers(machine, run).await {
        let message =
            format!("layers of this run could not be removed, so build with `--no-cache`: {error}");
        world.events.emit(&Event::Warning { message });
    }
}

/// Does the steps that no layer has, but the seal, and leaves a layer after each that may be kept.
pub(super) async fn do_steps<B: Builder, S: Backend>(
    bake: &Bake<'_, B, S>,
    held: &mut Option<B::Machine>,
    guest: &Guest<'_>,
    mut session: Session,
    start: &Start,
) -> Result<(Session, Vec<StepRecord>), BakeError> {
    let world = bake.world;
    let mut records = start.done.clone();
    let last = guest.steps.len().saturating_sub(1);
    for index in records.len()..last {
        let died = async || {
            let end = held.as_mut().and_then(Machine::died);
            end.map(|end| end.to_string())
        };
        let key = start.keys.get(index);
        let step = guest_steps::run_step(guest, session, index, died, key.is_some(), world.now);
        let (next, record) = step.await?;
        session = next;
        if let (Some(key), Some(machine)) = (key, held.as_mut()) {
            let made = Made {
                key: *key,
                run: guest.run.to_owned(),
                made_s: (world.now)().as_second(),
                step: record.name.clone(),
                note: json!(record),
            };
            let keeping = bake.builder.keep_layer(machine, made, world.interrupt);
            keeping.await?;
        }
        records.push(record);
    }
    Ok((session, records))
}
