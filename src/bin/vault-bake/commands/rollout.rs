//! `rollout`: replaces the nodes of clusters, and prints the records of rollouts.

mod log;
mod plan;
mod show;
mod status;
mod work;

use std::collections::BTreeMap;

use vault_bake::digest::Digest;
use vault_bake::manifest::{RolloutImage, RolloutRecord};
use vault_bake::store::history::{History, RecordedRollout};
use vault_bake::store::{AnyBackend, Store, StoreError};

use crate::args::rollout::RolloutCommand;
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn run(invocation: &Invocation, command: &RolloutCommand) -> Result<Exit, Failure> {
    match command {
        RolloutCommand::Plan(args) => plan::run(invocation, args).await,
        RolloutCommand::Start(args) => work::start(invocation, args).await,
        RolloutCommand::Status(args) => status::run(invocation, args).await,
        RolloutCommand::Resume(args) => work::resume(invocation, args).await,
        RolloutCommand::Abort(args) => work::abort(invocation, args).await,
        RolloutCommand::Log(args) => log::run(invocation, args).await,
        RolloutCommand::Show(args) => show::run(invocation, args).await,
    }
}

/// A rollout of the log: its last epoch, and its record if it ended.
struct Entry<'a> {
    last: &'a RecordedRollout,
    record: Option<RolloutRecord>,
    /// The target images of each tier.
    targets: BTreeMap<String, Vec<String>>,
}

impl<'a> Entry<'a> {
    async fn read(
        store: &Store<AnyBackend>,
        history: &History,
        last: &'a RecordedRollout,
    ) -> Result<Self, StoreError> {
        let record = store.rollout_record(history, last).await?;
        let targets = match &record {
            Some(record) => record
                .to
                .iter()
                .map(|(tier, images)| {
                    let images = images.iter().map(RolloutImage::reference);
                    (tier.clone(), images.collect())
                })
                .collect(),
            None => {
                let planned = store.planned_images(last).await?.targets;
                let planned = planned.into_iter();
                planned
                    .map(|(tier, manifest)| (tier, vec![name(history, &manifest)]))
                    .collect()
            }
        };
        Ok(Self {
            last,
            record,
            targets,
        })
    }

    /// Returns how it ended, or that it is open.
    fn state(&self) -> String {
        let record = self.record.as_ref();
        record.map_or("open".to_owned(), |record| record.outcome.to_string())
    }

    /// Returns the images of a tier before the rollout, as far as the record has them.
    fn before(&self, tier: &str) -> Vec<String> {
        let images = self
            .record
            .iter()
            .filter_map(|record| record.from.get(tier));
        images.flatten().map(RolloutImage::reference).collect()
    }

    /// Returns the entry of the log, its state, and the record if it ended.
    fn to_json(&self, history: &History) -> serde_json::Value {
        let mut value = serde_json::json!(self.last);
        value["state"] = self.state().into();
        value["epochs"] = serde_json::json!(history.rollout_epochs(self.last));
        value["targets"] = serde_json::json!(self.targets);
        if let Some(record) = &self.record {
            value["record"] = serde_json::json!(record);
        }
        value
    }
}

/// Returns `image@version` of a manifest, or its digest if it is not recorded.
fn name(history: &History, manifest: &Digest) -> String {
    let recorded = history.by_digest(manifest);
    recorded.map_or_else(|| manifest.to_string(), |recorded| recorded.put.name())
}

/// Returns `name@epoch`, or `id@epoch` if the store has another cluster of that name.
fn title(history: &History, rollout: &RecordedRollout) -> String {
    let mut others = history.rollouts().iter();
    let is_shared = others.any(|one| one.name == rollout.name && one.cluster != rollout.cluster);
    let cluster = match is_shared {
        true => &rollout.cluster,
        false => &rollout.name,
    };
    format!("{cluster}@{}", rollout.epoch)
}

/// Whether this epoch is the last one of its rollout.
fn is_last_epoch(history: &History, epoch: &RecordedRollout) -> bool {
    epoch.end.is_some() || history.is_open(epoch)
}

/// Returns a duration with its unit.
fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..10 => format!("{seconds}.{:02} s", milliseconds % 1000 / 10),
        10..120 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}
