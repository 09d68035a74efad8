//! The record of an ended rollout: what replaced what, each step, and what clients felt.
//! Like a test record, it is a signed statement. The event log names it by digest.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ImageVersion, MAX_BYTES, Moment, Tool, is_name};
use crate::digest::Digest;
use crate::sign::{KeyId, SignError, Statement, Subject};

/// The predicate type of rollout records.
pub const ROLLOUT_SCHEMA: &str = "https://vault-bake.dev/rollout/v1";

/// The record of a rollout. The fields of all its parts are sorted by name, as in canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutRecord {
    /// What the canary client measured. Absent if none ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryFact>,
    /// The cluster.
    pub cluster: ClusterFact,
    /// The time at which the rollout ended.
    pub ended_at: Moment,
    /// The controllers, in order: one began the rollout, each other one took it over.
    pub epochs: Vec<EpochFact>,
    /// The images of each tier before the rollout.
    pub from: BTreeMap<String, Vec<RolloutImage>>,
    /// Remarks of the controller, in words.
    pub notes: Vec<String>,
    /// How it ended.
    pub outcome: RolloutOutcome,
    /// The digests of the plans: the one that the log names, then those made during the rollout.
    pub plans: Vec<Digest>,
    /// The snapshot of Consul. Absent if none was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotFact>,
    /// The time at which the rollout began.
    pub started_at: Moment,
    /// The steps, in the order of execution.
    pub steps: Vec<RolloutStep>,
    /// The target images of each tier.
    pub to: BTreeMap<String, Vec<RolloutImage>>,
    /// The version of vault-bake that ended the rollout.
    pub tool: Tool,
    /// The reason to accept a jump of versions that is in no table. Absent if none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_jump_reason: Option<String>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterFact {
    /// The id: the name and eight hex digits.
    pub id: String,
    /// The name.
    pub name: String,
}

/// A controller of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochFact {
    /// The time of its entry in the log.
    pub begun_at: Moment,
    /// The ids of the keys that signed the entry.
    pub by: BTreeSet<KeyId>,
    /// The epoch.
    pub epoch: u64,
}

/// An image that nodes run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutImage {
    /// The name of the image.
    pub image: String,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The version of the image.
    pub version: ImageVersion,
}

impl RolloutImage {
    /// Returns `image@version`.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.image, self.version)
    }
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutOutcome {
    /// All nodes run the target images.
    Completed,
    /// The cluster is as it was before.
    Aborted,
}

impl std::fmt::Display for RolloutOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Completed => "completed",
            Self::Aborted => "aborted",
        })
    }
}

/// A step, and the requests of the canary client that ended during it. The figures are 0 if no
/// canary ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutStep {
    /// The time that it took, in milliseconds.
    pub elapsed_ms: u64,
    /// Requests without an answer before their deadline.
    pub failed: u64,
    /// The longest time without an answered request, in milliseconds.
    pub longest_gap_ms: u64,
    /// Acknowledged writes that could not be read.
    pub lost: u64,
    /// The names of its nodes.
    pub nodes: Vec<String>,
    /// All requests.
    pub requests: u64,
    /// The result.
    pub result: StepResult,
    /// Requests whose first answer was an error.
    pub retried: u64,
    /// The time at which it began.
    pub started_at: Moment,
    /// The step, for example `stop-standby`.
    pub step: String,
    /// Whether a node did not stop in an orderly way.
    pub unclean: bool,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepResult {
    /// Its effect was made, and its gate passed.
    Done,
    /// Its controller ended during it, and a later one saw that it was complete. Not measured.
    Observed,
    /// Its effect was undone.
    Undone,
    /// Its gate did not pass.
    Failed,
}

impl std::fmt::Display for StepResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Done => "done",
            Self::Observed => "observed",
            Self::Undone => "undone",
            Self::Failed => "failed",
        })
    }
}

/// A snapshot of Consul's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotFact {
    /// The digest of the file.
    pub digest: Digest,
    /// The index of Consul's log at the snapshot. Absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The size of the file, in bytes.
    pub size: u64,
}

