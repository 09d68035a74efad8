//! Makes the manifest of a build.
//! Takes the plan and the results of all stages; returns a [`Manifest`].
//! Signing and storing are left to the store.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::builder::{Artifact, CapturedImage, Content, Disk, LayerFile, Resumed};
use crate::definition::Firmware;
use crate::digest::Digest;
use crate::guest_steps::{self, BootFacts, CheckRecord, StepRecord};
use crate::manifest::{
    Base, BuilderFact, CHECKS_ROLE, CheckFact, CloudFact, DefinitionFact, FileFact, Host,
    ImageVersion, Input, LayerFact, Manifest, Os, Output, Package, Packages, ReleaseFact, Repro,
    ResumedFact, StepFact, Tool,
};
use crate::plan::Plan;
use crate::process::Program;
use crate::release::VerifiedRelease;
use crate::wait::Interrupt;

/// The Git revision of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The URL of the remote `origin`, without credentials. `None` if there is no remote, or if it
    /// is a local path.
    pub repo: Option<String>,
    /// The commit id of `HEAD`.
    pub commit: String,
    /// Whether there are uncommitted changes.
    pub dirty: bool,
}

impl Revision {
    /// Returns the revision of `folder`, or `None` if it is not in a Git checkout or git is not
    /// installed.
    pub async fn of(folder: &Path, interrupt: &Interrupt) -> Option<Self> {
        let git = async |arguments: &[&str]| {
            let output = Program::new("git")
                .arg("-C")
                .arg(folder)
                .args(arguments)
                .run(interrupt)
                .await
                .ok()?;
            Some(String::from_utf8_lossy(&output).trim().to_owned())
        };
        let commit = git(&["rev-parse", "HEAD"]).await?;
        let dirty = !git(&["status", "--porcelain"]).await?.is_empty();
        let repo = git(&["remote", "get-url", "origin"])
            .await
            .and_then(|url| public_url(&url));
        Some(Self {
            repo,
            commit,
            dirty,
        })
    }
}

/// Removes user and password from a URL. Returns `None` for a local path.
fn public_url(url: &str) -> Option<String> {
    match url.split_once("://") {
        Some(("file", _)) => None,
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or(host);
            Some(format!("{scheme}://{host}/{path}"))
        }
        // The user in the short form of SSH addresses is not a secret: `git@host:path`.
        None => url.contains(':').then(|| url.to_owned()),
    }
}

/// The results of the work in the build VM.
pub struct Provisioned {
    /// The records of all steps, in order.
    pub steps: Vec<StepRecord>,
    /// The records of all checks.
    pub checks: Vec<CheckRecord>,
    /// The installed packages.
    pub packages: guest_steps::Packages,
    /// The kernel and the distribution.
    pub boot: BootFacts,
}

/// The results of all stages of one build.
pub struct Facts<'a> {
    /// The id of the run.
    pub run: &'a str,
    /// The resolved build.
    pub plan: &'a Plan,
    /// The Git revision of the definition.
    pub revision: Option<&'a Revision>,
    /// The verified releases.
    pub releases: &'a [VerifiedRelease],
    /// The base disk.
    pub disk: &'a Disk,
    /// The cached layers that the build started from.
    pub layers: &'a [LayerFile],
    /// The VM snapshot that the build resumed from.
    pub resumed: Option<&'a Resumed>,
    /// The results of the work in the build VM.
    pub provisioned: &'a Provisioned,
    /// The reference to the stored package list.
    pub packages: Packages,
    /// The digest of the stored checks for the boot test, and their size in bytes.
    pub checks: (Digest, u64),
    /// The captured artifact.
    pub artifact: &'a Artifact,
    /// The digest of the manifest of this image that was newest at the start of the build.
    pub parent: Option<Digest>,
    /// The name of the builder.
    pub builder: &'a str,
    /// The version of vault-bake.
    pub tool: &'a Tool,
}

/// Returns the manifest of a build that ended at `now`.
pub fn manifest(facts: &Facts<'_>, version: ImageVersion, now: Timestamp) -> Manifest {
    let (plan, boot) = (facts.plan, &facts.provisioned.boot);
    Manifest {
        layers: layer_facts(facts.layers),
        resumed: facts.resumed.map(|from| ResumedFact {
            build: from.run.clone(),
            memory_sha256: from.memory_sha256,
        }),
        must_understand: Vec::new(),
        image: plan.image.clone(),
        version,
        build: facts.run.to_owned(),
        created_at: now.into(),
        releases: facts.releases.iter().map(ReleaseFact::from).collect(),
        source: DefinitionFact {
            repo: facts.revision.and_then(|revision| revision.repo.clone()),
            commit: facts.revision.map(|revision| revision.commit.clone()),
            dirty: facts.revision.map(|revision| revision.dirty),
            definition_digest: plan.definition,
            lock_digest: plan.lock,
            plan_digest: plan.digest(),
        },
        variables: plan.variables.clone(),
        inputs: inputs(facts),
        base: base(facts),
        steps: facts.provisioned.steps.iter().map(step_fact).collect(),
        checks: facts.provisioned.checks.iter().map(check_fact).collect(),
        outputs: outputs(facts),
        packages: facts.packages.clone(),
        // The SBOM is made from this manifest, so its digest is added later.
        sbom: None,
        os: Os {
            id: boot.os_id.clone(),
            version: boot.os_version.clone(),
            kernel: boot.kernel.clone(),
        },
        builder: builder_fact(facts.builder, facts.tool),
        repro: Repro {
            hermetic: false,
            not_pinned: not_pinned(plan),
        },
        parent: facts.parent,
    }
}

