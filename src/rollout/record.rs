//! Builds the record of a rollout from its journal and its plans.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Figures;
use super::journal::{Entry, Mark, StepResult as Evidence};
use super::plan::Plan;
use crate::cluster::file::TierName;
use crate::digest::Digest;
use crate::manifest::{
    CanaryFact, ClusterFact, EpochFact, RolloutImage, RolloutOutcome, RolloutRecord, RolloutStep,
    SnapshotFact, StepResult, Tool,
};

/// What a record is made of.
pub struct Parts<'a> {
    /// How it ended.
    pub outcome: RolloutOutcome,
    /// The plan that the log names.
    pub first: Digest,
    /// The controllers, in order.
    pub epochs: Vec<EpochFact>,
    /// All plans by digest.
    pub plans: &'a BTreeMap<Digest, Plan>,
    /// The journal, which is empty if it was lost.
    pub entries: &'a [Entry],
    /// Whether lines of the journal could not be read.
    pub is_damaged: bool,
    /// The version of vault-bake that ends it.
    pub tool: &'a Tool,
    /// The time.
    pub now: Timestamp,
}

/// Returns the record of a rollout that has ended.
pub fn build(parts: &Parts<'_>) -> RolloutRecord {
    let first = &parts.plans[&parts.first];
    let started_at = parts
        .epochs
        .first()
        .map_or_else(|| parts.now.into(), |epoch| epoch.begun_at);
    let images = |plan: &Plan, is_new: bool| {
        let tiers = plan.targets.keys().map(|tier| {
            let images = images_of(plan, *tier, is_new);
            (tier.as_str().to_owned(), images)
        });
        tiers.collect::<BTreeMap<_, _>>()
    };
    let results = parts.entries.iter().filter_map(evidence);
    let mut notes: Vec<String> = Vec::new();
    for note in results.clone().flat_map(|result| &result.notes) {
        if !notes.contains(note) {
            notes.push(note.clone());
        }
    }
    if parts.entries.is_empty() {
        notes.push("the journal was lost, and with it the figures of all steps".to_owned());
    } else if parts.is_damaged {
        notes.push("the journal was damaged: figures of some steps are lost".to_owned());
    }
    RolloutRecord {
        canary: canary(parts, started_at.timestamp()),
        cluster: ClusterFact {
            id: first.cluster.clone(),
            name: first.name.clone(),
        },
        ended_at: parts.now.into(),
        epochs: parts.epochs.clone(),
        from: images(first, false),
        notes,
        outcome: parts.outcome,
        plans: plans(parts),
        snapshot: results
            .filter_map(|result| result.snapshot)
            .next_back()
            .map(|snapshot| SnapshotFact {
                digest: snapshot.digest,
                index: None,
                size: snapshot.size,
            }),
        started_at,
        steps: parts
            .entries
            .iter()
            .enumerate()
            .filter_map(|(at, entry)| step(entry, &parts.entries[at + 1..], parts.plans))
            .collect(),
        to: targets(first),
        tool: parts.tool.clone(),
        version_jump_reason: first.choices.version_jump_reason.clone(),
    }
}

/// Returns the digests of the plans, in the order of their use.
fn plans(parts: &Parts<'_>) -> Vec<Digest> {
    let mut plans = vec![parts.first];
    for entry in parts.entries {
        if !plans.contains(&entry.plan) {
            plans.push(entry.plan);
        }
    }
    plans
}

fn images_of(plan: &Plan, tier: TierName, is_new: bool) -> Vec<RolloutImage> {
    let nodes = plan.nodes.values();
    let nodes = nodes.filter(|node| node.tier == tier && node.is_new == is_new);
    let images: BTreeSet<RolloutImage> = nodes
        .map(|node| RolloutImage {
            image: node.image.clone(),
            manifest: node.manifest,
            version: node.version,
        })
        .collect();
    images.into_iter().collect()
}

fn targets(plan: &Plan) -> BTreeMap<String, Vec<RolloutImage>> {
    let targets = plan.targets.iter().map(|(tier, target)| {
        let image = RolloutImage {
            image: target.image.clone(),
            manifest: target.manifest,
            version: target.version,
        };
        (tier.as_str().to_owned(), vec![image])
    });
    targets.collect()
}

