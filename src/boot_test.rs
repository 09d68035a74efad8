//! Boots an artifact with a generated identity and runs all checks of its manifest in it.
//! Returns a [`TestRecord`]; an image that does not boot is a failed test, not an error.
//! Neither the definition nor the plan is needed, so a test can be repeated at any time.

mod attempt;
mod audits;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::build_record::builder_fact;
use crate::builder::{AccessBy, Builder, BuilderError, Content, Disk, start};
use crate::definition::Firmware;
use crate::definition::platform::PlannedMachine;
use crate::digest::{Digest, canonical_json};
use crate::guest_steps::{Installed, ProvisionError};
use crate::identity::{Identity, IdentityError};
use crate::manifest::TestRecord;
use crate::plan::{EnvValue, Plan, PlannedFile, PlannedStep, StepKind};
use crate::release::VerifiedRelease;
use crate::run_context::RunContext;
use crate::teardown::Teardown;
use crate::wait::Interrupted;

use attempt::Attempt;

pub use attempt::BOOT_CHECK;
pub use audits::{AUDIT_CHECK, AuditOptions, MIN_HARDENING_INDEX};

/// The inputs of a boot test except the artifact.
/// The store has it as canonical JSON, and the manifest has its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckSet {
    /// The version of this format: 1.
    pub schema: u32,
    /// The name of the image.
    pub image: String,
    /// The size and network of the VM for the test.
    pub machine: PlannedMachine,
    /// The firmware that boots the image.
    pub firmware: Firmware,
    /// The way in which SSH keys get into the VM.
    pub access: AccessBy,
    /// The installed releases.
    pub releases: Vec<Installed>,
    /// The content of `lib.sh`.
    pub lib: String,
    /// The steps that have checks, in order.
    pub steps: Vec<CheckedStep>,
}

/// A step that has checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckedStep {
    /// The unique name in the plan.
    pub name: String,
    /// The digest in the plan.
    pub digest: Digest,
    /// The kind of the step.
    pub kind: StepKind,
    /// The environment without secrets, which checks of a booted image do not need.
    pub env: BTreeMap<String, String>,
    /// The files of the step.
    pub files: Vec<CheckedFile>,
}

/// A file of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckedFile {
    /// The path relative to the step's folder.
    pub path: String,
    /// The permission bits, as in 0o755.
    pub mode: u32,
    /// The content in base64.
    pub content: String,
}

/// A set of checks that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("cannot parse the checks of {image}: {why}")]
pub struct CheckSetError {
    image: String,
    why: String,
}

impl CheckSetError {
    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> Option<String> {
        Some("Use the version of vault-bake that recorded the image, or a newer one.".to_owned())
    }
}

impl CheckSet {
    /// Collects the inputs of a boot test from a plan.
    pub(crate) fn from_plan(plan: &Plan, releases: &[VerifiedRelease], disk: &Disk) -> Self {
        let checked =
            |step: &&PlannedStep| matches!(step.kind, StepKind::Provisioner { checked: true, .. });
        Self {
            schema: 1,
            image: plan.image.clone(),
            machine: plan.target.test_machine.clone(),
            firmware: disk.firmware,
            access: disk.access,
            releases: releases.iter().map(Installed::from).collect(),
            lib: String::from_utf8_lossy(&plan.lib.content).into_owned(),
            steps: plan
                .steps
                .iter()
                .filter(checked)
                .map(CheckedStep::from_plan)
                .collect(),
        }
    }

    /// Returns the set as canonical JSON, for the store.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_json(self)
    }

    /// Parses the set of `image` from the store.
    pub fn parse(image: &str, bytes: &[u8]) -> Result<Self, CheckSetError> {
        let check_set_error = |why: String| CheckSetError {
            image: image.to_owned(),
            why,
        };
        let set: Self =
            serde_json::from_slice(bytes).map_err(|error| check_set_error(error.to_string()))?;
        if set.schema != 1 {
            let why = format!("expected schema 1, found {}", set.schema);
            return Err(check_set_error(why));
        }
        Ok(set)
    }

    fn steps(&self) -> Result<Vec<PlannedStep>, CheckSetError> {
        let products = || {
            let releases = self.releases.iter();
            releases.map(|release| release.product.clone()).collect()
        };
        let steps = self
            .steps
            .iter()
            .map(|step| step.planned(products()))
            .collect::<Result<_, _>>();
        steps.map_err(|why| CheckSetError {
            image: self.image.clone(),
            why,
        })
    }
}

