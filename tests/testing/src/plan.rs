//! Small plans for tests.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;
use vault_bake::definition::platform::{
    Firmware, PlannedBase, PlannedMachine, PlannedOutput, Target, TargetLines,
};
use vault_bake::digest::Digest;
use vault_bake::plan::{EnvValue, Plan, PlannedFile, PlannedStep, StepKind};
use vault_bake::platform::qemu::{LockedBase, MachineSpec, Network, OutputSpec, QemuBase};
use vault_bake::release::{Architecture, ReleaseMirror};
use vault_bake::secret::Secret;

/// Makes a plan of these steps.
pub fn plan(steps: Vec<PlannedStep>) -> Plan {
    Plan {
        image: "quickstart".to_owned(),
        description: "A test's image".to_owned(),
        definition: Digest::hash_bytes("definition"),
        lock: Digest::hash_bytes("lock"),
        variables: BTreeMap::new(),
        platform: "qemu",
        target: Target {
            base: PlannedBase {
                wanted: json!(QemuBase::CloudImage {
                    url: "https://example.org/base".to_owned(),
                    sha512: "0".repeat(128),
                    firmware: Firmware::Bios,
                }),
                locked: json!(LockedBase::CloudImage {
                    url: "https://example.org/base".to_owned(),
                    sha512: "0".repeat(128),
                }),
            },
            architecture: Architecture::X86_64,
            test_machine: machine(Network::Outbound),
            machine: machine(Network::None),
            output: PlannedOutput(json!(OutputSpec::default())),
            downloads: true,
            not_pinned: Vec::new(),
            lines: TargetLines::default(),
        },
        releases: Vec::new(),
        release_source: ReleaseMirror::official(),
        lib: file("lib.sh", "greet() { echo \"hello $1\"; }\n"),
        folder: PathBuf::from("/"),
        secrets: secrets(&steps),
        allowed: BTreeMap::new(),
        steps,
    }
}

fn machine(network: Network) -> PlannedMachine {
    PlannedMachine(json!(MachineSpec {
        cpus: 1,
        memory_mib: 512,
        disk_gib: 4,
        network,
        boot_timeout_s: 60,
    }))
}

/// Makes a step of this kind, with files.
pub fn step(name: &str, kind: StepKind, files: &[(&str, &str)]) -> PlannedStep {
    PlannedStep {
        name: name.to_owned(),
        digest: Digest::hash_bytes(name),
        kind,
        timeout_s: 60,
        env: BTreeMap::new(),
        files: files
            .iter()
            .map(|(path, content)| file(path, content))
            .collect(),
        releases: ["consul", "vault"].map(str::to_owned).to_vec(),
    }
}

fn file(path: &str, content: &str) -> PlannedFile {
    PlannedFile {
        path: path.to_owned(),
        mode: 0o644,
        sha256: Digest::hash_bytes(content),
        content: content.as_bytes().to_vec(),
    }
}

fn secrets(steps: &[PlannedStep]) -> Vec<Secret> {
    let values = steps.iter().flat_map(|step| step.env.values());
    values
        .filter_map(|value| match value {
            EnvValue::Plain(_) => None,
            EnvValue::Secret { value, .. } => Some(value.clone()),
        })
        .collect()
}

/// Makes a provisioner step with an `install.sh`, and with a `check.sh` if one is given.
pub fn provisioner(name: &str, install: &str, check: Option<&str>) -> PlannedStep {
    let mut files = vec![("install.sh", install)];
    files.extend(check.map(|check| ("check.sh", check)));
    let kind = StepKind::Provisioner {
        provisioner: name.to_owned(),
        checked: check.is_some(),
        seal: name == "seal",
    };
    step(name, kind, &files)
}

/// Adds a variable to the step.
pub fn with_env(mut step: PlannedStep, name: &str, value: &str) -> PlannedStep {
    let value = EnvValue::Plain(value.to_owned());
    step.env.insert(name.to_owned(), value);
    step
}

/// Adds a secret variable to the step.
pub fn with_secret(mut step: PlannedStep, name: &str, value: &str) -> PlannedStep {
    let value = EnvValue::Secret {
        variable: name.to_lowercase(),
        value: Secret::new(value),
    };
    step.env.insert(name.to_owned(), value);
    step
}
