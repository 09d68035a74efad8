//! The trial of an image: boots the artifact with a throw-away identity, and runs every check in it.
//!
//! In: an artifact, and the checks that were stored with its manifest. Out: a [`TestRecord`], also where the image does
//! not come up: that is a failed test, not an error. Deliberately needs neither definition nor plan, so that a trial can
//! be repeated at any time.

mod attempt;
mod audits;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::build_record::builder_fact;
use crate::builder::{AccessBy, Builder, BuilderError, Content, Disk, start};
use crate::definition::{Firmware, MachineSpec, Network};
use crate::digest::{Digest, canonical_json};
use crate::guest_steps::{Installed, ProvisionError};
use crate::identity::{Identity, IdentityError};
use crate::manifest::TestRecord;
use crate::plan::{EnvValue, Plan, PlannedFile, PlannedMachine, PlannedStep, StepKind};
use crate::release::Verified;
use crate::run_context::RunContext;
use crate::teardown::Teardown;
use crate::wait::Interrupted;

use attempt::Attempt;

pub use attempt::BOOT_CHECK;
pub use audits::{AUDIT_CHECK, Audits, LEAST_INDEX};

/// All that a trial needs beside the artifact. Kept in the store as canonical JSON; the manifest names it by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckSet {
    /// 1.
    pub schema: u32,
    /// The image's name.
    pub image: String,
    /// The shape of the machine that it is tried in.
    pub machine: PlannedMachine,
    /// How it starts.
    pub firmware: Firmware,
    /// How keys get in.
    pub access: AccessBy,
    /// What was installed.
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
    /// Unique in the plan.
    pub name: String,
    /// As in the plan.
    pub digest: Digest,
    /// What it does.
    pub kind: StepKind,
    /// Plain environment variables. Secrets are not kept: checks of a booted image do without.
    pub env: BTreeMap<String, String>,
    /// Its files.
    pub files: Vec<CheckedFile>,
}

/// A file of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckedFile {
    /// Below the step's folder.
    pub path: String,
    /// As in 0o755.
    pub mode: u32,
    /// Base64.
    pub content: String,
}

/// A set of checks that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the checks of {image} cannot be read: {why}; a newer vault-bake may be needed")]
pub struct CheckSetError {
    image: String,
    why: String,
}

impl CheckSet {
    /// What of a plan is needed to try its image.
    pub fn of(plan: &Plan, releases: &[Verified], disk: &Disk) -> Self {
        let checked =
            |step: &&PlannedStep| matches!(step.kind, StepKind::Provisioner { checked: true, .. });
        Self {
            schema: 1,
            image: plan.image.clone(),
            // A node has a default route, and Vault's address templates ask for it.
            machine: match plan.machine.clone() {
                PlannedMachine::Qemu(machine) => PlannedMachine::Qemu(MachineSpec {
                    network: Network::Outbound,
                    ..machine
                }),
                azure @ PlannedMachine::Azure(_) => azure,
            },
            firmware: disk.firmware,
            access: disk.access,
            releases: releases.iter().map(Installed::from).collect(),
            lib: String::from_utf8_lossy(&plan.lib.content).into_owned(),
            steps: plan
                .steps
                .iter()
                .filter(checked)
                .map(CheckedStep::of)
                .collect(),
        }
    }

    /// The bytes that are stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_json(self)
    }

    /// Reads stored bytes.
    pub fn parse(image: &str, bytes: &[u8]) -> Result<Self, CheckSetError> {
        let refuse = |why: String| CheckSetError {
            image: image.to_owned(),
            why,
        };
        let set: Self = serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
        if set.schema != 1 {
            return Err(refuse(format!("schema {}, expected 1", set.schema)));
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
    fn of(step: &PlannedStep) -> Self {
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
                sha256: Digest::of(&content),
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

/// An image to try.
pub struct Subject<'a> {
    /// The manifest's digest.
    pub manifest: Digest,
    /// The artifact.
    pub content: Content,
    /// Its checks.
    pub checks: &'a CheckSet,
    /// What is looked at beside them.
    pub audits: Option<&'a Audits>,
}

/// A trial that could not be made. Whether the image is good is not known then.
#[derive(Debug, thiserror::Error)]
pub enum BootTestError {
    /// The machine could not be started, or its platform ended it.
    #[error(transparent)]
    Builder(#[from] BuilderError),
    /// Something on this computer failed while the machine ran.
    #[error(transparent)]
    Host(ProvisionError),
    /// No throw-away identity could be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The stored checks cannot be used.
    #[error(transparent)]
    Checks(#[from] CheckSetError),
    /// We were asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl BootTestError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

/// Boots `subject` and runs its checks. If the platform ends the machine, it is started once more.
pub async fn run<B: Builder>(
    builder: &B,
    subject: &Subject<'_>,
    run: &str,
    teardown: &mut Teardown,
    world: &RunContext<'_>,
) -> Result<TestRecord, BootTestError> {
    let started = (world.now)();
    let steps = subject.checks.steps()?;
    let consul = subject
        .checks
        .releases
        .iter()
        .find(|release| release.product == "consul");
    let consul_version = consul.map_or(OLDEST_CONSUL, |release| &release.version);
    let identity = Identity::throw_away(NODE, DATACENTER, consul_version, started)?;
    let attempt = Attempt {
        builder,
        subject,
        steps: &steps,
        identity: &identity,
        run,
        world,
    };
    // Each is a large thing to be part of its caller.
    let mut outcome = match Box::pin(attempt.make(false, teardown)).await {
        Err(BootTestError::Builder(error)) if start::is_worth_another_start(&error) => {
            world.interrupt.check()?;
            start::announce(&error, world.events);
            Box::pin(attempt.make(true, teardown)).await?
        }
        made => made?,
    };
    let audit = match (subject.audits, outcome.audit.take()) {
        (Some(audits), Some(audit)) => {
            outcome.checks.push(audits::evaluate(&audit));
            let base_index = audits
                .of_base(builder, subject.checks, teardown, world)
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
        ended_at: (world.now)().into(),
        passed: outcome.failure.is_none() && outcome.checks.iter().all(|check| check.ok),
        failure: outcome.failure,
        checks: outcome.checks,
        builder: builder_fact(builder.name(), world.tool),
    })
}

/// The throw-away node's name.
const NODE: &str = "vault-bake-test";
/// The datacenter that identities of tests are made for; the provisioners' default.
const DATACENTER: &str = "dc1";
/// Where no Consul is in the image its part of the identity has the oldest known form; nobody reads it.
const OLDEST_CONSUL: &str = "1.8.0";