impl CheckedStep {
    fn from_plan(step: &PlannedStep) -> Self {
        let plain = |(name, value): (&String, &EnvValue)| match value {
            EnvValue::Plain(text) => Some((name.clone(), text.clone())),
            EnvValue::Secret { .. } => None,
        };
        let file = |file: &PlannedFile| CheckedFile {
            path: file.path.clone(),
            mode: file.mode,
            content: openssl::base64::encode_block(&file.content),
        };
        Self {
            name: step.name.clone(),
            digest: step.digest,
            kind: step.kind.clone(),
            env: step.env.iter().filter_map(plain).collect(),
            files: step.files.iter().map(file).collect(),
        }
    }

    fn planned(&self, releases: Vec<String>) -> Result<PlannedStep, String> {
        let file = |file: &CheckedFile| {
            let content = openssl::base64::decode_block(&file.content)
                .map_err(|_| format!("{}/{} is not base64", self.name, file.path))?;
            Ok(PlannedFile {
                path: file.path.clone(),
                mode: file.mode,
                sha256: Digest::hash_bytes(&content),
                content,
            })
        };
        Ok(PlannedStep {
            name: self.name.clone(),
            digest: self.digest,
            kind: self.kind.clone(),
            timeout_s: 0,
            env: self
                .env
                .iter()
                .map(|(name, text)| (name.clone(), EnvValue::Plain(text.clone())))
                .collect(),
            files: self.files.iter().map(file).collect::<Result<_, String>>()?,
            releases,
        })
    }
}

/// An image to test.
pub struct Subject<'a> {
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The artifact.
    pub content: Content,
    /// The inputs of the test.
    pub checks: &'a CheckSet,
    /// The audits, if any.
    pub audits: Option<&'a AuditOptions>,
}

/// A boot test without a result. It says nothing about the image.
#[derive(Debug, thiserror::Error)]
pub enum BootTestError {
    /// A VM that could not be started, or that its platform ended.
    #[error(transparent)]
    Builder(#[from] BuilderError),
    /// A failure on this computer while the VM ran.
    #[error(transparent)]
    Host(ProvisionError),
    /// An identity that could not be generated.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Stored checks that cannot be parsed.
    #[error(transparent)]
    Checks(#[from] CheckSetError),
    /// An interrupt by the user.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl BootTestError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Builder(error) => error.hint(),
            Self::Host(error) => error.hint(),
            Self::Identity(error) => error.hint(),
            Self::Checks(error) => error.hint(),
            Self::Interrupted(_) => None,
        }
    }
}

/// Boots `subject` and runs its checks. If the platform ends the VM, boots it once more.
pub async fn run<B: Builder>(
    builder: &B,
    subject: &Subject<'_>,
    run: &str,
    teardown: &mut Teardown,
    context: &RunContext<'_>,
) -> Result<TestRecord, BootTestError> {
    let started = (context.now)();
    let steps = subject.checks.steps()?;
    let consul = subject
        .checks
        .releases
        .iter()
        .find(|release| release.product == "consul");
    let consul_version = consul.map_or(OLDEST_CONSUL, |release| &release.version);
    let identity = Identity::generate(NODE, DATACENTER, consul_version, started)?;
    let attempt = Attempt {
        builder,
        subject,
        steps: &steps,
        identity: &identity,
        run,
        context,
    };
    // Boxed, because these futures are large.
    let mut outcome = match Box::pin(attempt.run(false, teardown)).await {
        Err(BootTestError::Builder(error)) if start::is_retryable(&error) => {
            context.interrupt.check()?;
            start::warn_of_retry(&error, context.events);
            Box::pin(attempt.run(true, teardown)).await?
        }
        outcome => outcome?,
    };
    let audit = match (subject.audits, outcome.audit.take()) {
        (Some(audits), Some(audit)) => {
            outcome.checks.push(audits::evaluate(&audit));
            let base_index = audits
                .audit_base(builder, subject.checks, teardown, context)
                .await?;
            Some(audits::fact(audit, base_index))
        }
        _ => None,
    };
    Ok(TestRecord {
        audit,
        manifest: subject.manifest,
        run: run.to_owned(),
        started_at: started.into(),
        ended_at: (context.now)().into(),
        passed: outcome.failure.is_none() && outcome.checks.iter().all(|check| check.ok),
        failure: outcome.failure,
        checks: outcome.checks,
        builder: builder_fact(builder.name(), context.tool),
    })
}

/// The name of the node in a boot test.
const NODE: &str = "vault-bake-test";
/// The datacenter of the node in a boot test. It is the default of the provisioners.
const DATACENTER: &str = "dc1";
/// The version of Consul for the identity if the image has no Consul, which then ignores it.
const OLDEST_CONSUL: &str = "1.8.0";