/// Returns the record of the builder, the tool and the host.
pub(crate) fn builder_fact(builder: &str, tool: &Tool) -> BuilderFact {
    BuilderFact {
        name: builder.to_owned(),
        tool: tool.clone(),
        host: Host {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
        },
    }
}

fn inputs(facts: &Facts<'_>) -> BTreeSet<Input> {
    let input = |role: &str, name: String, digest, size| Input {
        role: role.to_owned(),
        name,
        digest,
        size,
    };
    let steps = facts.plan.steps.iter().flat_map(|step| {
        step.files.iter().map(move |file| {
            input(
                "file",
                format!("{}/{}", step.name, file.path),
                file.sha256,
                file.content.len() as u64,
            )
        })
    });
    let releases = facts.releases.iter().map(|release| {
        input(
            "product",
            release.locked.file.clone(),
            release.locked.sha256,
            release.archive_size_bytes,
        )
    });
    let checks = input(
        CHECKS_ROLE,
        "checks".to_owned(),
        facts.checks.0,
        facts.checks.1,
    );
    steps.chain(releases).chain([checks]).collect()
}

fn base(facts: &Facts<'_>) -> Base {
    let base = &facts.plan.target.base;
    Base {
        requested: base.wanted.clone(),
        resolved: base.locked.clone(),
        disk_sha256: match &facts.disk.content {
            Content::File(file) => Some(file.sha256),
            Content::Cloud(_) => None,
        },
    }
}

fn outputs(facts: &Facts<'_>) -> Vec<Output> {
    let images = match facts.artifact {
        Artifact::File(captured) => {
            let file = FileFact {
                digest: captured.sha256,
                size: captured.size_bytes,
                virtual_size: captured.virtual_size_bytes,
            };
            let firmware = firmware(facts.disk.firmware);
            return vec![Output::local_qcow2(file, std::env::consts::ARCH, firmware)];
        }
        Artifact::Cloud(images) => images,
    };
    let output = |image: &CapturedImage| Output {
        target: format!("{}/{}", facts.plan.platform, image.location),
        class: image.class.to_owned(),
        id: image.id.clone(),
        format: "vhd".to_owned(),
        arch: image.arch.clone(),
        firmware: firmware(image.firmware).to_owned(),
        file: None,
        cloud: Some(CloudFact {
            location: image.location.clone(),
            created_at: image.created_at.map(Into::into),
            unique_id: image.unique_id.clone(),
            run: facts.run.to_owned(),
            security: image.security.clone(),
            virtual_size: image.disk_gib << 30,
        }),
        evidence: "id".to_owned(),
    };
    images.iter().map(output).collect()
}

fn firmware(firmware: Firmware) -> &'static str {
    match firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "uefi",
    }
}

/// Lists the parts in which two builds of the same lock file may differ.
fn not_pinned(plan: &Plan) -> Vec<String> {
    let mut parts = vec!["times and generated ids within the image".to_owned()];
    if plan.target.downloads {
        parts.push("files that steps download from the network".to_owned());
    }
    parts.extend(plan.target.not_pinned.iter().cloned());
    parts
}

/// Converts a check record to its form in the manifest.
pub(crate) fn check_fact(record: &CheckRecord) -> CheckFact {
    CheckFact {
        id: record.id.clone(),
        description: record.description.clone(),
        ok: record.ok,
        skipped: record.skipped.clone(),
        step: record.step.clone(),
    }
}

/// Converts layers to their form in the manifest.
fn layer_facts(files: &[LayerFile]) -> Vec<LayerFact> {
    let fact = |file: &LayerFile| LayerFact {
        build: file.made.run.clone(),
        digest: file.sha256,
        key: file.made.key,
        made_at: Timestamp::from_second(file.made.made_s)
            .unwrap_or_default()
            .into(),
        step: file.made.step.clone(),
    };
    files.iter().map(fact).collect()
}

fn step_fact(record: &StepRecord) -> StepFact {
    StepFact {
        name: record.name.clone(),
        kind: record.kind.clone(),
        digest: record.digest,
        started_at: record.started_at.into(),
        ended_at: record.ended_at.into(),
        elapsed_ms: record.elapsed_ms,
        exit: record.exit,
        log_digest: record.log_digest,
    }
}

/// Converts packages to their form in the store.
pub fn packages(found: &guest_steps::Packages) -> Vec<Package> {
    let package = |package: &guest_steps::Package| Package {
        name: package.name.clone(),
        version: package.version.clone(),
        arch: package.arch.clone(),
        source: package.source.clone(),
    };
    found.packages.iter().map(package).collect()
}

/// Returns the UTC date of `now`, which versions are named after.
pub fn date(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}
