//! SKELETON. Definition, lock and provisioners, decided: every step in order, nothing left to choose.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::definition::{MachineSpec, QemuBase};
use crate::digest::Digest;
use crate::lock::LockedBase;
use crate::release::LockedRelease;
use crate::secret::Secret;

/// What a bake does.
pub struct Plan {
    /// The image's name.
    pub image: String,
    /// In a sentence.
    pub description: String,
    /// Of the definition after its variables were filled in.
    pub definition: Digest,
    /// Of the lock file's content.
    pub lock: Digest,
    /// Plain variables' values as JSON; secret ones as `{"secret": name}`.
    pub variables: BTreeMap<String, serde_json::Value>,
    /// What the bake starts from.
    pub base: PlannedBase,
    /// The releases that are installed.
    pub releases: Vec<LockedRelease>,
    /// The machine's shape.
    pub machine: MachineSpec,
    /// All steps, in order. The last one is the seal.
    pub steps: Vec<PlannedStep>,
}

/// The base of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedBase {
    /// As wanted.
    pub wanted: QemuBase,
    /// As locked.
    pub locked: LockedBase,
}

/// One step, decided.
pub struct PlannedStep {
    /// Unique in the plan, as in `vault`.
    pub name: String,
    /// Over all that decides what the step does: kind, files, environment (secrets by name), time-out.
    pub digest: Digest,
    /// What it does.
    pub kind: StepKind,
    /// At the most, in seconds.
    pub timeout_s: u64,
    /// Environment variables; provisioners see their inputs as `VB_INPUT_<NAME>`.
    pub env: BTreeMap<String, EnvValue>,
    /// Files of the step, by their path below the step's folder in the guest.
    pub files: Vec<PlannedFile>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum StepKind {
    /// Runs `install.sh`; its `check.sh`, where it has one, is run after all steps and again on the booted capture.
    Provisioner {
        /// Its name, as in `vault`.
        provisioner: String,
        /// Whether it has a `check.sh`.
        checked: bool,
        /// Whether it is the seal, which runs last and after all checks.
        seal: bool,
    },
    /// Runs the user's `script`.
    Shell,
    /// Puts the file `payload` to a place.
    File {
        /// In the image.
        destination: String,
        /// As in 0o644.
        mode: u32,
        /// As in `root:root`.
        owner: String,
    },
    /// Runs `ansible-playbook` on this machine.
    Ansible {
        /// On this machine.
        playbook: PathBuf,
    },
    /// Restarts the machine.
    Reboot,
}

/// An environment variable of a step.
#[derive(Clone)]
pub enum EnvValue {
    /// Plain.
    Plain(String),
    /// Secret; the variable that it comes from, and its value.
    Secret {
        /// The variable.
        variable: String,
        /// Its value.
        value: Secret,
    },
}

/// A file of a step: content known, so that its digest is what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Below the step's folder, as in `install.sh` or `files/vault.service`.
    pub path: String,
    /// As in 0o755.
    pub mode: u32,
    /// Of the content.
    pub sha256: Digest,
    /// The content, after templates were rendered.
    pub content: Vec<u8>,
}