/// What the canary client measured during the whole rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanaryFact {
    /// Requests without an answer before their deadline.
    pub failed: u64,
    /// The longest time without an answered request, in milliseconds.
    pub longest_gap_ms: u64,
    /// Acknowledged writes that could not be read.
    pub lost: u64,
    /// All requests.
    pub requests: u64,
    /// Requests whose first answer was an error.
    pub retried: u64,
    /// The longest time from the first try of a request to its end, in milliseconds. Absent in
    /// records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest_ms: Option<u64>,
    /// The time without a running canary, for example between two controllers, in milliseconds.
    pub unmeasured_ms: u64,
    /// The requests that were writes.
    pub writes: u64,
}

/// Whether `id` can be the id of the cluster `name`: the name, `-` and eight hex digits.
pub fn is_cluster_id(id: &str, name: &str) -> bool {
    let digits = id.strip_prefix(name).and_then(|id| id.strip_prefix('-'));
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    is_name(name) && digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(is_digit))
}

impl RolloutRecord {
    /// Returns the only stored form: an in-toto Statement about the plans and the target manifests,
    /// as canonical JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        Statement {
            subjects: self.subjects(),
            predicate_type: ROLLOUT_SCHEMA.to_owned(),
            predicate: self,
        }
        .to_bytes()
    }

    fn subjects(&self) -> Vec<Subject> {
        let plans = self.plans.iter().enumerate();
        let plans = plans.map(|(at, digest)| Subject {
            name: match at {
                0 => "plan".to_owned(),
                at => format!("plan-{}", at + 1),
            },
            digest: *digest,
        });
        let targets: BTreeSet<&RolloutImage> = self.to.values().flatten().collect();
        let targets = targets.into_iter().map(|image| Subject {
            name: image.reference(),
            digest: image.manifest,
        });
        plans.chain(targets).collect()
    }

    /// Parses stored bytes. Refuses everything that [`Self::to_bytes`] cannot write, including
    /// unknown fields.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignError> {
        let known = |one: &Statement<Self>| one.predicate_type == ROLLOUT_SCHEMA;
        let statement = Statement::read(bytes, MAX_BYTES).filter(known);
        let statement = statement.ok_or_else(|| defect(bytes))?;
        let record = statement.predicate;
        record.check_values()?;
        if statement.subjects != record.subjects() {
            let why = "its subjects are not its plans and target manifests";
            return Err(wrong(why.to_owned()));
        }
        Ok(record)
    }

    fn check_values(&self) -> Result<(), SignError> {
        let ClusterFact { id, name } = &self.cluster;
        if !is_cluster_id(id, name) {
            return Err(wrong(format!("`{id}` is not the id of a cluster `{name}`")));
        }
        let epochs = self.epochs.windows(2);
        let in_order = epochs.into_iter().all(|two| {
            let next = two[0].epoch.checked_add(1);
            next == Some(two[1].epoch)
        });
        let first = self.epochs.first().map_or(0, |first| first.epoch);
        if first == 0 || !in_order {
            return Err(wrong("its epochs are not consecutive from 1 up".to_owned()));
        }
        if self.epochs.iter().any(|epoch| epoch.by.is_empty()) {
            return Err(wrong("an epoch has no key".to_owned()));
        }
        let plans: BTreeSet<&Digest> = self.plans.iter().collect();
        if plans.is_empty() || plans.len() != self.plans.len() {
            return Err(wrong("it has no plan, or one twice".to_owned()));
        }
        if self.to.is_empty() || self.to.values().any(Vec::is_empty) {
            return Err(wrong("it has no target, or a tier without one".to_owned()));
        }
        let mut images = self.from.values().chain(self.to.values()).flatten();
        match images.find(|image| !is_name(&image.image)) {
            Some(image) => Err(wrong(format!(
                "`{}` is not a valid image name",
                image.image
            ))),
            None => Ok(()),
        }
    }
}

/// Returns why `bytes` are not a rollout record.
fn defect(bytes: &[u8]) -> SignError {
    let statement = match Statement::parse(bytes, MAX_BYTES) {
        Ok(statement) => statement,
        Err(error) => return error,
    };
    if statement.predicate_type != ROLLOUT_SCHEMA {
        return wrong(format!(
            "type `{}`, expected `{ROLLOUT_SCHEMA}`",
            statement.predicate_type
        ));
    }
    match serde_json::from_value::<RolloutRecord>(statement.predicate) {
        Err(error) => wrong(error.to_string()),
        Ok(_) => wrong("a list in place of an object, or an unknown field".to_owned()),
    }
}

fn wrong(why: String) -> SignError {
    SignError::Shape {
        what: "rollout record",
        why,
    }
}