fn evidence(entry: &Entry) -> Option<&Evidence> {
    match &entry.mark {
        Mark::Done(result) | Mark::Failed(result) => Some(result),
        _ => None,
    }
}

/// Returns the step of an entry that ended one, or that began one whose controller ended.
fn step(entry: &Entry, later: &[Entry], plans: &BTreeMap<Digest, Plan>) -> Option<RolloutStep> {
    let action = &plans.get(&entry.plan)?.steps.get(entry.step)?.action;
    let none = Evidence::default();
    let (result, evidence) = match &entry.mark {
        Mark::Done(evidence) => (StepResult::Done, evidence),
        Mark::Failed(evidence) => (StepResult::Failed, evidence),
        Mark::Undone => (StepResult::Undone, &none),
        Mark::Intent if is_last_word(entry, later) => (StepResult::Observed, &none),
        _ => return None,
    };
    let Figures {
        requests,
        failed,
        retried,
        lost,
        longest_gap_ms,
        ..
    } = evidence.figures;
    let elapsed_ms = evidence.elapsed_ms;
    let elapsed = jiff::SignedDuration::from_millis(i64::try_from(elapsed_ms).unwrap_or(i64::MAX));
    Some(RolloutStep {
        elapsed_ms,
        failed,
        longest_gap_ms,
        lost,
        nodes: action.nodes().into_iter().map(ToOwned::to_owned).collect(),
        requests,
        result,
        retried,
        started_at: (entry.at - elapsed).into(),
        step: action.kind().to_owned(),
        unclean: evidence.is_unclean,
    })
}

/// Whether no later entry says how a step ended, or that it was begun again.
fn is_last_word(intent: &Entry, later: &[Entry]) -> bool {
    let of_step = |entry: &&Entry| (entry.plan, entry.step) == (intent.plan, intent.step);
    !later.iter().filter(of_step).any(|entry| {
        matches!(
            entry.mark,
            Mark::Intent | Mark::Done(_) | Mark::Failed(_) | Mark::UndoIntent | Mark::Undone
        )
    })
}

/// Returns what clients felt, if the canary measured it.
fn canary(parts: &Parts<'_>, started_at: Timestamp) -> Option<CanaryFact> {
    let (total, measured_ms) = measured(parts.entries);
    let whole_ms = parts.now.duration_since(started_at).as_millis();
    let whole_ms = u64::try_from(whole_ms).unwrap_or_default();
    (total.requests > 0).then(|| CanaryFact {
        failed: total.failed,
        longest_gap_ms: total.longest_gap_ms,
        lost: total.lost,
        requests: total.requests,
        retried: total.retried,
        slowest_ms: (total.slowest_ms > 0).then_some(total.slowest_ms),
        unmeasured_ms: whole_ms.saturating_sub(measured_ms),
        writes: total.writes,
    })
}

/// Adds up what the canaries of all controllers measured, and for how long, in milliseconds.
/// A controller that was killed told its figures at the end of each step.
pub(super) fn measured(entries: &[Entry]) -> (Figures, u64) {
    let (mut total, mut total_ms) = (Figures::default(), 0);
    let (mut run, mut run_ms) = (Figures::default(), 0);
    for entry in entries {
        match &entry.mark {
            Mark::Started => {
                total.add(&run);
                total_ms += run_ms;
                (run, run_ms) = (Figures::default(), 0);
            }
            Mark::Measured {
                figures,
                elapsed_ms,
            } => {
                total.add(figures);
                total_ms += elapsed_ms;
                (run, run_ms) = (Figures::default(), 0);
            }
            Mark::Done(result) | Mark::Failed(result) => {
                run.add(&result.figures);
                run_ms += result.elapsed_ms;
            }
            _ => {}
        }
    }
    total.add(&run);
    (total, total_ms + run_ms)
}

impl Figures {
    /// Adds the figures of another interval.
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.writes += other.writes;
        self.failed += other.failed;
        self.retried += other.retried;
        self.lost += other.lost;
        self.longest_gap_ms = self.longest_gap_ms.max(other.longest_gap_ms);
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
    }
}
