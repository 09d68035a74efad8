//! Definition, lock and provisioners, decided: every step in order, nothing left to choose.
//!
//! In: a definition, its lock, its provisioners. Out: a [`Plan`] that can be printed and carried out. Deliberately
//! pure: it reads no file, asks no server and no clock, so the same inputs always give the same plan.

mod base;
mod inputs;
mod interpreter;
mod order;
mod show;
mod steps;
mod template;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::definition::{
    AzureBase, AzureMachine, AzureOutput, BuilderKind, Definition, Draft, Location, MachineSpec,
    OutputSpec, Problem, Problems, QemuBase, Value,
};
use crate::digest::Digest;
use crate::lock::{self, Lock, LockedBase, LockedImage};
use crate::provisioner::{ProvisionerError, Provisioners};
use crate::release::{LockedRelease, ReleaseMirror};
use crate::secret::{Scrubber, Secret};

/// What a bake does.
#[derive(Clone)]
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
    /// What the bake starts from. Paths in it are whole.
    pub base: PlannedBase,
    /// The releases that are installed. Paths in them are whole.
    pub releases: Vec<LockedRelease>,
    /// Where they come from. Paths in it are whole.
    pub release_source: ReleaseMirror,
    /// The machine.
    pub machine: PlannedMachine,
    /// What is left of it.
    pub output: PlannedOutput,
    /// `lib.sh`: shell functions that every script may use.
    pub lib: PlannedFile,
    /// All steps, in order. The last one is the seal.
    pub steps: Vec<PlannedStep>,
    /// Rules of the linter that the configuration may break, and why.
    pub allowed: BTreeMap<String, String>,
    /// Where paths of the definition start, such as those of playbooks.
    pub folder: PathBuf,
    /// The values of all sensitive variables, whether a step uses them or not.
    pub secrets: Vec<Secret>,
}

/// The base of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PlannedBase {
    /// A disk of this computer.
    Qemu {
        /// As wanted.
        wanted: QemuBase,
        /// As locked.
        locked: LockedBase,
    },
    /// An image on Azure.
    Azure {
        /// As wanted.
        wanted: AzureBase,
        /// As locked.
        locked: LockedImage,
    },
}

/// The machine of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PlannedMachine {
    /// On Azure.
    Azure(Box<AzureMachine>),
    /// Of this computer.
    Qemu(MachineSpec),
}

/// What is left of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PlannedOutput {
    /// Images on Azure.
    Azure(AzureOutput),
    /// A qcow2 file.
    Qemu(OutputSpec),
}

impl PlannedMachine {
    /// How long it may take to answer on SSH, in seconds.
    pub fn boot_timeout_s(&self) -> u64 {
        match self {
            Self::Qemu(machine) => machine.boot_timeout_s,
            Self::Azure(machine) => machine.boot_timeout_s,
        }
    }
}

/// One step, decided.
#[derive(Clone)]
pub struct PlannedStep {
    /// Unique in the plan, as in `vault`; a plain file name.
    pub name: String,
    /// Over all that decides what the step does: kind, files, environment (secrets by name), time-out.
    pub digest: Digest,
    /// What it does.
    pub kind: StepKind,
    /// At the most, in seconds.
    pub timeout_s: u64,
    /// Environment variables; provisioners see their inputs as `VB_INPUT_<NAME>`. For an ansible step: its extra
    /// variables, plain ones as JSON text.
    pub env: BTreeMap<String, EnvValue>,
    /// Files of the step, by their path below the step's folder in the guest.
    pub files: Vec<PlannedFile>,
    /// Products whose releases it is given, and told of: those that its provisioner names; all for a script of the user's.
    pub releases: Vec<String>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Runs the user's script, the file [`SCRIPT`].
    Shell,
    /// Puts the file [`PAYLOAD`] to a place.
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
        /// On this machine, from [`Plan::folder`].
        playbook: PathBuf,
        /// Of the playbook, and of all files beside and below it where it has a folder of its own.
        sha256: Digest,
    },
    /// Restarts the machine.
    Reboot,
}

pub use interpreter::{Interpreter, InvalidFirstLine};
pub use steps::CONFIGURATION;

/// The one file of a shell step.
pub const SCRIPT: &str = "script.sh";
/// The one file of a file step.
pub const PAYLOAD: &str = "payload";

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedFile {
    /// Below the step's folder, as in `install.sh` or `files/vault.service`.
    pub path: String,
    /// As in 0o755.
    pub mode: u32,
    /// Of the content.
    pub sha256: Digest,
    /// The content, after templates were rendered.
    #[serde(skip)]
    pub content: Vec<u8>,
}

