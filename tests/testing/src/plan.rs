//! Small plans for tests.

use std::collections::BTreeMap;
use std::path::PathBuf;

use vault_bake::definition::{Firmware, MachineSpec, Network, OutputSpec, QemuBase};
use vault_bake::digest::Digest;
use vault_bake::lock::LockedBase;
use vault_bake::plan::{
    EnvValue, Plan, PlannedBase, PlannedFile, PlannedMachine, PlannedOutput, PlannedStep, StepKind,
};
use vault_bake::release::ReleaseMirror;
use vault_bake::secret::Secret;

/// Makes a plan of these steps.
pub fn plan(steps: Vec<PlannedStep>) -> Plan {
    Plan {
        image: "quickstart".to_owned(),
        description: "A test's image".to_owned(),
        definition: Digest::hash_bytes("definition"),
        lock: Digest::hash_bytes("lock"),
        variables: BTreeMap::new(),
        base: PlannedBase::Qemu {
            wanted: QemuBase::CloudImage {
                url: "https://example.org/base".to_owned(),
                sha512: "0".repeat(128),
                firmware: Firmware::Bios,
            },
            locked: LockedBase::CloudImage {
                url: "https://example.org/base".to_owned(),
                sha512: "0".repeat(128),
            },
        },
        releases: Vec::new(),
        release_source: ReleaseMirror::official(),
        output: PlannedOutput::Qemu(OutputSpec::default()),
        lib: file("lib.sh", "greet() { echo \"hello $1\"; }\n"),
        folder: PathBuf::from("/"),
        secrets: secrets(&steps),
        machine: PlannedMachine::Qemu(MachineSpec {
            cpus: 1,
            memory_mib: 512,
            disk_gib: 4,
            network: Network::None,
            boot_timeout_s: 60,
        }),
        allowed: BTreeMap::new(),
        steps,
    }
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
