//! Resolves a definition, its lock and its provisioners into a [`Plan`], which a build carries out.
//! Planning is pure: it uses no file, server or clock. Equal inputs give equal plans.
//! A plan leaves no choice to the build.

mod base;
mod inputs;
mod interpreter;
pub mod lint;
mod order;
mod show;
mod steps;
mod template;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::definition::platform::{Platforms, Target};
use crate::definition::{Definition, Draft, Location, Problem, Problems, Value};
use crate::digest::Digest;
use crate::lock::{self, Lock};
use crate::provisioner::{ProvisionerError, Provisioners};
use crate::release::{LockedRelease, ReleaseMirror};
use crate::secret::{Scrubber, Secret};

/// A resolved build.
#[derive(Clone)]
pub struct Plan {
    /// Name of the image.
    pub image: String,
    /// One-sentence description of the image.
    pub description: String,
    /// Digest of the definition after its variables were filled in.
    pub definition: Digest,
    /// Digest of the lock file.
    pub lock: Digest,
    /// Value of each variable as JSON, secrets as `{"secret": name}`.
    pub variables: BTreeMap<String, serde_json::Value>,
    /// Name of the platform.
    pub platform: &'static str,
    /// Base, build VM and artifacts.
    pub target: Target,
    /// Releases to install, of the base's architecture. Paths start at the working directory.
    pub releases: Vec<LockedRelease>,
    /// Mirror of the releases. Paths start at the working directory.
    pub release_source: ReleaseMirror,
    /// `lib.sh`: shell functions for all scripts.
    pub lib: PlannedFile,
    /// Steps in order. The last one is the seal.
    pub steps: Vec<PlannedStep>,
    /// Reason for each lint rule that the definition allows to be broken, by rule id.
    pub allowed: BTreeMap<String, String>,
    /// Folder of the definition, which paths of playbooks start from.
    pub folder: PathBuf,
    /// Values of all sensitive variables, including unused ones.
    pub secrets: Vec<Secret>,
}

/// A resolved step.
#[derive(Clone)]
pub struct PlannedStep {
    /// Name, as in `vault`: unique in the plan, and a plain file name.
    pub name: String,
    /// Digest of action, files, environment (secrets by name) and time limit.
    pub digest: Digest,
    /// Action of the step.
    pub kind: StepKind,
    /// Time limit in seconds.
    pub timeout_s: u64,
    /// Environment variables by name. Inputs of provisioners are named `VB_INPUT_<NAME>`. For an
    /// Ansible step these are the extra variables, plain ones as JSON.
    pub env: BTreeMap<String, EnvValue>,
    /// Files in the step's folder in the build VM.
    pub files: Vec<PlannedFile>,
    /// Products whose releases the step gets: those of its provisioner, or all for a user's script.
    pub releases: Vec<String>,
}

/// The action of a planned step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum StepKind {
    /// Runs `install.sh`. A `check.sh` runs after all steps, and again in the boot test.
    Provisioner {
        /// Name of the provisioner, as in `vault`.
        provisioner: String,
        /// Whether the provisioner has a `check.sh`.
        checked: bool,
        /// Whether the provisioner is the seal, which runs after all checks.
        seal: bool,
    },
    /// Runs the user's script, the file [`SCRIPT`].
    Shell,
    /// Copies the file [`PAYLOAD`] into the image.
    File {
        /// Absolute path in the image.
        destination: String,
        /// Mode in the image, as in 0o644.
        mode: u32,
        /// Owner in the image, as in `root:root`.
        owner: String,
    },
    /// Runs `ansible-playbook` on the host.
    Ansible {
        /// Path on the host, from [`Plan::folder`].
        playbook: PathBuf,
        /// Digest of the playbook. If it is in a subfolder, digest of all files of that folder.
        sha256: Digest,
    },
    /// Restarts the build VM.
    Reboot,
}

pub use interpreter::{Interpreter, InvalidFirstLine};
pub use steps::CONFIGURATION;

/// Name of the only file of a shell step.
pub(crate) const SCRIPT: &str = "script.sh";
/// Name of the only file of a file step.
pub(crate) const PAYLOAD: &str = "payload";

/// The value of a step's environment variable.
#[derive(Clone)]
pub enum EnvValue {
    /// A plain text.
    Plain(String),
    /// The value of a sensitive variable.
    Secret {
        /// Name of the sensitive variable.
        variable: String,
        /// Value of the variable.
        value: Secret,
    },
}

/// A file of a step. Its content is part of the plan, so that its digest identifies what runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedFile {
    /// Path below the step's folder, as in `install.sh` or `files/vault.service`.
    pub path: String,
    /// Mode, as in 0o755.
    pub mode: u32,
    /// Digest of the content.
    pub sha256: Digest,
    /// Content, with templates rendered.
    #[serde(skip)]
    pub content: Vec<u8>,
}

