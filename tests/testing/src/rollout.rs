//! Sample rollouts: plans, events and records.

use serde_json::{Map, Value, json};
use uuid::Uuid;
use vault_bake::digest::{Digest, canonical_json};
use vault_bake::manifest::{
    CanaryFact, ClusterFact, EpochFact, RolloutImage, RolloutOutcome, RolloutRecord, RolloutStep,
    SnapshotFact, StepResult, Tool,
};
use vault_bake::store::Store;
use vault_bake::store::backend::Backend;
use vault_bake::store::event::RolloutBegin;

use crate::recorded_store::now;

/// The id of the cluster `dev`.
pub const CLUSTER: &str = "dev-1f2e3d4c";

/// Returns the part of a plan that a store reads: a target of the tier `vault`, and nodes.
pub fn plan(target: Digest, nodes: &[Digest]) -> Vec<u8> {
    let nodes = nodes.iter().enumerate();
    let nodes = nodes.map(|(at, manifest)| {
        let name = format!("dev-vault-1-{}", at + 1);
        (name, json!({ "manifest": manifest }))
    });
    let nodes: Map<String, Value> = nodes.collect();
    canonical_json(&json!({
        "nodes": nodes, "targets": { "vault": { "manifest": target } },
    }))
}

/// Returns the begin of a rollout of `dev`.
pub fn begin(epoch: u64, plan: Digest, takes_over: bool) -> RolloutBegin {
    RolloutBegin {
        cluster: CLUSTER.into(),
        name: "dev".into(),
        epoch,
        plan,
        takes_over,
    }
}

/// Appends the begin of a rollout of `dev`, whose plan is stored.
pub async fn append_begin<B: Backend>(store: &Store<B>, epoch: u64, plan: Digest, over: bool) {
    let begin = begin(epoch, plan, over);
    let begun = store.begin_rollout(Uuid::now_v7(), begin, now());
    begun.await.unwrap_or_else(|error| panic!("{error}"));
}

/// Returns a record of the open rollout of `dev`, as the log has it.
pub async fn record_of<B: Backend>(
    store: &Store<B>,
    from: RolloutImage,
    to: RolloutImage,
) -> RolloutRecord {
    let history = store.history().await.unwrap();
    let open = history.open_rollout(CLUSTER).expect("an open rollout");
    record(history.rollout_epochs(open), open.plan, from, to)
}

pub fn image(name: &str, version: &str, manifest: Digest) -> RolloutImage {
    RolloutImage {
        image: name.into(),
        manifest,
        version: version.parse().unwrap(),
    }
}

/// Returns a record with every field.
pub fn record(
    epochs: Vec<EpochFact>,
    plan: Digest,
    from: RolloutImage,
    to: RolloutImage,
) -> RolloutRecord {
    let at = |text: &str| text.parse().unwrap();
    RolloutRecord {
        canary: Some(CanaryFact {
            failed: 0,
            longest_gap_ms: 742,
            lost: 0,
            requests: 7041,
            retried: 81,
            slowest_ms: Some(1_250),
            unmeasured_ms: 0,
            writes: 1408,
        }),
        cluster: ClusterFact {
            id: CLUSTER.into(),
            name: "dev".into(),
        },
        started_at: at("2026-11-22T19:30:00Z"),
        ended_at: at("2026-11-22T19:32:51Z"),
        epochs,
        from: [("vault".to_owned(), vec![from])].into(),
        notes: vec!["one standby took 11 s to stop".into()],
        outcome: RolloutOutcome::Completed,
        plans: vec![plan],
        snapshot: Some(SnapshotFact {
            digest: Digest::hash_bytes("snapshot"),
            index: Some(4711),
            size: 38_912,
        }),
        steps: vec![
            step("start-node", "dev-vault-2-1", StepResult::Done),
            step("stop-standby", "dev-vault-1-2", StepResult::Done),
            RolloutStep {
                longest_gap_ms: 742,
                retried: 79,
                unclean: true,
                ..step("stop-active", "dev-vault-1-1", StepResult::Done)
            },
        ],
        to: [("vault".to_owned(), vec![to])].into(),
        tool: Tool {
            version: "1.0.0".into(),
            binary_sha256: Some(Digest::hash_bytes("vault-bake")),
        },
        version_jump_reason: Some("the upgrade notes of 1.21 were read".into()),
    }
}

pub fn step(step: &str, node: &str, result: StepResult) -> RolloutStep {
    RolloutStep {
        elapsed_ms: 15_230,
        failed: 0,
        longest_gap_ms: 61,
        lost: 0,
        nodes: vec![node.into()],
        requests: 609,
        result,
        retried: 1,
        started_at: "2026-11-22T19:30:04Z".parse().unwrap(),
        step: step.into(),
        unclean: false,
    }
}