/// A plan that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Something in the definition is wrong, seen together with its provisioners: all that is.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// A provisioner cannot be had.
    #[error(transparent)]
    Provisioner(ProvisionerError),
    /// The lock is for another definition.
    #[error("image.lock was made for another definition; run `vault-bake lock {image}`")]
    StaleLock {
        /// The image.
        image: String,
    },
    /// The lock says that it fits, and does not.
    #[error("image.lock does not fit its definition: {reason}; run `vault-bake lock {image}`")]
    BrokenLock {
        /// The image.
        image: String,
        /// What does not fit.
        reason: String,
    },
    /// The lock has no base for this builder.
    #[error(
        "image.lock has no base for {builder}; run `vault-bake lock {image} --builder {builder}`"
    )]
    NotLocked {
        /// The image.
        image: String,
        /// As in `azure`.
        builder: &'static str,
    },
    /// The definition says nothing of this builder.
    #[error(
        "{image} has no base for {builder}; add `[base.{builder}]` to its image.toml, or use another `--builder`"
    )]
    OtherBuilder {
        /// The image.
        image: String,
        /// As in `azure`.
        builder: &'static str,
    },
}

impl PlanError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

impl From<Problem> for PlanError {
    fn from(problem: Problem) -> Self {
        Self::Invalid(problem.into())
    }
}

/// Decides everything that a bake of `definition` does.
pub fn plan(
    definition: &Definition,
    lock: &Lock,
    provisioners: &Provisioners,
    builder: BuilderKind,
) -> Result<Plan, PlanError> {
    let (base, machine, output) = base::decide(definition, lock, builder)?;
    let steps = evaluate(definition, provisioners)?;
    let secret = |value: &Value| match value {
        Value::Secret { value, .. } => Some(value.clone()),
        Value::Plain(_) => None,
    };
    let mut releases = lock.releases.clone();
    for release in &mut releases {
        release.url = lock::whole(&definition.folder, &release.url);
    }
    Ok(Plan {
        image: definition.name.clone(),
        description: definition.description.clone(),
        definition: definition.digest,
        lock: lock.digest(),
        variables: definition
            .variables
            .iter()
            .map(|(name, value)| (name.clone(), value.shown()))
            .collect(),
        base,
        releases,
        release_source: lock::source(definition),
        machine,
        output,
        lib: PlannedFile::from(&provisioners.lib),
        steps,
        allowed: definition.allowed.clone(),
        folder: definition.folder.clone(),
        secrets: definition.variables.values().filter_map(secret).collect(),
    })
}

/// Refuses a builder that the definition has no base for.
pub fn has_base(definition: &Definition, builder: BuilderKind) -> Result<(), PlanError> {
    base::named(definition, builder)
}

/// Judges all of a plan that can be judged before there is a lock, and gives its steps.
pub fn evaluate(
    definition: &Definition,
    provisioners: &Provisioners,
) -> Result<Vec<PlannedStep>, PlanError> {
    let of_order = order::evaluate(definition, provisioners);
    let (steps, of_steps) = decide(definition, provisioners);
    match Problems::of(of_order.into_iter().chain(of_steps)) {
        Some(problems) => Err(problems.into()),
        None => Ok(steps),
    }
}

/// Judges a draft with the provisioners that `search` has, and gives the definition with them; or all that is wrong with
/// either.
pub fn check(draft: Draft, search: &[PathBuf]) -> Result<(Definition, Provisioners), PlanError> {
    let Draft {
        definition,
        problems,
    } = draft;
    let (provisioners, of_provisioners) =
        Provisioners::find(search, &definition).map_err(PlanError::Provisioner)?;
    // Which step is last is known only where all could be read.
    let of_order = match problems {
        Some(_) => Vec::new(),
        None => order::evaluate(&definition, &provisioners),
    };
    let (_, of_steps) = decide(&definition, &provisioners);
    // A step without its provisioner was told by the search for it.
    let lacking: Vec<Location> = definition
        .steps
        .iter()
        .filter(|step| order::provisioner(step, &provisioners).is_err())
        .map(|step| step.at.below("provisioner"))
        .collect();
    let later = of_order.into_iter().chain(of_steps);
    let later: Vec<Problem> = later
        .filter(|problem| !lacking.contains(&problem.place))
        .collect();
    let first = problems.into_iter().flatten().chain(of_provisioners);
    match Problems::of(first.chain(later)) {
        Some(problems) => Err(problems.into()),
        None => Ok((definition, provisioners)),
    }
}

/// The steps that can be decided, and what is wrong with the others.
fn decide(
    definition: &Definition,
    provisioners: &Provisioners,
) -> (Vec<PlannedStep>, Vec<Problem>) {
    let (mut steps, mut problems) = (Vec::new(), Vec::new());
    for step in &definition.steps {
        match steps::decide(step, definition, provisioners) {
            Ok(step) => steps.push(step),
            Err(found) => problems.extend(found),
        }
    }
    (steps, problems)
}

impl Plan {
    /// The digest of all that it says. Where the definition's folder is makes no difference.
    pub fn digest(&self) -> Digest {
        Digest::of_value(&self.describe())
    }

    /// Whether a step restarts the machine.
    pub fn restarts(&self) -> bool {
        self.steps.iter().any(|step| step.kind == StepKind::Reboot)
    }

    /// Scrubs its secrets from text that programs print.
    pub fn scrubber(&self) -> Scrubber {
        Scrubber::new(&self.secrets)
    }
}