/// A plan that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The definition, or its use of provisioners, has problems.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// A provisioner could not be loaded.
    #[error(transparent)]
    Provisioner(ProvisionerError),
    /// The lock file is for another definition.
    #[error("image.lock was made for another definition")]
    StaleLock {
        /// Name of the image.
        image: String,
    },
    /// The lock file was edited: its digest fits the definition, its content does not.
    #[error("image.lock does not fit its definition: {reason}")]
    BrokenLock {
        /// Name of the image.
        image: String,
        /// The part that does not fit.
        reason: String,
    },
    /// The lock file has no base for this platform.
    #[error("image.lock has no base for {builder}")]
    NotLocked {
        /// Name of the image.
        image: String,
        /// Name of the platform, as in `azure`.
        builder: String,
    },
    /// The definition has no base for this platform.
    #[error("{image} has no base for {builder}")]
    OtherBuilder {
        /// Name of the image.
        image: String,
        /// Name of the platform, as in `azure`.
        builder: String,
    },
}

impl PlanError {
    /// Returns the way out as an imperative, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid(problems) => problems.hint(),
            Self::Provisioner(error) => error.hint(),
            Self::StaleLock { image } | Self::BrokenLock { image, .. } => {
                Some(format!("Run `vault-bake lock {image}`."))
            }
            Self::NotLocked { image, builder } => Some(format!(
                "Run `vault-bake lock {image} --builder {builder}`."
            )),
            Self::OtherBuilder { builder, .. } => Some(format!(
                "Add `[base.{builder}]` to its image.toml, or use another `--builder`."
            )),
        }
    }
}

impl From<Problem> for PlanError {
    fn from(problem: Problem) -> Self {
        Self::Invalid(problem.into())
    }
}

/// Makes the plan of a build of `definition` on the one of `platforms` with the name `platform`.
pub fn plan(
    definition: &Definition,
    lock: &Lock,
    provisioners: &Provisioners,
    platforms: &Platforms,
    platform: &str,
) -> Result<Plan, PlanError> {
    let platform = base::find(definition, platforms, platform)?;
    let (target, releases) = base::decide(definition, lock, platform, platforms)?;
    let steps = plan_steps(definition, provisioners)?;
    let secret = |value: &Value| match value {
        Value::Secret { value, .. } => Some(value.clone()),
        Value::Plain(_) => None,
    };
    Ok(Plan {
        image: definition.name.clone(),
        description: definition.description.clone(),
        definition: definition.digest,
        lock: lock.digest(),
        variables: definition
            .variables
            .iter()
            .map(|(name, value)| (name.clone(), value.redacted_json()))
            .collect(),
        platform: platform.name(),
        target,
        releases,
        release_source: lock::release_mirror(definition),
        lib: PlannedFile::from(&provisioners.lib),
        steps,
        allowed: definition.allowed.clone(),
        folder: definition.folder.clone(),
        secrets: definition.variables.values().filter_map(secret).collect(),
    })
}

/// Fails if the definition has no base for the platform with this name.
pub fn has_base(definition: &Definition, platform: &str) -> Result<(), PlanError> {
    base::parts(definition, platform).map(drop)
}

/// Plans the steps of a definition. This needs no lock.
pub fn plan_steps(
    definition: &Definition,
    provisioners: &Provisioners,
) -> Result<Vec<PlannedStep>, PlanError> {
    let order_problems = order::check(definition, provisioners);
    let (steps, step_problems) = decide(definition, provisioners);
    match Problems::from_unsorted(order_problems.into_iter().chain(step_problems)) {
        Some(problems) => Err(problems.into()),
        None => Ok(steps),
    }
}

/// Loads the provisioners of a draft from the folders `search`, and checks both together.
///
/// Fails with all problems of the definition, its provisioners and its steps.
pub fn check_draft(
    draft: Draft,
    search: &[PathBuf],
) -> Result<(Definition, Provisioners), PlanError> {
    let Draft {
        definition,
        problems,
    } = draft;
    let (provisioners, provisioner_problems) =
        Provisioners::load_valid(search, &definition).map_err(PlanError::Provisioner)?;
    // The last step is known only if all steps are valid.
    let order_problems = match problems {
        Some(_) => Vec::new(),
        None => order::check(&definition, &provisioners),
    };
    let (_, step_problems) = decide(&definition, &provisioners);
    // The search has reported missing provisioners.
    let reported: Vec<Location> = definition
        .steps
        .iter()
        .filter(|step| order::find_provisioner(step, &provisioners).is_err())
        .map(|step| step.at.below("provisioner"))
        .collect();
    let later = order_problems.into_iter().chain(step_problems);
    let later: Vec<Problem> = later
        .filter(|problem| !reported.contains(&problem.location))
        .collect();
    let first = problems.into_iter().flatten().chain(provisioner_problems);
    match Problems::from_unsorted(first.chain(later)) {
        Some(problems) => Err(problems.into()),
        None => Ok((definition, provisioners)),
    }
}

/// Returns the steps that can be planned, and the problems of the others.
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
    /// Returns the digest of the plan, which does not depend on the definition's folder.
    pub fn digest(&self) -> Digest {
        Digest::hash_value(&self.describe())
    }

    /// Tells if a step restarts the build VM.
    pub(crate) fn restarts(&self) -> bool {
        self.steps.iter().any(|step| step.kind == StepKind::Reboot)
    }

    /// Returns a scrubber for the plan's secrets.
    pub fn scrubber(&self) -> Scrubber {
        Scrubber::new(&self.secrets)
    }
}
